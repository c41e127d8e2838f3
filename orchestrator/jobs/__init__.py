"""Studies as jobs on a running Ray cluster: what is uploaded, and how the job is followed."""
