"""The claims of a study on its results: the evidence, the verdicts, claims over all models."""
