"""Finished layer schedules -> one MLflow run each: effects by group and phenomenon, trends, figures, series over depth.

Owns which conditions form a schedule and what is recorded of it; `studies.neurons.layer_groups` has the statistics. Made from
whatever groups finished.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from orchestrator.planning.conditions import Condition
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.plan import Plan
from orchestrator.record.keys import Committed, RunKey
from orchestrator.record.record import Record
from orchestrator.steps.identity import identify
from orchestrator.steps.step import BASELINE, review_id
from studies.neurons.layer_groups import ALL, effects, trend
from studies.reporting import figures
from studies.reporting.text import trend_record

Items = Callable[[ResolvedModel, str], Mapping[str, pd.DataFrame]]
"""(model, condition) -> {benchmark: items of what finished}."""

EFFECTS = "layer_effects.parquet"
FACTS = "layers.json"


class _Schedule(NamedTuple):
    """One condition spread over groups of layers."""

    name: str
    """The condition, with its seed."""
    groups: tuple[Condition, ...]
    key: RunKey
    step_id: str

    @property
    def kind(self) -> str:
        """`single` or `cumulative`."""
        return self.groups[0].group.schedule


def record_schedules(
    plan: Plan, model: ResolvedModel, items: Items, committed: Mapping[str, Committed], record: Record
) -> list[dict[str, Any]]:
    """Record every schedule of a model that has finished groups, once; returns what the report says of each."""
    schedules = _schedules(plan, model, committed)
    known = record.intact([schedule.step_id for schedule in schedules]) if schedules else {}
    lines = []
    for schedule in schedules:
        found = known.get(schedule.step_id)
        if found is not None:
            record.adopt(schedule.key, found)
            trends = record.document(found, FACTS)["trends"]
        else:
            tables, trends = _measure(model, schedule, items)
            if not tables:
                continue
            _commit(model, schedule, tables, trends, plan, committed, record)
        record.finish(schedule.key, "FINISHED")
        lines.append({"condition": schedule.name, "schedule": schedule.kind, "trends": trends})
    return lines


def _schedules(plan: Plan, model: ResolvedModel, committed: Mapping[str, Committed]) -> list[_Schedule]:
    """The schedules of a model, and the step that each would be, given the evaluations that finished."""
    members: dict[str, list[Condition]] = {}
    for condition in plan.conditions[model.label]:
        if condition.group is not None:
            members.setdefault(condition.curve, []).append(condition)
    found = []
    for name, groups in members.items():
        rests_on = [plan.evaluations[model.label, condition] for condition in (BASELINE, *(c.name for c in groups))]
        inputs = sorted({step for steps in rests_on for step in steps.values() if step in committed})
        step_id = review_id("layers", {"condition": name, "study": plan.study.spec.study}, inputs)
        kind = groups[0].group.schedule
        key = RunKey(
            kind="schedule",
            model=model.label,
            name=f"{name} by layers · {model.label}",
            condition=name,
            identity=identify({"groups": [c.group.name for c in groups], "neurons": [c.neurons for c in groups]}),
            params={"model": model.label, "condition": name, "schedule": kind, "groups": str(len(groups))},
        )
        found.append(_Schedule(name, tuple(groups), key, step_id))
    return found


def _measure(
    model: ResolvedModel, schedule: _Schedule, items: Items
) -> tuple[dict[str, pd.DataFrame], dict[str, dict[str, Any]]]:
    """({benchmark: effects}, {benchmark: trend as plain JSON}) of the groups that finished."""
    found = {condition.group: items(model, condition.name) for condition in schedule.groups}
    tables, trends = {}, {}
    for benchmark, reference in items(model, BASELINE).items():
        by_group = {group: frames[benchmark] for group, frames in found.items() if benchmark in frames}
        if by_group:
            tables[benchmark] = effects(reference, by_group)
            if schedule.kind == "cumulative":
                trends[benchmark] = trend_record(trend(by_group))
    return tables, trends


def _commit(model, schedule: _Schedule, tables, trends, plan: Plan, committed, record: Record) -> None:
    title = f"{model.label}: {schedule.name} ({schedule.kind} groups)"
    heat_maps = {
        f"figures/{benchmark}-by-layers.png": figures.layer_heat_map(table, benchmark=benchmark, title=title)
        for benchmark, table in tables.items()
        if table["phenomenon"].nunique() > 1
    }
    p_values = {f"trend/{benchmark}/p_value": one["p_value"] for benchmark, one in trends.items()}
    groups = [condition.group.name for condition in schedule.groups]
    record.commit(
        schedule.key,
        schedule.step_id,
        "layers",
        metrics={name: value for name, value in p_values.items() if value is not None},
        series=_series(model, schedule, tables, plan, committed),
        frames={EFFECTS: pd.concat(table.assign(benchmark=benchmark) for benchmark, table in tables.items())},
        documents={FACTS: {"schedule": schedule.kind, "groups": groups, "trends": trends}},
        files={**heat_maps, "figures/depth.png": figures.depth_curves(tables, title=title)},
    )


def _series(model, schedule: _Schedule, tables, plan: Plan, committed) -> dict[str, dict[int, float]]:
    """{metric: {step: value}}: every metric of the groups' own runs, and the increases over the baseline."""
    series: dict[str, dict[int, float]] = {}
    for condition in schedule.groups:
        for metric, value in plan.metrics(model.label, condition.name, committed).items():
            series.setdefault(metric, {})[condition.group.step] = value
    for benchmark, table in tables.items():
        for row in table.itertuples():
            suffix = "" if row.phenomenon == ALL else f"/{row.phenomenon}"
            series.setdefault(f"increase/{benchmark}{suffix}", {})[row.depth] = row.estimate
    return series
