"""Speech: recordings and their texts, from sources of many layouts, and word errors."""
