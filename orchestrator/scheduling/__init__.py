"""What runs where next: states in, decisions out. Pure: no clock, no Ray, no I/O."""
