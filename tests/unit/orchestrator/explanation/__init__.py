"""Tests of `orchestrator.explanation`."""
