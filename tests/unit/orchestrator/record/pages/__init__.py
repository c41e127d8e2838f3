"""MLflow's pages of a study."""
