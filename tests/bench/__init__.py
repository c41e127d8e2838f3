"""Benches: speed against the peers, as ratios in one run, and the driver's own costs. Not collected by pytest."""
