"""Benchmarks: items to score, and per-item results from log-probabilities."""
