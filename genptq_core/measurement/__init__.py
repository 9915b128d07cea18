"""Measurement: what a bit map costs in words on a speech set, kept, compared and predicted."""
