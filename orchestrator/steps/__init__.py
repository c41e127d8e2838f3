"""Steps: one file a kind, with its parameters, what an actor is asked and what its answer becomes."""
