"""The score actor: statistics of pre-activations, with Transformers and forward hooks."""
