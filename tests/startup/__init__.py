"""vLLM, changed in the processes of a test: see `sitecustomize`."""
