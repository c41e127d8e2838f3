"""Figures of a study: numbers in, finished figures out; one style sheet, one family of figures per module."""
