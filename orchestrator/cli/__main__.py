"""`python -m orchestrator.cli`: the same as `halfwave`."""

from orchestrator.cli import entry

entry()
