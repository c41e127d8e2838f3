"""Tests of `orchestrator.review.claims`."""
