"""Bit maps: the option of every unit, as a value, as a file, and as other programs write it."""
