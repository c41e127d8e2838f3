"""Steps: one file per kind, with its parameters, the request to an actor and the result of the answer."""
