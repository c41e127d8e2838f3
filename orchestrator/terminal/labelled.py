"""A text after its label, wrapped under itself: `failed   match SmolLM2 matched: no memory`."""

import textwrap

from rich.console import Console

from orchestrator.terminal.console import plain
from studies.errors import printable

MIN_TEXT = 16
"""Columns that a text gets at least, however narrow the terminal."""


def show_text(console: Console, label: str, text: str, *, columns: int, style: str = "") -> None:
    """Print a text after a label of so many columns; further lines are indented like the first. style: the label's."""
    for number, line in enumerate(wrapped(printable(text), console.width - columns)):
        shown = plain("" if number else label, style)
        console.print(shown.append(f"{' ' * (columns - shown.cell_len)}{line}", style="default"), soft_wrap=True)


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` columns; a word that is longer has a line of its own."""
    indent = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(
        text, max(MIN_TEXT, width), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) or [""]
