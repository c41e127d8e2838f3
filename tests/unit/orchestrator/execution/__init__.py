"""Tests of `orchestrator.execution`."""
