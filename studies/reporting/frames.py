"""A recorded report, and the items behind it, as tables for notebooks and pages.

Owns the columns of these tables. Takes plain JSON as `records.completed` gives it, and tables as steps record them.
Invariant: every number is the recorded one; what an earlier version of the report lacks is missing in its column.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

OF_CONDITIONS = ("run_id", "name", "status", "model", "condition")
"""The first columns of `conditions`: the run and what it is of."""
OF_THE_REPORT = ("part", "of", "reference", "fraction", "num_neurons", "seed")
"""What the report says of each condition; it wins over the params of the run."""
OF_VERDICTS = ("model", "claim", "status", "estimate", "low", "high", "num_items", "margin", "p_value", "survives_holm")
"""The first columns of `verdicts`."""
OF_BENCHMARKS = ("name", "label", "measure", "is_syntactic", "higher_is_better", "items", "digest")
"""The first columns of `benchmarks`."""
BASELINE = "baseline"
SEARCHED = "matching/fraction"
"""The metric of a matched control with the fraction that its search accepted."""
CONTENTS = ("good", "bad", "context", "choices", "gold", "text")
"""Columns of the texts of items; all others identify an item."""


def conditions(runs: Iterable[tuple[Mapping[str, str], Mapping[str, Any]]], report: Mapping[str, Any]) -> pd.DataFrame:
    """One row per run of a condition, in the order of the report, or else the baseline first.

    runs: ({column of `OF_CONDITIONS`: value}, its params and metrics). fraction, the realised one, is a float;
    num_neurons and seed are nullable integers, missing where a condition has none.
    """
    said = {(part["label"], row["condition"]): row for part in report["models"] for row in part["rows"]}
    order = {place: number for number, place in enumerate(said)}

    def rank(run: tuple[Mapping[str, str], Mapping[str, Any]]) -> tuple[int, bool]:
        return order.get(_place(run[0]), len(order)), run[0]["condition"] != BASELINE

    rows = []
    for about, recorded in sorted(runs, key=rank):
        of_report = said.get(_place(about), {})
        known = {name: of_report[name] for name in OF_THE_REPORT if of_report.get(name) is not None}
        if SEARCHED in recorded:
            known.setdefault("fraction", recorded[SEARCHED])
        rows.append({**_deltas(of_report), **recorded, **known, **about})
    names = dict.fromkeys(name for row in rows for name in row)
    deltas = [name for name in names if name.startswith("delta/")]
    first = [*OF_CONDITIONS, *OF_THE_REPORT]
    others = [name for name in names if name not in (*first, *deltas)]
    table = pd.DataFrame(rows, columns=[*first, *others, *deltas])
    for name in ("part", "of", "reference"):  # texts, also where none is known
        table[name] = table[name].astype(object)
    for name in ("fraction", "num_neurons", "seed"):
        numbers = pd.to_numeric(table[name], errors="coerce").astype(float)  # a run's params are texts, or empty
        table[name] = numbers if name == "fraction" else numbers.astype("Int64")
    return table


def _place(about: Mapping[str, str]) -> tuple[str, str]:
    return about["model"], about["condition"]


def _deltas(row: Mapping[str, Any]) -> dict[str, float]:
    """`delta/<benchmark>`, `_low` and `_high` of a row of the report."""
    found: dict[str, float] = {}
    for benchmark, delta in row.get("deltas", {}).items():
        bounds = {"": delta["estimate"], "_low": delta["low"], "_high": delta["high"]}
        found |= {f"delta/{benchmark}{end}": float("nan") if value is None else value for end, value in bounds.items()}
    return found


def verdicts(report: Mapping[str, Any]) -> pd.DataFrame:
    """One row per claim and model or series of checkpoints; estimate, low and high are of its effect."""
    judged = [*report["models"], *report.get("series", ())]
    rows = [_flat(verdict) for part in judged for verdict in part.get("verdicts", ())]
    return _table(rows, OF_VERDICTS)


def _flat(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """A verdict with its intervals as columns."""
    effect, contrast = (verdict.get(name) or {} for name in ("effect", "contrast"))
    flat = {name: value for name, value in verdict.items() if name not in ("effect", "contrast")}
    flat |= {name: effect.get(name) for name in ("estimate", "low", "high")}
    bounds = {"contrast": "estimate", "contrast_low": "low", "contrast_high": "high"}
    return flat | {name: contrast.get(bound) for name, bound in bounds.items()}


def benchmarks(report: Mapping[str, Any], evaluated: Iterable[str]) -> pd.DataFrame:
    """One row per benchmark of the report, then those that were only evaluated so far."""
    found: dict[str, dict[str, Any]] = {}
    for entry in (benchmark for part in report["models"] for benchmark in part["benchmarks"]):
        found.setdefault(entry["name"], {**entry, "measure": entry["measure"]["name"]})
    for name in evaluated:
        found.setdefault(name, {"name": name})
    return _table(list(found.values()), OF_BENCHMARKS)


def _table(rows: list[dict[str, Any]], first: Iterable[str]) -> pd.DataFrame:
    columns = dict.fromkeys([*first, *(name for row in rows for name in row)])
    return pd.DataFrame(rows, columns=list(columns))


def with_texts(items: pd.DataFrame, texts: pd.DataFrame) -> pd.DataFrame:
    """The items, each with its text, in their order. items: of several models and conditions. Texts that share their
    key are taken in order."""
    key = [name for name in texts.columns if name in items.columns and name not in CONTENTS]
    texts = texts[[*key, *(name for name in texts.columns if name not in items.columns)]]
    if not texts.duplicated(key).any():
        return items.merge(texts, on=key, how="left")
    of_condition = [name for name in ("model", "condition") if name in items.columns]
    repeated = items.assign(repetition=items.groupby([*of_condition, *key]).cumcount())
    texts = texts.assign(repetition=texts.groupby(key).cumcount())
    return repeated.merge(texts, on=[*key, "repetition"], how="left").drop(columns="repetition")
