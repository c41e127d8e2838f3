"""What one step stands for, and why it is or is not cached: the work behind `explain`."""
