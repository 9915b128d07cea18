"""Storage: files that appear whole or not at all, JSON with a digest, the cache and its paths."""
