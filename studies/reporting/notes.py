"""Notes for MLflow's pages, in Markdown: of a study's experiment, of a condition's run, of steps that did not finish.

Owns their layout, and that they fit: a note is cut at a row and says so. Sentences, scorecard and numbers are
those of the page (`studies.reporting.page`). Reads the plain JSON of a `completed` report and computes nothing; names,
data and errors are shown as text, through `plain`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from studies.reporting.markdown import plain
from studies.reporting.page.headline import headline
from studies.reporting.page.quantities import interval
from studies.reporting.page.scorecard import Judged, rows
from studies.reporting.units import measured

MAX_REASON = 600
"""Characters of the reason why a step did not finish."""


def condition_note(model: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """One sentence on what a condition costs; for the baseline, what it is; empty where nothing is known yet."""
    if row["part"] == "baseline":
        return plain(f"{model['display']} as it is, on the same path as every condition.")
    subject = f"{row['neurons']}: " if row.get("neurons") else ""
    costs = [
        f"{benchmark['label']} {interval(row['deltas'][benchmark['name']], measured(benchmark['measure']))}"
        for benchmark in model["benchmarks"]
        if benchmark["name"] in row["deltas"]
    ]
    if costs:
        return plain(f"{subject}{'; '.join(costs)}, against the baseline on the same items, with 95 % intervals.")
    return plain(subject + row["remark"]) if row["remark"] else ""


def failure_lines(failures: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each step that failed or was skipped: (its name, the reason)."""
    return [f"**{plain(step)} did not finish:** {plain(_short(reason))}" for step, reason in failures]


def experiment_note(report: Mapping[str, Any], links: Mapping[str, str], limit: int) -> str:
    """The note on an experiment: headline, links, scorecard, what is not finished.

    links: {what it opens: address}; an empty address is left out. The first one stands before the headline, because
    MLflow shows the first line of a note on whatever page it opens first. limit: characters.
    """
    first, *others = [f"[{plain(name)}]({address})" for name, address in links.items() if address] or [""]
    lines = [" · ".join(filter(None, [first, plain(" ".join(headline(report)))])), ""]
    lines += [" · ".join(others), ""] if others else []
    lines += _scorecard(report)
    if report["unfinished"]:
        lines += ["", "## Not finished", "", *(f"- {plain(_short(line))}" for line in report["unfinished"])]
    return cut_at_a_row(lines, limit)


def model_note(report: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """The finding on one model; empty where none of its claims is judged."""
    return plain(" ".join(headline({**report, "models": [model], "series": []}))) if model["verdicts"] else ""


def _scorecard(report: Mapping[str, Any]) -> list[str]:
    """Claims over models, each cell with the verdict and the effect; the claims' sentences; empty without verdicts."""
    found = rows(report)
    labels = list(dict.fromkeys(judged.model for row in found for judged in row.judged))
    if not labels:
        return []
    table = [["claim", *labels]]
    for row in found:
        cells = {judged.model: _cell(judged) for judged in row.judged}
        table.append([row.statement or row.claim, *(cells.get(label, "–") for label in labels)])
    heading, *others = [[plain(cell) for cell in row] for row in table]
    return ["## Scorecard", "", *("| " + " | ".join(row) + " |" for row in (heading, ["---"] * len(heading), *others))]


def _cell(judged: Judged) -> str:
    """`supported, +11.2 % [+9.7, +12.8]`."""
    return f"{judged.status}, {judged.here}" if any(map(str.isdigit, judged.here)) else judged.status


def cut_at_a_row(lines: Sequence[str], limit: int) -> str:
    """The lines as one text; where it would be longer, as many as fit, and a last one that says that it was cut."""
    whole = "\n".join(lines)
    if len(whole) <= limit:
        return whole
    last = "\n\n(cut here; `report.md` on the study's own run has all of it)"
    kept: list[str] = []
    used = len(last)
    for line in lines:
        used += len(line) + 1
        if used > limit:
            break
        kept.append(line)
    return "\n".join(kept) + last


def _short(text: str) -> str:
    return text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 3]}..."
