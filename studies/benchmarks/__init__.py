"""Benchmarks: the texts to score, and per-item results and metrics from their log-probabilities.

Each benchmark implements `studies.benchmarks.protocol.Benchmark`; the docstring there holds a whole example. Knows
nothing of tokens, models or conditions.
"""
