"""The double dissociation: what the treated neurons and their matched control do to both kinds of error.

Reads the report's plain JSON (`part`, `deltas`, `cells` of its rows, `is_syntactic` of its benchmarks) and computes
nothing but means of what stands there.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from studies.reporting.figures.sheet import MARK, Drawing, Entry, Layout, grid, set_labels, sheet, zero_line
from studies.reporting.figures.style import INK, LOOKS, PAPER, SMALL, Look, is_number, styled
from studies.statistics.intervals import Interval

PUBLISHED_ERRORS = {"treated": 4.0, "matched": 11.0}
"""Non-syntactic error of the paper, in % over the baseline's (Kong et al., ICLR 2026); it gives no interval."""


class _Place(NamedTuple):
    """Where a condition stands: the change of both kinds of error, in % of the baseline's."""

    syntactic: Interval
    other: Interval


@styled
def double_dissociation(models: Sequence[Mapping[str, Any]]) -> Drawing | None:
    """Change of the syntactic against that of the non-syntactic error, with an arrow from matched to treated.

    models: their parts of the report. Benchmarks of one kind weigh the same, and their intervals are put together as
    those of independent estimates. Of the paper only the non-syntactic errors are known: two lines. None where no model
    has a treated and a matched condition on both kinds of benchmark.
    """
    pairs = [(model, *found) for model in models if (found := _pair(model)) is not None]
    if not pairs:
        return None
    of = sheet(1, Layout(height=360, across=1, title_lines=0, key=_key([model for model, *_ in pairs])))
    (panel,) = of.axes
    for part, error in PUBLISHED_ERRORS.items():
        panel.axhline(error, color=PAPER, linewidth=1.2, linestyle=LOOKS[part].line, zorder=1)
    for vertical in (True, False):
        zero_line(panel, vertical=vertical)
    for number, (_, matched, treated) in enumerate(pairs, start=1):
        for place, look in ((matched, LOOKS["matched"]), (treated, LOOKS["treated"])):
            _draw(panel, place, look, str(number) if len(pairs) > 1 else "")
        start, end = ((place.syntactic.estimate, place.other.estimate) for place in (matched, treated))
        arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.2, "shrinkA": 6, "shrinkB": 6}
        panel.annotate("", end, start, arrowprops=arrow, zorder=5)
    panel.margins(0.1)
    of.signed.update((id(panel.xaxis), id(panel.yaxis)))
    grid(panel, "both")
    set_labels(
        of, panel, x="change of the syntactic error, % of the baseline's", y="change of the non-syntactic error, %"
    )
    syntactic, others = (sorted({b for m, *_ in pairs for b in _labels(m, kind)}) for kind in (True, False))
    return of.finished(
        "Double dissociation: an arrow from the matched control to the treated neurons",
        f"Paired change of the error, in % of the baseline's error. Syntactic: {', '.join(syntactic)}; non-syntactic: "
        f"{', '.join(others)}; benchmarks of one kind weigh the same. 95 % intervals (Student's t over units), put "
        "together over benchmarks as independent; the matched control at the fraction that was found. A double "
        "dissociation points down and to the right. Grey: the paper's non-syntactic errors, of other models; of its "
        "syntactic ones no numbers are known here.",
    )


def _key(models: Sequence[Mapping[str, Any]]) -> list[Entry]:
    paper = [(f"paper: {part} +{error:g} %", LOOKS[part].line) for part, error in PUBLISHED_ERRORS.items()]
    numbered = enumerate(models, start=1) if len(models) > 1 else ()
    return [
        Entry("treated", LOOKS["treated"], "point"),
        Entry("matched control", LOOKS["matched"], "point"),
        *(Entry(label, Look(PAPER, "", line), "line") for label, line in paper),
        *(Entry(model["display"], Look(INK, str(number), ""), "number") for number, model in numbered),
    ]


def _draw(panel: Any, place: _Place, look: Look, number: str) -> None:
    x, y = place
    for low, high, along in ((x.low, x.high, "x"), (y.low, y.high, "y")):
        if is_number(low) and is_number(high):
            ends = ([low, high], [y.estimate, y.estimate]) if along == "x" else ([x.estimate, x.estimate], [low, high])
            panel.plot(*ends, color=look.colour, linewidth=1.2, zorder=2)
    panel.plot(x.estimate, y.estimate, look.marker, color=look.colour, markersize=11 if number else 7, zorder=4)
    if number:
        panel.text(
            x.estimate,
            y.estimate,
            number,
            color="white",
            fontsize=SMALL,
            ha="center",
            va="center_baseline",
            zorder=6,
            label=MARK,
        )


def _labels(model: Mapping[str, Any], is_syntactic: bool) -> list[str]:
    return [b["label"] for b in _benchmarks(model, is_syntactic)]


def _benchmarks(model: Mapping[str, Any], is_syntactic: bool) -> list[Mapping[str, Any]]:
    """The graded benchmarks of one kind."""
    return [b for b in model["benchmarks"] if b["is_syntactic"] is is_syntactic and b["measure"]["name"] == "accuracy"]


def _pair(model: Mapping[str, Any]) -> tuple[_Place, _Place] | None:
    """The places of the matched and of the treated condition of the claims; None where one of them has none."""
    rows = {row["condition"]: row for row in model["rows"] if not row["remark"]}
    by_role = model["roles"]["conditions"]
    found = [rows.get(by_role.get(role, "")) for role in ("matched", "treated", "baseline")]
    matched, treated, baseline = found
    if matched is None or treated is None or baseline is None:
        return None
    places = [_place(model, row, baseline) for row in (matched, treated)]
    return None if places[0] is None or places[1] is None else (places[0], places[1])


def _place(model: Mapping[str, Any], row: Mapping[str, Any], baseline: Mapping[str, Any]) -> _Place | None:
    changes = []
    for kind in (True, False):
        names = [b["name"] for b in _benchmarks(model, kind)]
        weighted = baseline.get("weighted", {})
        if not names or any(name not in of for of in (row["deltas"], weighted) for name in names):
            return None
        error = 1 - math.fsum(weighted[name] for name in names) / len(names)
        if error <= 0:
            return None
        changes.append(_mean([row["deltas"][name] for name in names], scale=-100 / error))
    return _Place(*changes)


def _mean(deltas: Sequence[Mapping[str, Any]], scale: float) -> Interval:
    """The mean of independent estimates, times a negative scale."""
    value = scale * math.fsum(delta["estimate"] for delta in deltas) / len(deltas)
    if any(delta["low"] is None or delta["high"] is None for delta in deltas):
        return Interval(value, math.nan, math.nan)
    halves = [(delta["high"] - delta["low"]) / 2 for delta in deltas]
    half = abs(scale) * math.hypot(*halves) / len(deltas)
    return Interval(value, value - half, value + half)
