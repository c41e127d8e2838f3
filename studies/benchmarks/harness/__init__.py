"""Tasks of the LM evaluation harness (lm-eval) as benchmarks, and the code of theirs that counts."""
