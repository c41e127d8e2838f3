"""What MLflow's own pages show of a study beside what was committed: saved views, notes, inputs, metrics to sort by."""
