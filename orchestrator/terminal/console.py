"""The console, and what is printed on it as it is: lines and tables.

Invariant: names, notes, data and errors are shown as text, through `plain`.
"""

import sys
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from studies.errors import printable

UNBOUNDED = 100_000
"""Columns where there is no terminal: more than any table or line needs."""
MIN_NAME = 12
"""Columns that the names of rows get at least, even if they are more than half of the terminal."""


def make_console() -> Console:
    """A console on stdout, as wide as the terminal; elsewhere as wide as anything needs, so that nothing is wrapped."""
    if sys.stdout is not None and sys.stdout.isatty():
        return Console()
    return Console(width=UNBOUNDED)


def plain(text: str, style: str = "") -> Text:
    """A text as it is: nothing in it is markup, the name of an emoji, a control character or a line end."""
    return Text(printable(text), style=style)


def padded(text: str, columns: int) -> str:
    """The text with spaces behind it, so that it takes so many columns."""
    return text + " " * (columns - cell_len(text))


def show_line(console: Console, text: str) -> None:
    """Print one line of text, which is not wrapped."""
    console.print(plain(text), soft_wrap=True)


def print_table(console: Console, title: str, heading: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; where the terminal is too narrow for it, in parts of some columns, each with the rows' names."""
    cells = [[printable(cell) for cell in row] for row in (heading, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    name = min(widths[0], max(console.width // 2, MIN_NAME))
    for number, part in enumerate(_parts(widths[1:], console.width - name - _frame(1))):
        table = Table(title=None if number else plain(title), title_justify="left", header_style="dim")
        table.add_column(Text(cells[0][0]), width=name, overflow="fold")
        for column in part:
            table.add_column(Text(cells[0][column + 1]), overflow="fold")
        for row in cells[1:]:
            table.add_row(*(Text(row[i]) for i in (0, *(column + 1 for column in part))))
        console.print(table)


def _parts(widths: Sequence[int], room: int) -> list[list[int]]:
    """Columns, in their order, in groups of which each fits into `room`, or is a single column."""
    parts: list[list[int]] = [[]]
    for column, width in enumerate(widths):
        used = sum(widths[other] + _frame(1) - 1 for other in parts[-1])
        if parts[-1] and used + width + _frame(1) - 1 > room:
            parts.append([])
        parts[-1].append(column)
    return parts


def _frame(num_columns: int) -> int:
    """Columns of the terminal that the frame of a table takes: a line and two spaces each, and the last line."""
    return 3 * num_columns + 1
