"""What every condition costs: its paired difference to the baseline, benchmark by benchmark.

Owns the table of the page. Seeds of a random control are one row: their mean, and the range of the seeds as a band.
Members of schedules and doses have tables of their own elsewhere.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from studies.reporting.page.quantities import NOTHING, interval, number, share
from studies.reporting.units import measured


class Cost(NamedTuple):
    """One benchmark under one condition."""

    estimate: str
    basis: str
    """Items and units: `600 items, 67 paradigms`; of several seeds how many."""


class Row(NamedTuple):
    """One condition, or all seeds of one."""

    condition: str
    members: tuple[str, ...]
    """The conditions in it: one, or one per seed."""
    part: str
    neurons: str
    """Number, and share of each layer: `450 (1 %)`."""
    remark: str
    costs: tuple[Cost, ...]


class Table(NamedTuple):
    """The costs of one model."""

    model: str
    benchmarks: tuple[str, ...]
    """Labels, with the unit of the difference."""
    baseline: tuple[str, ...]
    """What the baseline scores."""
    rows: tuple[Row, ...]


def tables(report: Mapping[str, Any]) -> list[Table]:
    """One table a model; none for a model without a difference."""
    return [table for model in report["models"] for table in [_table(model)] if table.rows]


def _table(model: Mapping[str, Any]) -> Table:
    benchmarks = model["benchmarks"]
    whole = [row for row in model["rows"] if not row["spread"] and row["part"] != "baseline"]
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in whole:
        groups.setdefault(row["of"], []).append(row)
    cells: Mapping[str, Any] = next((row["cells"] for row in model["rows"] if row["part"] == "baseline"), {})
    return Table(
        model["label"],
        tuple(_heading(benchmark) for benchmark in benchmarks),
        tuple(_score(cells.get(b["name"]), b["measure"]["digits"]) for b in benchmarks),
        tuple(_row(rows, benchmarks) for rows in groups.values() if any(r["deltas"] or r["remark"] for r in rows)),
    )


def _heading(benchmark: Mapping[str, Any]) -> str:
    unit = measured(benchmark["measure"]).suffix.strip()
    return f"{benchmark['label']} ({unit})" if unit else benchmark["label"]


def _score(cell: Mapping[str, Any] | None, digits: int) -> str:
    return NOTHING if cell is None or cell["estimate"] is None else f"{cell['estimate']:.{digits}f}"


def _row(rows: Sequence[Mapping[str, Any]], benchmarks: Sequence[Mapping[str, Any]]) -> Row:
    first = rows[0]
    count = "" if first["num_neurons"] is None else f"{first['num_neurons']:,}"
    neurons = f"{count} ({share(first['fraction'])})" if first["fraction"] is not None else count or NOTHING
    scored = sum(bool(row["deltas"]) for row in rows)
    of_seeds = f" ({len(rows)} seeds)" if scored == len(rows) else f" ({scored} of {len(rows)} seeds)"
    return Row(
        first["of"] + of_seeds if len(rows) > 1 else first["condition"],
        tuple(row["condition"] for row in rows),
        first["part"],
        neurons,
        first["remark"],
        tuple(_cost([row["deltas"].get(b["name"]) for row in rows], b) for b in benchmarks),
    )


def _cost(deltas: Sequence[Mapping[str, Any] | None], benchmark: Mapping[str, Any]) -> Cost:
    known = [delta for delta in deltas if delta is not None]
    unit = measured(benchmark["measure"])
    if not known:
        return Cost(NOTHING, "")
    if len(known) == 1:
        return Cost(interval(known[0], unit), f"{known[0]['num_items']:,} {benchmark['items']}, {known[0]['basis']}")
    estimates = [delta["estimate"] for delta in known]
    band = f"{number(min(estimates), unit)} to {number(max(estimates), unit)}"
    mean = number(sum(estimates) / len(estimates), unit)
    return Cost(f"{mean}{unit.suffix}, {band}", f"mean and range of {len(known)} seeds")
