"""What verbs print beside their results: messages and warnings, to stderr."""

import sys
from collections.abc import Iterable

from orchestrator import streams
from orchestrator.redaction import redacted
from studies.errors import printable


def warn(warnings: Iterable[str]) -> None:
    """Print what a user may not expect of a study."""
    for line in warnings:
        say(f"warning: {line}")


def say(text: str) -> None:
    """Print a message, each of its lines, to stderr, which holds no results; the log file has it, too."""
    for line in redacted(text).split("\n"):
        print(f"halfwave: {printable(line)}", file=sys.stderr)
        streams.said.info("%s", line)
