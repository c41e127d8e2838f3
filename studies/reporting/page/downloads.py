"""The numbers of the page as CSV files that are part of it: every bit of them, in the units of the record."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from studies.errors import unformulated
from studies.reporting.frames import verdicts

VERDICTS = ("model", "claim", "status", "unit", "estimate", "low", "high", "num_items", "margin", "p_value")
COSTS = ("model", "condition", "part", "fraction", "num_neurons", "seed", "benchmark", "estimate", "low", "high")


class Download(NamedTuple):
    """A file within the page."""

    name: str
    source: str
    """A data URI."""


def downloads(report: Mapping[str, Any]) -> list[Download]:
    """The verdicts and the paired differences, where there are any."""
    costs = pd.DataFrame(_costs(report), columns=list(COSTS))
    tables = {"verdicts.csv": verdicts(report).reindex(columns=VERDICTS), "costs.csv": costs}
    return [Download(name, _data(table)) for name, table in tables.items() if len(table)]


def _costs(report: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    for model in report["models"]:
        for row in model["rows"]:
            for benchmark, delta in row["deltas"].items():
                about = [row[name] for name in COSTS[1:6]]
                yield [model["label"], *about, benchmark, *(delta[name] for name in ("estimate", "low", "high"))]


def _data(table: pd.DataFrame) -> str:
    """A table as a data URI; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    text = table.map(unformulated).to_csv(index=False, lineterminator="\n")
    return f"data:text/csv;base64,{base64.b64encode(text.encode()).decode()}"
