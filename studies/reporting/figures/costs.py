"""What every condition costs: its paired difference to the baseline on each benchmark.

Reads the report's plain JSON (`part`, `deltas` and the names of its rows) and computes nothing but the mean of seeds.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from studies.reporting.figures.marks import draw_estimate, draw_seeds
from studies.reporting.figures.sheet import (
    Drawing,
    Layout,
    grid,
    names_width,
    set_labels,
    set_names,
    set_title,
    sheet,
    zero_line,
)
from studies.reporting.figures.style import LOOKS, by_part, is_number, spoken, styled, width_of
from studies.reporting.units import LARGE_RISE, Unit, measured
from studies.statistics.intervals import Interval

ROW = 18
"""Pixels of a condition's row."""
FEW, MANY = 3, 2
"""Panels in a row of `conditions`, and with long names."""
LONG_TITLE = 140.0
"""Pixels of a name beyond which titles have two lines."""


class _Line(NamedTuple):
    """One line of `conditions`: a condition, or all seeds of one."""

    name: str
    part: str
    rows: Sequence[Mapping[str, Any]]


def _lines(model: Mapping[str, Any]) -> list[_Line]:
    """The whole conditions with a difference to the baseline, treated ones first, seeds together."""
    rows = [row for row in model["rows"] if row["deltas"] and not row["remark"] and not row["spread"]]
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(row["of"], []).append(row)
    parts = {name: of_name[0]["part"] for name, of_name in by_name.items()}
    return [_Line(name, parts[name], by_name[name]) for name in by_part(by_name, parts) if parts[name] != "baseline"]


@styled
def conditions(model: Mapping[str, Any]) -> Drawing | None:
    """One panel per benchmark: the paired difference of every condition to the baseline; seeds as one band.

    model: its part of the report. Members of schedules and doses are left out: their own figures have them. None where
    no condition can be compared.
    """
    lines = _lines(model)
    benchmarks = [
        b for b in model["benchmarks"] if any(b["name"] in row["deltas"] for line in lines for row in line.rows)
    ]
    if not benchmarks:
        return None
    names = [
        f"{spoken(line.name)} ({len(line.rows)} seeds)" if len(line.rows) > 1 else spoken(line.name) for line in lines
    ]
    width, height = names_width(names), ROW * len(lines) + 10
    titles = [benchmark["label"] for benchmark in benchmarks]
    title_lines = 2 if max(map(width_of, titles)) > LONG_TITLE else 1
    of = sheet(
        len(benchmarks),
        Layout(
            height=height,
            across=FEW if width < 170 else MANY,
            names=width,
            shared=True,
            title_lines=title_lines,
            label_lines=2,
        ),
    )
    for panel, benchmark in zip(of.axes, benchmarks, strict=True):
        unit = measured(benchmark["measure"])
        by_line = [[unit.interval(row["deltas"].get(benchmark["name"])) for row in line.rows] for line in lines]
        unit, by_line = _as_multiples(unit, by_line)
        for y, (line, deltas) in enumerate(zip(lines, by_line, strict=True)):
            found = [delta for delta in deltas if is_number(delta.estimate)]
            if len(found) > 1:
                draw_seeds(panel, y, [delta.estimate for delta in found], LOOKS[line.part])
            elif found:
                draw_estimate(panel, y, found[0], LOOKS[line.part])
        multiples = unit.name == "times"
        zero_line(panel, at=1.0 if multiples else 0.0)
        if multiples:
            panel.set_xscale("log")
        else:
            of.signed.add(id(panel.xaxis))
        set_names(panel, names, width)
        grid(panel)
        set_title(of, panel, benchmark["label"])
        set_labels(of, panel, x=f"{unit.label}, over the baseline" if multiples else f"change of {unit.label}")
    return of.finished(
        f"{model['display']}: what each condition costs, against the baseline on the same items",
        f"Difference to the baseline, paired by item, with its 95 % interval (Student's t over units, or as said: "
        f"{_bases(lines, benchmarks)}). {_seeds_note(lines)}Hollow: no interval is known.",
    )


def _as_multiples(unit: Unit, deltas: list[list[Interval]]) -> tuple[Unit, list[list[Interval]]]:
    """Rises of hundreds of % as multiples of the baseline, whose axis is logarithmic."""
    largest = max((d.estimate for of_line in deltas for d in of_line if is_number(d.estimate)), default=0.0)
    if not unit.is_ratio or largest <= LARGE_RISE:
        return unit, deltas
    multiples = [[Interval(*(1 + value / 100 for value in delta)) for delta in of_line] for of_line in deltas]
    return unit._replace(name="times"), multiples


def _bases(lines: Sequence[_Line], benchmarks: Sequence[Mapping[str, Any]]) -> str:
    """`perplexity 16 windows; blimp 67 paradigms`."""
    found = {}
    for benchmark in benchmarks:
        deltas = (row["deltas"].get(benchmark["name"]) for line in lines for row in line.rows)
        found[benchmark["label"]] = next(delta["basis"] for delta in deltas if delta is not None)
    return "; ".join(f"{label} {basis}" for label, basis in found.items())


def _seeds_note(lines: Sequence[_Line]) -> str:
    return "Bands: lowest to highest of the seeds, at their mean. " if any(len(line.rows) > 1 for line in lines) else ""
