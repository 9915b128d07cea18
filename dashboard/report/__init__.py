"""The report of one pick: what it says, and its HTML."""
