"""Control plane: when and where; turns a study file into a recorded MLflow experiment."""
