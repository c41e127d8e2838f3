"""Results -> text, figures and pages."""
