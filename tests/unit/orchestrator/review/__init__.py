"""Tests of `orchestrator.review`."""
