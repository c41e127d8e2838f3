"""A comparison of two recorded things on the terminal, in 80 columns: a table a benchmark, verdicts, what is left out.

Owns the layout. Takes the plain JSON of `comparison.pairs`. Differences stand in the unit in which a report tells them:
percentage points of accuracy, % of perplexity, nats of surprisal.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from orchestrator.terminal.console import plain, print_table, show_line
from studies.reporting.units import Unit, measured

PLACES = {"a": "A", "b": "B"}


def show_comparison(console: Console, found: Mapping[str, Any]) -> None:
    """Print it model by model."""
    for side, name in PLACES.items():
        show_line(console, f"{name} = {found[side]['named']}")
    for model in found["models"]:
        console.print()
        same = model["a"] == model["b"]
        show_line(console, model["a"] if same else f"A: {model['a']}, B: {model['b']}")
        for benchmark in dict.fromkeys(row["benchmark"] for row in model["rows"]):
            _show_benchmark(console, benchmark, [row for row in model["rows"] if row["benchmark"] == benchmark])
        if model["verdicts"]:
            rows = [[entry["claim"], *(entry[side]["status"] for side in PLACES)] for entry in model["verdicts"]]
            print_table(console, "", ["claim", *PLACES.values()], rows)
        for line in _left_out(model):
            show_line(console, line)
    console.print(plain("B - A, item by item, over the items that both hold; 95 % bootstrap intervals."), style="dim")


def _show_benchmark(console: Console, benchmark: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the conditions of one benchmark."""
    measure = rows[0]["measure"]
    unit, digits = measured(measure), measure["digits"]
    cells = [
        [
            row["condition"],
            *(f"{row[side]['estimate']:.{digits}f}" for side in PLACES),
            "the same result" if row["same_result"] else _difference(unit, row["difference"]),
            f"{row['num_items']:,}",
        ]
        for row in rows
    ]
    heading = ["condition", *PLACES.values(), f"B - A{unit.suffix and ','}{unit.suffix}", "items"]
    print_table(console, f"{benchmark} ({measure['name']})", heading, cells)


def _difference(unit: Unit, recorded: Mapping[str, Any]) -> str:
    """`+1.2 [-0.3, +2.7]`; the estimate alone where there is no interval."""
    interval = unit.interval(recorded)
    bounds = "" if recorded["low"] is None else f" [{interval.low:+.{unit.digits}f}, {interval.high:+.{unit.digits}f}]"
    return f"{interval.estimate:+.{unit.digits}f}{bounds}"


def _left_out(model: Mapping[str, Any]) -> Iterator[str]:
    """What is not compared, one line a reason; then what only one side has."""
    by_reason: dict[str, list[Mapping[str, Any]]] = {}
    for entry in model["not_compared"]:
        by_reason.setdefault(entry["reason"], []).append(entry)
    for reason, entries in by_reason.items():
        yield f"not compared: {_places(entries)}: {reason}"
    for side, name in PLACES.items():
        if alone := model[f"only_{side}"]:
            yield f"only {name} has {_places(alone)}"
    if not model["rows"]:
        yield "nothing is compared"


def _places(entries: Sequence[Mapping[str, Any]]) -> str:
    """`wasserstein, matched on blimp, tse; random/seed=0 on tse`."""
    by_condition: dict[str, list[str]] = {}
    for entry in entries:
        by_condition.setdefault(entry["condition"], []).append(entry["benchmark"])
    by_benchmarks: dict[str, list[str]] = {}
    for condition, benchmarks in by_condition.items():
        by_benchmarks.setdefault(", ".join(benchmarks), []).append(condition)
    return "; ".join(f"{', '.join(conditions)} on {names}" for names, conditions in by_benchmarks.items())
