"""A report as Markdown: `report.md`, and MLflow's description of the parent run.

Owns the layout; the wording is that of `text`. Invariant: names, notes, data and errors are shown as text, through
`plain`: nothing in them is HTML, a link, emphasis, a heading or the end of a table's cell. A name of letters, digits,
dashes and underscores stands there as it is.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from studies.errors import printable
from studies.reporting.records import completed
from studies.reporting.text import (
    across_models_lines,
    benchmark_cell,
    finding_lines,
    margin_lines,
    scorecard_table,
    series_lines,
    verdict_table,
)

_ACTIVE = re.compile(
    r"[\\`*|~$]"  # escapes, code, emphasis, cells, strikethrough, formulas
    r"|!(?=\[)|\](?=[(\[:])"  # images and links
    r"|(?<![^\W_])_|_(?![^\W_])"  # an underscore inside a word is no emphasis
)
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_BLOCK = re.compile(r"^(\s*)([#>+=-]|\d+(?=[.)]\s))")
"""What begins a heading, a quotation, a list or a rule at the start of a line."""


def plain(text: str) -> str:
    """A text so that Markdown shows it as it is, on one line."""
    escaped = _ACTIVE.sub(r"\\\g<0>", printable(text))
    return _TAG.sub("&lt;", _ENTITY.sub("&amp;", escaped))


def markdown(report: Mapping[str, Any]) -> str:
    """The whole report as Markdown."""
    report = completed(report)
    lines = [f"# {plain(report['study'])}", ""]
    for model in report["models"]:
        lines += [f"## {plain(model['display'])}", "", *_condition_table(model)]
        lines += ["", plain("95 % bootstrap intervals over items. " + model["noise"]), ""]
        lines += _bullets(finding_lines(model))
        lines += [*_verdicts(model), ""]
    for series in report.get("series", ()):
        lines += [f"## Training of {plain(series['label'])}", "", *_bullets(series_lines(series))]
        lines += [*_verdicts(series), ""]
    if scorecard := scorecard_table(report["models"]):
        lines += ["## Scorecard", "", *_table(scorecard), ""]
    if across := across_models_lines(report):
        lines += ["## Across models", "", *_bullets(across), ""]
    lines += _bullets(margin_lines(report))
    if report["unfinished"]:
        lines += ["## Not finished", "", *_bullets(report["unfinished"])]
    return "\n".join(lines)


def _condition_table(model: Mapping[str, Any]) -> list[str]:
    benchmarks = model["benchmarks"]
    rows = [["condition", "neurons", *(benchmark["label"] for benchmark in benchmarks)]]
    for row in model["rows"]:
        cells = [row["remark"] or benchmark_cell(benchmark, row) for benchmark in benchmarks]
        rows.append([row["condition"], row["neurons"], *cells])
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; the first row is its heading."""
    heading, *others = [[plain(cell) for cell in row] for row in rows]
    return ["| " + " | ".join(cells) + " |" for cells in (heading, ["---"] * len(heading), *others)]


def _bullets(lines: Iterable[str]) -> list[str]:
    return [f"- {_start(plain(line))}" for line in lines]


def _start(line: str) -> str:
    """The line, which begins a block of its own."""
    return _BLOCK.sub(lambda found: f"{found[1]}{_escaped_start(found[2])}", line)


def _escaped_start(mark: str) -> str:
    return f"&#{ord(mark[0])};{mark[1:]}" if mark[0].isdigit() else f"\\{mark}"


def _verdicts(judged: Mapping[str, Any]) -> list[str]:
    """The verdicts of a model or a series: a table, then what each is based on."""
    table = verdict_table(judged)
    lines = ["", *_table(table), ""] if table else []
    for verdict in judged["verdicts"]:
        claim, status, detail, statement, published = (
            plain(verdict[name]) for name in ("claim", "status", "detail", "statement", "published")
        )
        lines.append(f"- **{claim}: {status}.** {detail}")
        lines.append(f"  *{statement} Published: {published}*")
    return lines
