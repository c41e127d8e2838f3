"""Running a plan on a Ray cluster: the session, the actors, the loop."""
