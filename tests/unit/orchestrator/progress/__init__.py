"""Tests of `orchestrator.progress`."""
