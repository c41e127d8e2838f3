"""Tests of `studies.benchmarks`."""
