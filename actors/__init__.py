"""Data plane: how a model answers. Torch lives here."""
