"""Export: a bit map as a folder that a runtime loads."""
