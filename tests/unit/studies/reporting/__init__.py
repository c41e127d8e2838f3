"""Tests of `studies.reporting`."""
