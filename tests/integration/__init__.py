"""Tests with Ray, vLLM and MLflow on this machine."""
