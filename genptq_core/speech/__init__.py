"""Speech: recordings and their texts, from whatever they lie in, and word errors."""
