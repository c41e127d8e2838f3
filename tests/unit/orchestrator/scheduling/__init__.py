"""Tests of `orchestrator.scheduling`."""
