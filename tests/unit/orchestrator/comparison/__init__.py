"""Two recorded things on the same items."""
