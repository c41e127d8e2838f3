"""Requests and results that cross Ray: frozen dataclasses of plain data (numbers, strings, bytes, numpy arrays).

The vocabulary between the control plane and the data plane. Nothing here imports torch, so the driver needs none.
"""
