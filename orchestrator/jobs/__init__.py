"""Studies as jobs on a running cluster."""
