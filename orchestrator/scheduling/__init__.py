"""What runs where next. Pure: no clock, no Ray, no I/O."""
