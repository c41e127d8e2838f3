"""The science: what is asked of the models (numpy, pandas, scipy; no ray, no torch)."""
