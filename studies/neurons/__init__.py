"""Which neurons: selection, layer groups, the perplexity-matched control."""
