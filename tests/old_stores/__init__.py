"""Stores that earlier versions of Halfwave wrote, and how to unpack them."""
