"""Tests of `studies.reporting.figures`."""
