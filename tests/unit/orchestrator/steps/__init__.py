"""Tests of `orchestrator.steps`."""
