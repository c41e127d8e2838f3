"""The study file: YAML text -> StudySpec. Looks nothing up."""
