"""The record of a study in MLflow, and the outbox in front of it. Knows nothing of what a step computes."""
