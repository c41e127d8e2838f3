"""The study file: YAML text -> StudySpec. Knows the grammar and looks nothing up."""
