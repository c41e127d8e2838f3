"""The ablation actor: log-probabilities under clamps, from one vLLM engine."""
