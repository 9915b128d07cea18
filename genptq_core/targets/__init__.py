"""Targets: what each runtime can hold, and what it costs there in bytes."""
