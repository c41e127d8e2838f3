"""Tests of `studies.claims`."""
