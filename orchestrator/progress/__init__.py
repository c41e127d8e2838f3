"""How far a run of a study is, and the form in which that is stored."""
