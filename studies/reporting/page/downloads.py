"""The numbers of the page as CSV files that are part of it: every bit of them, in the units of the record."""

import base64
import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from studies.errors import unformulated

VERDICTS = ("model", "claim", "status", "unit", "estimate", "low", "high", "num_items", "margin", "p_value")
COSTS = ("model", "condition", "part", "fraction", "num_neurons", "seed", "benchmark", "estimate", "low", "high")


class Download(NamedTuple):
    """A file within the page."""

    name: str
    source: str
    """A data URI."""


def downloads(report: Mapping[str, Any]) -> list[Download]:
    """The verdicts and the paired differences, where there are any."""
    tables = {"verdicts.csv": (VERDICTS, list(_verdicts(report))), "costs.csv": (COSTS, list(_costs(report)))}
    return [Download(name, _data(columns, rows)) for name, (columns, rows) in tables.items() if rows]


def _verdicts(report: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    for judged in (*report["models"], *report.get("series", ())):
        for verdict in judged["verdicts"]:
            effect = verdict["effect"] or {}
            known = {**verdict, **{name: effect.get(name) for name in ("estimate", "low", "high")}}
            yield [judged["label"], *(known.get(name) for name in VERDICTS[1:])]


def _costs(report: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    for model in report["models"]:
        for row in model["rows"]:
            for benchmark, delta in row["deltas"].items():
                about = [row[name] for name in COSTS[1:6]]
                yield [model["label"], *about, benchmark, *(delta[name] for name in ("estimate", "low", "high"))]


def _data(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as a data URI; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([unformulated(cell) for cell in row] for row in rows)
    return f"data:text/csv;base64,{base64.b64encode(text.getvalue().encode()).decode()}"
