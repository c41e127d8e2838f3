"""Additions from outside the product, made of exactly the pieces that docs/architecture.md names under "Adding"."""
