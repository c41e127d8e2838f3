"""Two recorded things on the same items, from the record alone: the work behind `compare`."""
