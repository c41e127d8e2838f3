"""Tests of single modules: no Ray, no real models. They follow the tree of the product."""
