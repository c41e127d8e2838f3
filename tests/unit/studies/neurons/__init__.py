"""Tests of `studies.neurons`."""
