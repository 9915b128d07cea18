"""Rounding: the weights that a bit map gives a model."""
