"""The scorecard on a terminal: one line a claim, in as much detail as the width allows.

Owns the layout; claims, verdicts and numbers are those of the page (`studies.reporting.page.scorecard`).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from studies.claims.scorecard import Status
from studies.errors import printable
from studies.reporting.page.scorecard import Judged, Row, rows

STATUS_COLOURS: Mapping[str, str] = {
    "supported": "green",
    "contradicted": "red",
    "absent": "cyan",
    "undecided": "yellow",
    "not applicable": "dim",
    "holds": "green",
    "does not hold": "yellow",
    "not decidable": "yellow",
}
"""The last three: of reports before version 8. Red is what the evidence is against, never what it cannot tell."""
GAP = 2
"""Columns between two columns of the scorecard."""

Cells = Sequence[Text]


def scorecard_lines(report: Mapping[str, Any], width: int) -> list[Text]:
    """The scorecard, heading first, in the most detailed form that fits into `width` columns; empty without verdicts.

    One model: verdict, effect with its interval, and how that stands to the paper. Several models: a column each, with
    the interval, without it, or the verdict alone; where that is too wide too, how many models have which verdict.
    report: a `completed` one.
    """
    found = rows(report)
    labels = list(dict.fromkeys(judged.model for row in found for judged in row.judged))
    if not labels:
        return []
    forms = _one_model(found) if len(labels) == 1 else _several_models(found, labels)
    tables = [*forms, _counts(found)]
    return next((lines for lines in map(_aligned, tables) if max(map(_length, lines)) <= width), _aligned(tables[-1]))


def _one_model(found: Sequence[Row]) -> list[list[Cells]]:
    heading = ["claim", "verdict", "effect [95 %]", "against the paper"]
    forms: list[Callable[[Judged], list[str]]] = [
        lambda judged: [judged.here, judged.agreement],
        lambda judged: [judged.here],
        lambda judged: [judged.estimate],
    ]
    judged = [(row.claim, one) for row in found for one in row.judged]
    return [
        [_heading(heading[: 2 + len(form(judged[0][1]))])]
        + [[_text(claim), _status(one.status), *map(_text, form(one))] for claim, one in judged]
        for form in forms
    ]


def _several_models(found: Sequence[Row], labels: Sequence[str]) -> list[list[Cells]]:
    forms: list[Callable[[Judged], str]] = [
        lambda judged: f"{judged.status}, {judged.here}",
        lambda judged: f"{judged.status}, {judged.estimate}",
        lambda judged: judged.status,
    ]
    tables = []
    for form in forms:
        table: list[Cells] = [_heading(["claim", *labels])]
        for row in found:
            by_model = {judged.model: _status(judged.status, form(judged)) for judged in row.judged}
            table.append([_text(row.claim), *(by_model.get(label, Text("–", style="dim")) for label in labels)])
        tables.append(table)
    return tables


def _counts(found: Sequence[Row]) -> list[Cells]:
    """How many models have which verdict on each claim."""
    counted = [Counter(judged.status for judged in row.judged) for row in found]
    statuses = [status for status in map(str, Status) if any(counts[status] for counts in counted)]
    table: list[Cells] = [_heading(["claim", *statuses])]
    for row, counts in zip(found, counted, strict=True):
        cells = [_status(status, str(counts[status])) if counts[status] else Text("·") for status in statuses]
        table.append([_text(row.claim), *cells])
    return table


def _heading(cells: Sequence[str]) -> Cells:
    return [Text(printable(cell), style="dim") for cell in cells]


def _status(status: str, shown: str = "") -> Text:
    """A verdict in its colour; shown: the text, if it is not the verdict itself."""
    return Text(printable(shown or status.upper()), style=STATUS_COLOURS.get(status, ""))


def _text(text: str) -> Text:
    return Text(printable(text))


def _aligned(table: Sequence[Cells]) -> list[Text]:
    """The rows of a table as lines, with aligned columns."""
    widths = [max(cell_len(cell.plain) for cell in column) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        line = Text()
        for cell, column in zip(row, widths, strict=True):
            line.append_text(cell).append(" " * (column - cell_len(cell.plain) + GAP))
        line.rstrip()
        lines.append(line)
    return lines


def _length(line: Text) -> int:
    return cell_len(line.plain)
