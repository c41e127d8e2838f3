"""Finished layer schedules -> one MLflow run each: effects by group and phenomenon, trends, figures, series over depth.

Owns which conditions form a schedule and what is recorded about it; `studies.statistics.increases` has the statistics.
Made from whatever groups have finished.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from orchestrator.planning.conditions import Condition
from orchestrator.planning.models import ResolvedModel
from orchestrator.record.keys import RunKey
from orchestrator.review.findings import Findings
from orchestrator.review.recorded import ReviewStep, adopt_or_make
from orchestrator.steps.identity import identify
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import BASELINE, review_id
from studies.neurons.layer_groups import LayerGroup
from studies.reporting.figures.curves import depth_by_phenomenon, depth_curves
from studies.reporting.figures.files import recorded
from studies.reporting.figures.heat_maps import layer_heat_map
from studies.reporting.figures.sheet import Drawing
from studies.reporting.records import trend_record
from studies.statistics.increases import ALL, layer_effects, trend

EFFECTS = "layer_effects.parquet"
SUMMARY = "layers.json"


class _Schedule(NamedTuple):
    """One condition spread over groups of layers."""

    name: str
    """The condition, with its seed."""
    groups: Mapping[LayerGroup, Condition]
    step: ReviewStep

    @property
    def kind(self) -> str:
        """`single` or `cumulative`."""
        return next(iter(self.groups)).schedule


def record_schedules(findings: Findings, model: ResolvedModel) -> list[dict[str, Any]]:
    """Record every schedule of a model that has finished groups; returns the report's entry for each."""
    schedules = {schedule.step.id: schedule for schedule in _schedules(findings, model)}
    summaries = adopt_or_make(
        findings,
        [schedule.step for schedule in schedules.values()],
        lambda step: _measure(findings, model, schedules[step.id]),
        summary=SUMMARY,
    )
    return [
        {
            "condition": schedule.name,
            "schedule": schedule.kind,
            "trends": summaries[step]["trends"],
        }
        for step, schedule in schedules.items()
        if step in summaries
    ]


def _schedules(findings: Findings, model: ResolvedModel) -> list[_Schedule]:
    """The schedules of a model, each with the review step for its finished evaluations."""
    by_curve: dict[str, dict[LayerGroup, Condition]] = {}
    for condition in findings.plan.conditions[model.label]:
        if condition.group is not None:
            by_curve.setdefault(condition.curve, {})[condition.group] = condition
    schedules = []
    for name, groups in by_curve.items():
        names = (BASELINE, *(condition.name for condition in groups.values()))
        evaluations = [findings.plan.evaluations[model.label, condition] for condition in names]
        inputs = sorted({step for steps in evaluations for step in steps.values() if step in findings.committed})
        kind = next(iter(groups)).schedule
        neurons = [condition.neurons for condition in groups.values()]
        key = RunKey(
            kind="schedule",
            model=model.label,
            name=f"{name} by layers · {model.label}",
            condition=name,
            identity=identify({"groups": [group.name for group in groups], "neurons": neurons}),
            params={"model": model.label, "condition": name, "schedule": kind, "groups": str(len(groups))},
        )
        params = {"condition": name, "study": findings.plan.study.spec.study}
        step_id = review_id("layers", params, inputs, findings.committed)
        schedules.append(_Schedule(name, groups, ReviewStep(step_id, "layers", (key,))))
    return schedules


def _measure(findings: Findings, model: ResolvedModel, schedule: _Schedule) -> StepResult | None:
    """The effects, trends and figures of the groups that have finished; None where none has."""
    items = {group: findings.comparable(model, condition.name) for group, condition in schedule.groups.items()}
    tables: dict[str, pd.DataFrame] = {}
    trends: dict[str, dict[str, Any]] = {}
    for benchmark, reference in findings.comparable(model, BASELINE).items():
        by_group = {group: of_group[benchmark] for group, of_group in items.items() if benchmark in of_group}
        if by_group:
            tables[benchmark] = layer_effects(reference, by_group)
            if schedule.kind == "cumulative":
                trends[benchmark] = trend_record(trend(by_group))
    if not tables:
        return None
    p_values = {f"trend/{benchmark}/p_value": test["p_value"] for benchmark, test in trends.items()}
    names = [group.name for group in schedule.groups]
    return StepResult(
        metrics={name: value for name, value in p_values.items() if value is not None},
        series=_series(findings, model, schedule, tables),
        frames={EFFECTS: pd.concat(table.assign(benchmark=benchmark) for benchmark, table in tables.items())},
        documents={SUMMARY: {"schedule": schedule.kind, "groups": names, "trends": trends}},
        files=recorded(_drawings(findings, f"{model.display}: {schedule.name} ({schedule.kind} groups)", tables)),
    )


def _drawings(findings: Findings, title: str, tables: Mapping[str, pd.DataFrame]) -> dict[str, Drawing]:
    """The costs of every benchmark over depth, and by phenomenon where it has several."""
    measures, names = findings.measures, findings.displayed
    drawings = {"depth": depth_curves(tables, measures, names=names, title=title)}
    for benchmark, table in tables.items():
        if table["phenomenon"].nunique() > 1:
            measure, name = measures[benchmark], names[benchmark]
            drawings[f"{benchmark}-by-layers"] = layer_heat_map(table, benchmark=name, measure=measure, title=title)
            drawings[f"{benchmark}-depth"] = depth_by_phenomenon(table, measure, benchmark=name, title=title)
    return drawings


def _series(
    findings: Findings, model: ResolvedModel, schedule: _Schedule, tables: Mapping[str, pd.DataFrame]
) -> dict[str, dict[int, float]]:
    """{metric: {MLflow's step: value}}: every metric of the groups' own runs, and the increases over the baseline."""
    series: dict[str, dict[int, float]] = {}
    for group, condition in schedule.groups.items():
        for metric, value in findings.metrics(model, condition.name).items():
            series.setdefault(metric, {})[group.step] = value
    for benchmark, table in tables.items():
        for row in table.itertuples():
            suffix = "" if row.phenomenon == ALL else f"/{row.phenomenon}"
            series.setdefault(f"increase/{benchmark}{suffix}", {})[row.depth] = row.estimate
    return series
