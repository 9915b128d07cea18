"""Profiling: from a model and calibration speech to a profile of sensitivities."""
