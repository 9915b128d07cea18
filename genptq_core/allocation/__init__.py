"""Allocation: from a profile to the option of every unit, for any budget. NumPy and SciPy only."""
