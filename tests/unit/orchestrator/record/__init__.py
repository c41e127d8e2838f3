"""Tests of `orchestrator.record`."""
