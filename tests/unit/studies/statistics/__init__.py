"""Tests of `studies.statistics`."""
