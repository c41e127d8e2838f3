"""Tests of `actors.ablation`."""
