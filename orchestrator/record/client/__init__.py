"""Calls to MLflow's client: how long they may take, what their failures mean, and how long a read waits.

Knows nothing of runs and steps.
"""
