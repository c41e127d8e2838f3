"""Tests of `orchestrator.record` on a real MLflow store."""
