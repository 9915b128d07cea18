"""The page's views, one file each. They draw what they are given, and hold no numerics."""
