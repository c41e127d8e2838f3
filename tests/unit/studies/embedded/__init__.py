"""Tests of `studies.embedded`."""
