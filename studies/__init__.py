"""The science: what a study asks of its models, and what the answers mean.

Owns benchmarks, neuron selections, statistics, claims and the text of reports. Works on numpy arrays and pandas tables
alone: it imports neither ray nor torch, and nothing from `actors` or `orchestrator`.
"""
