"""Finished steps -> the report: tables, figures and verdicts."""
