"""Tests of `actors.scoring`."""
