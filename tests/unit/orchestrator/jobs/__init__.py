"""Tests of `orchestrator.jobs`."""
