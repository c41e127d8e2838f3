"""Tests of `orchestrator.study_file`."""
