"""Bit maps: the option of every unit, as a value, as a file, and from files of other programs."""
