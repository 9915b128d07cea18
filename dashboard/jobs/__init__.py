"""Jobs that take minutes: a queue that the page fills, and the process that empties it."""
