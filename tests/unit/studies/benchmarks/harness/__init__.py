"""Tests of `studies.benchmarks.harness`."""
