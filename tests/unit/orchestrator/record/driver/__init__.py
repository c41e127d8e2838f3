"""Tests of `orchestrator.record.driver`."""
