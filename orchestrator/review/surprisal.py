"""Finished evaluations of annotated documents -> excess surprisal by part of speech on every condition's run.

Makes a table, figures and a page. Owns what is recorded about it and its part of the report;
`studies.statistics.excess_surprisal` has the statistics. The words are tagged once per study, and only where a step is
left to make.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from orchestrator.planning.conditions import Condition
from orchestrator.planning.models import ResolvedModel
from orchestrator.review.findings import Findings
from orchestrator.review.recorded import ReviewStep, adopt_or_make, broken_runs
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import BASELINE, review_id
from studies.benchmarks.annotation import Annotation
from studies.reporting.figures.files import recorded
from studies.reporting.figures.sheet import Drawing
from studies.reporting.figures.surprisal import excess_by_class
from studies.reporting.records import contrast_record
from studies.reporting.surprisal_page import examples_page
from studies.statistics.excess_surprisal import CLOSED, OPEN, Excess


def record_excess(findings: Findings, model: ResolvedModel) -> list[dict[str, Any]]:
    """Record the excess of each condition of a model on every annotated benchmark; returns the report's entries."""
    conditions = [c for c in findings.plan.conditions[model.label] if not c.not_applicable]
    # Of two conditions that share a step, the whole one comes first: figures and the page are made for it.
    conditions.sort(key=lambda condition: not condition.is_whole)
    return [
        entry
        for benchmark in findings.plan.annotations
        for entry in _of_benchmark(findings, model, benchmark, conditions)
    ]


def _of_benchmark(
    findings: Findings, model: ResolvedModel, benchmark: str, conditions: Sequence[Condition]
) -> list[dict[str, Any]]:
    evaluations, committed = findings.plan.evaluations, findings.committed
    annotation = findings.plan.annotations[benchmark]
    params = {"benchmark": benchmark, "unit": annotation.unit, "annotation": annotation.identity}
    baseline = evaluations[model.label, BASELINE][benchmark]
    steps: dict[str, ReviewStep] = {}
    for condition in conditions:
        evaluation = evaluations[model.label, condition.name].get(benchmark)
        if evaluation is None or evaluation not in committed or baseline not in committed:
            continue
        if not findings.alike(model, condition.name, BASELINE, benchmark):
            continue
        step_id = review_id("excess", params, [baseline, evaluation], committed)
        steps[condition.name] = ReviewStep(step_id, f"excess.{benchmark}", findings.plan.runs[evaluation])
    first: dict[str, Condition] = {}
    for condition in conditions:
        if condition.name in steps:
            first.setdefault(steps[condition.name].id, condition)
    summaries = adopt_or_make(
        findings,
        list(steps.values()),
        lambda step: _measure(findings, model, benchmark, first[step.id]),
        summary=f"excess/{benchmark}.json",
        broken=broken_runs(findings.plan, findings.outcome),
    )
    return [
        {
            "condition": condition.name,
            "seed": condition.seed,
            "benchmark": benchmark,
            "spread": not condition.is_whole,
            **summaries[steps[condition.name].id],
        }
        for condition in conditions
        if condition.name in steps
    ]


def _measure(findings: Findings, model: ResolvedModel, name: str, condition: Condition) -> StepResult:
    """name: the benchmark's."""
    annotation, excess = findings.plan.annotations[name], findings.excess(model, name, condition.name, BASELINE)
    table = excess.table()
    summary = _summary(excess, table, annotation)
    title = f"{model.display}: {condition.name}, {findings.plan.benchmark(name).label}"
    drawings: dict[str, Drawing] = {}
    documents: dict[str, Any] = {f"excess/{name}.json": summary}
    if condition.is_whole:
        for kind in {"upos", "relation"} & set(table["kind"]):
            drawings[f"{name}-{kind}"] = excess_by_class(table, kind=kind, title=title)
        page = examples_page(excess.items, annotation.documents, annotation.words, title=title)
        documents[f"excess/{name}-sentences.html"] = page
    return StepResult(
        metrics=_metrics(table, summary, name),
        frames={f"excess/{name}.parquet": table},
        documents=documents,
        files=recorded(drawings, captions=f"{name}-captions.json"),  # a run has the steps of several benchmarks
    )


def _summary(excess: Excess, table: pd.DataFrame, annotation: Annotation) -> dict[str, Any]:
    columns = ["name", "num_items", "share", "surprisal", "excess", "low", "high"]
    by_kind = {kind: rows[columns] for kind, rows in table.groupby("kind")}
    rows = {kind: of_kind.astype(object).where(of_kind.notna(), None) for kind, of_kind in by_kind.items()}
    return {
        "unit": annotation.unit,
        "annotation": annotation.identity,
        "documents": len(annotation.documents),
        "all": rows["all"].to_dict("records")[0],
        "upos": rows["upos"].to_dict("records"),
        "contrast": contrast_record(excess.contrast()),
        "closed_contrast": contrast_record(excess.contrast(CLOSED, OPEN)),
    }


def _metrics(table: pd.DataFrame, summary: Mapping[str, Any], name: str) -> dict[str, float]:
    """`<benchmark>/<UPOS>`, `<benchmark>/excess`, and the two contrasts where they could be estimated."""
    of_upos = table[table["kind"] == "upos"]
    metrics = {f"{name}/{row.name}": row.excess for row in of_upos.itertuples(index=False)}
    metrics[f"{name}/excess"] = summary["all"]["excess"]
    for contrast, metric in (("contrast", "scaffolding_contrast"), ("closed_contrast", "closed_contrast")):
        if summary[contrast]["estimate"] is not None:
            metrics[f"{name}/{metric}"] = summary[contrast]["estimate"]
    return metrics
