"""Finished dose-responses -> one MLflow run a model: increases over the baseline at every dose, where perplexity
doubles, a figure, and every metric over the dose.

Owns which conditions form the curves and what is recorded of them; `studies.statistics.doses` has the statistics. Made from
whatever doses finished.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from orchestrator.planning.conditions import Condition
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.plan import Plan
from orchestrator.record.keys import Committed, RunKey
from orchestrator.record.record import Record
from orchestrator.review.layers import Items
from orchestrator.steps.identity import identify
from orchestrator.steps.step import BASELINE, review_id
from studies.reporting import figures
from studies.reporting.text import doubling_record, is_perplexity
from studies.statistics.doses import doubling_fraction, responses

FACTS = "doses.json"
STEPS_PER_UNIT = 10_000
"""MLflow's steps are whole numbers: a dose stands at its fraction in units of 0.01 %."""


def record_doses(
    plan: Plan, model: ResolvedModel, items: Items, committed: Mapping[str, Committed], record: Record
) -> list[dict[str, Any]]:
    """Record the model's dose-responses once; returns where perplexity doubles, one entry a condition."""
    curves = _curves(plan, model)
    if not curves:
        return []
    rests_on = [BASELINE, *(condition.name for doses in curves.values() for condition in doses)]
    inputs = {step for name in rests_on for step in plan.evaluations[model.label, name].values() if step in committed}
    step_id = review_id("doses", {"study": plan.study.spec.study}, sorted(inputs))
    key = RunKey(
        kind="schedule",
        model=model.label,
        name=f"dose-response · {model.label}",
        condition="dose-response",
        identity=identify({"doses": sorted(rests_on), "model": model.digest}),
        params={"model": model.label, "condition": "dose-response", "schedule": "doses"},
    )
    known = record.intact([step_id]).get(step_id)
    if known is not None:
        record.adopt(key, known)
        facts = record.document(known, FACTS)
    else:
        table, facts = _measure(model, curves, items)
        if table.empty:
            return []
        record.commit(
            key,
            step_id,
            "doses",
            metrics=_doubling_metrics(facts),
            series=_series(plan, model, curves, committed),
            frames={"dose_response.parquet": table},
            documents={FACTS: facts},
            files={"figures/dose-response.png": figures.dose_curves(table, facts["doubling"], title=model.label)},
        )
    record.finish(key, "FINISHED")
    return facts["doubling"]


def _curves(plan: Plan, model: ResolvedModel) -> dict[str, list[Condition]]:
    """{condition, with its seed: its doses}."""
    found: dict[str, list[Condition]] = {}
    for condition in plan.conditions[model.label]:
        if condition.dose is not None:
            found.setdefault(condition.curve, []).append(condition)
    return found


def _measure(model: ResolvedModel, curves: Mapping[str, list[Condition]], items: Items) -> tuple[pd.DataFrame, dict]:
    tables, doubling = [], []
    for name, doses in curves.items():
        found = {condition.dose: items(model, condition.name) for condition in doses}
        for benchmark, reference in items(model, BASELINE).items():
            by_fraction = {dose: frames[benchmark] for dose, frames in found.items() if benchmark in frames}
            if not by_fraction:
                continue
            table = responses(reference, by_fraction).assign(condition=name, base=doses[0].base, benchmark=benchmark)
            tables.append(table)
            if is_perplexity(benchmark):
                interval = doubling_fraction(reference, by_fraction)
                doubling.append(doubling_record(name, max(by_fraction), interval))
    return pd.concat(tables) if tables else pd.DataFrame(), {"doubling": doubling}


def _doubling_metrics(facts: Mapping[str, Any]) -> dict[str, float]:
    return {
        f"doubling_fraction/{one['condition'].replace('=', '_')}": one["estimate"]
        for one in facts["doubling"]
        if one["estimate"] != "inf"
    }


def _series(plan: Plan, model: ResolvedModel, curves, committed) -> dict[str, dict[int, float]]:
    """{condition and metric: {dose: value}} of every dose's own run."""
    series: dict[str, dict[int, float]] = {}
    for name, doses in curves.items():
        for condition in doses:
            at = round(STEPS_PER_UNIT * condition.dose)
            for metric, value in plan.metrics(model.label, condition.name, committed).items():
                series.setdefault(f"{name.replace('=', '_')}/{metric}", {})[at] = value
    return series
