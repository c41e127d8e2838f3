"""Results as plain JSON, text, figures and pages."""
