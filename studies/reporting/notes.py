"""Notes for MLflow's pages, in Markdown: of a study's experiment, of a condition's run, of a run with failed steps.

Owns their wording and that they fit: a note is cut at a row and says so. Reads the plain JSON of a `completed` report
and computes nothing; names, data and errors are shown as text, through `plain`. What a report of an earlier version
lacks is left out.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from studies.reporting.markdown import plain

MAX_REASON = 600
"""Characters of a failed step's reason."""
MINUS = "\N{MINUS SIGN}"


def delta_phrase(benchmark: Mapping[str, Any], delta: Mapping[str, Any]) -> str:
    """`BLiMP −3.1 points [−3.9, −2.3]`, `perplexity +14.7 % [12.1, 17.4]`: a paired difference to the baseline.

    Of an accuracy in percentage points; of a perplexity, whose difference is the logarithm of a ratio, in per cent;
    else as it is.
    """
    measure = benchmark["measure"]
    if measure["logarithmic"]:
        values, unit = [_per_cent(delta[name]) for name in ("estimate", "low", "high")], " %"
    elif measure["name"] == "accuracy":
        values, unit = [_scaled(delta[name], 100) for name in ("estimate", "low", "high")], " points"
    else:
        values, unit = [delta[name] for name in ("estimate", "low", "high")], ""
    estimate, low, high = values
    if estimate is None:
        return f"{benchmark['label']}: unknown"
    digits = 1 if unit else 3
    bounds = "" if low is None or high is None else f" [{_number(low, digits)}, {_number(high, digits)}]"
    return f"{benchmark['label']} {_number(estimate, digits, sign='+')}{unit}{bounds}"


def condition_note(model: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """One sentence on what a condition costs; for the baseline, what it is; empty where nothing is known yet."""
    if row["part"] == "baseline":
        return plain(f"The model as it is, on the same path as every condition of {model['display']}.")
    by_name = {benchmark["name"]: benchmark for benchmark in model["benchmarks"]}
    known = [delta_phrase(by_name[name], delta) for name, delta in row["deltas"].items() if name in by_name]
    subject = f"{row['neurons']}: " if row.get("neurons") else ""
    if not known:
        return plain(subject + row["remark"]) if row["remark"] else ""
    return plain(f"{subject}against the baseline {', '.join(known)} (paired, 95 % intervals).")


def failure_lines(failures: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each step that failed or was skipped: (its name, the reason)."""
    return [f"**{plain(step)} did not finish:** {plain(_short(reason, MAX_REASON))}" for step, reason in failures]


def experiment_note(report: Mapping[str, Any], links: Mapping[str, str], limit: int) -> str:
    """The note on an experiment, of which MLflow shows the first lines before it is opened: headline, links, scorecard,
    what is not finished.

    links: {what it opens: address}; an empty address is left out. limit: characters.
    """
    models = report["models"]
    judged = [*models, *report.get("series", ())]
    lines = [*(f"{plain(sentence)}  " for sentence in headline(judged)), ""]
    known = [f"[{plain(name)}]({address})" for name, address in links.items() if address]
    lines += [" · ".join(known), ""] if known else []
    lines += _scorecard(judged)
    if report["unfinished"]:
        lines += ["", "## Not finished", "", *(f"- {plain(_short(line, MAX_REASON))}" for line in report["unfinished"])]
    return cut_at_a_row(lines, limit)


def headline(judged: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each model, or series of checkpoints, on how many of its claims have which verdict."""
    sentences = []
    for one in judged:
        counts = verdict_counts([one])
        said = ", ".join(f"{number} {status}" for status, number in counts.items())
        name = one.get("display", one["label"])
        if counts:
            sentences.append(f"{name}: of {counts.total()} claims {said}.")
        else:
            sentences.append(f"{name}: no claims are judged.")
    return sentences


def verdict_counts(judged: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """{status: how many verdicts have it}, the most frequent first."""
    counts = Counter(verdict["status"] for one in judged for verdict in one["verdicts"])
    return Counter(dict(counts.most_common()))


def _scorecard(judged: Sequence[Mapping[str, Any]]) -> list[str]:
    """Claims over models, each cell with the verdict and the effect; empty without verdicts."""
    cells: dict[str, dict[str, str]] = {}
    for one in judged:
        for verdict in one["verdicts"]:
            cells.setdefault(verdict["claim"], {})[one["label"]] = _verdict_cell(verdict)
    if not cells:
        return []
    labels = [one["label"] for one in judged if one["verdicts"]]
    rows = [["claim", *labels], *([claim, *(of.get(label, "-") for label in labels)] for claim, of in cells.items())]
    heading, *others = [[plain(cell) for cell in row] for row in rows]
    table = [heading, ["---"] * len(heading), *others]
    return ["## Scorecard", "", *("| " + " | ".join(row) + " |" for row in table)]


def _verdict_cell(verdict: Mapping[str, Any]) -> str:
    effect = verdict.get("effect")
    if not effect or effect["estimate"] is None:
        return str(verdict["status"])
    bounds = "" if effect["low"] is None else f" [{_number(effect['low'], 3)}, {_number(effect['high'], 3)}]"
    return f"{verdict['status']}, {_number(effect['estimate'], 3, sign='+')}{bounds}"


def cut_at_a_row(lines: Sequence[str], limit: int) -> str:
    """The lines as one text; where it would be longer, as many as fit, and a last one that says that it was cut."""
    whole = "\n".join(lines)
    if len(whole) <= limit:
        return whole
    last = "\n\n(cut here: the whole report is `report.md` on the study's own run)"
    kept: list[str] = []
    used = len(last)
    for line in lines:
        used += len(line) + 1
        if used > limit:
            break
        kept.append(line)
    return "\n".join(kept) + last


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


def _per_cent(log_ratio: float | None) -> float | None:
    """The change in per cent that the logarithm of a ratio stands for; inf beyond what a number holds."""
    if log_ratio is None:
        return None
    try:
        return 100 * math.expm1(log_ratio)
    except OverflowError:
        return math.inf


def _number(value: float, digits: int, sign: str = "-") -> str:
    """`+14.7`, `−0.031`: a large one with three significant digits instead."""
    shown = f"{value:{sign}.{digits}f}" if abs(value) < 1000 else f"{value:{sign}.3g}"
    return shown.replace("-", MINUS, 1)
