"""Finished dose-responses -> one MLflow run a model: increases over the baseline at every dose, the fraction at which
perplexity doubles, a figure, and every metric over the dose.

Owns which conditions form the curves and what is recorded about them; `studies.statistics.doses` has the statistics.
Made from whatever doses have finished.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from orchestrator.planning.conditions import Condition
from orchestrator.planning.models import ResolvedModel
from orchestrator.record.keys import RunKey
from orchestrator.review.findings import Findings
from orchestrator.review.recorded import ReviewStep, adopt_or_make
from orchestrator.steps.identity import identify
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import BASELINE, review_id
from studies.reporting.figures.curves import dose_curves
from studies.reporting.figures.files import recorded
from studies.reporting.records import doubling_record
from studies.statistics.doses import dose_response, doubling_fraction

SUMMARY = "doses.json"
STEPS_PER_UNIT = 1_000_000
"""MLflow's steps are whole numbers: a dose is its fraction in parts per million, as the names of its metrics say."""
SERIES = "dose_ppm"

Curves = Mapping[str, Mapping[float, Condition]]
"""{condition, with its seed: {fraction: the condition at this dose}}."""


def record_doses(findings: Findings, model: ResolvedModel) -> list[dict[str, Any]]:
    """Record the model's dose-responses; returns where perplexity doubles, one entry per condition."""
    curves = _curves(findings, model)
    if not curves:
        return []
    names = [BASELINE, *(condition.name for doses in curves.values() for condition in doses.values())]
    evaluations = [findings.plan.evaluations[model.label, name] for name in names]
    inputs = sorted({step for steps in evaluations for step in steps.values() if step in findings.committed})
    key = RunKey(
        kind="schedule",
        model=model.label,
        name=f"dose-response · {model.label}",
        condition="dose-response",
        identity=identify({"doses": sorted(names), "model": model.digest}),
        params={"model": model.label, "condition": "dose-response", "schedule": "doses"},
    )
    step_id = review_id("doses", {"study": findings.plan.study.spec.study}, inputs, findings.committed)
    step = ReviewStep(step_id, "doses", (key,))
    summaries = adopt_or_make(findings, [step], lambda _: _measure(findings, model, curves), summary=SUMMARY)
    doubling: list[dict[str, Any]] = summaries[step.id]["doubling"] if step.id in summaries else []
    return doubling


def _curves(findings: Findings, model: ResolvedModel) -> Curves:
    curves: dict[str, dict[float, Condition]] = {}
    for condition in findings.plan.conditions[model.label]:
        if condition.dose is not None:
            curves.setdefault(condition.curve, {})[condition.dose] = condition
    return curves


def _measure(findings: Findings, model: ResolvedModel, curves: Curves) -> StepResult | None:
    """The dose-responses of the doses that have finished; None where none has."""
    tables: list[pd.DataFrame] = []
    doubling: list[dict[str, Any]] = []
    for name, doses in curves.items():
        base = next(iter(doses.values())).base
        items = {dose: findings.comparable(model, condition.name) for dose, condition in doses.items()}
        for benchmark, reference in findings.comparable(model, BASELINE).items():
            by_fraction = {dose: of_dose[benchmark] for dose, of_dose in items.items() if benchmark in of_dose}
            if not by_fraction:
                continue
            table = dose_response(reference, by_fraction)
            tables.append(table.assign(condition=name, base=base, benchmark=benchmark))
            if reference.measure.is_log:
                interval = doubling_fraction(reference, by_fraction)
                doubling.append(doubling_record(name, benchmark, max(by_fraction), interval))
    if not tables:
        return None
    table = pd.concat(tables)
    drawing = dose_curves(
        table,
        doubling,
        findings.measures,
        names=findings.displayed,
        parts={condition.base: condition.part for doses in curves.values() for condition in doses.values()},
        title=model.display,
    )
    return StepResult(
        metrics=_doubling_metrics(findings, doubling),
        series=_series(findings, model, curves),
        frames={"dose_response.parquet": table},
        documents={SUMMARY: {"doubling": doubling}},
        files=recorded({"dose-response": drawing}),
    )


def _doubling_metrics(findings: Findings, doubling: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """`doubling_fraction/<condition>` where the study's perplexity doubles within the doses.

    `doubling_fraction/<condition>/<benchmark>` where that of another benchmark does.
    """
    perplexity = findings.plan.study.perplexity
    metrics = {}
    for entry in doubling:
        if entry["estimate"] != "inf":
            is_main = perplexity is not None and entry["benchmark"] == perplexity.name
            suffix = "" if is_main else f"/{entry['benchmark']}"
            metrics[f"doubling_fraction/{entry['condition'].replace('=', '_')}{suffix}"] = entry["estimate"]
    return metrics


def _series(findings: Findings, model: ResolvedModel, curves: Curves) -> dict[str, dict[int, float]]:
    """{`dose_ppm/<condition>/<metric>`: {dose in parts per million: value}} of every dose's own run."""
    series: dict[str, dict[int, float]] = {}
    for name, doses in curves.items():
        for dose, condition in doses.items():
            for metric, value in findings.metrics(model, condition.name).items():
                metric_over_doses = series.setdefault(f"{SERIES}/{name.replace('=', '_')}/{metric}", {})
                metric_over_doses[round(STEPS_PER_UNIT * dose)] = value
    return series
