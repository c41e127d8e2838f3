"""Finished layer schedules -> one MLflow run each: effects by group and phenomenon, trends, figures, series over depth.

Owns which conditions form a schedule and what is recorded of it; `studies.layers` has the statistics. Made from
whatever groups finished.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from orchestrator.identity import identify
from orchestrator.plan import BASELINE, Condition, Plan
from orchestrator.record import Record
from orchestrator.resolve import ResolvedModel
from orchestrator.spool import Committed, RunKey
from orchestrator.steps import KINDS
from studies import figures
from studies.layers import ALL, Trend, effects, trend

Items = Callable[[ResolvedModel, str], Mapping[str, pd.DataFrame]]
"""(model, condition) -> {benchmark: items of what finished}."""

EFFECTS = "layer_effects.parquet"


class _Schedule(NamedTuple):
    """The finished groups of one condition."""

    name: str
    """The condition, with its seed."""
    groups: tuple[Condition, ...]
    tables: Mapping[str, pd.DataFrame]
    """{benchmark: effects}."""
    trends: Mapping[str, Trend]
    """{benchmark: trend}, of cumulative schedules."""
    inputs: tuple[str, ...]
    """The evaluations it rests on."""


def record_schedules(
    plan: Plan, model: ResolvedModel, items: Items, committed: Mapping[str, Committed], record: Record
) -> list[dict[str, Any]]:
    """Record every schedule of a model that has finished groups; returns what the report says of each."""
    lines = []
    for name, groups in _by_schedule(plan, model).items():
        schedule = _read(plan, model, name, groups, items, committed)
        if schedule.tables:
            _record(model, schedule, plan, committed, record)
            facts = {"condition": name, "schedule": groups[0].group.schedule, "trends": _plain(schedule.trends)}
            lines.append(facts)
    return lines


def _by_schedule(plan: Plan, model: ResolvedModel) -> dict[str, list[Condition]]:
    """{condition, with its seed: its groups from the first to the last}."""
    found: dict[str, list[Condition]] = {}
    for condition in plan.conditions[model.label]:
        if condition.group is not None:
            seed = "" if condition.seed is None else f"/seed={condition.seed}"
            found.setdefault(condition.base + seed, []).append(condition)
    return found


def _read(plan, model, name, groups, items: Items, committed: Mapping[str, Committed]) -> _Schedule:
    baseline = items(model, BASELINE)
    found = {condition.group: items(model, condition.name) for condition in groups}
    tables, trends = {}, {}
    for benchmark, reference in baseline.items():
        by_group = {group: frames[benchmark] for group, frames in found.items() if benchmark in frames}
        if by_group:
            tables[benchmark] = effects(reference, by_group)
            if groups[0].group.schedule == "cumulative":
                trends[benchmark] = trend(by_group)
    rests_on = [plan.evaluations[model.label, condition] for condition in (BASELINE, *(c.name for c in groups))]
    inputs = sorted({step for steps in rests_on for step in steps.values() if step in committed})
    return _Schedule(name, tuple(groups), tables, trends, tuple(inputs))


def _record(
    model: ResolvedModel, schedule: _Schedule, plan: Plan, committed: Mapping[str, Committed], record: Record
) -> None:
    groups, kind = schedule.groups, schedule.groups[0].group.schedule
    payload = {
        "kind": "layers",
        "version": KINDS["layers"].version,
        "params": {"condition": schedule.name, "study": plan.study.spec.study},
        "inputs": list(schedule.inputs),
    }
    step_id = identify(payload)
    key = RunKey(
        kind="schedule",
        model=model.label,
        name=f"{schedule.name} by layers · {model.label}",
        condition=schedule.name,
        identity=identify({"groups": [c.group.name for c in groups], "neurons": [c.neurons for c in groups]}),
        params={"model": model.label, "condition": schedule.name, "schedule": kind, "groups": str(len(groups))},
    )
    known = record.known([step_id]).get(step_id)
    if known is not None and record.verify(known):
        record.adopt(key, known)
    else:
        title = f"{model.label}: {schedule.name} ({kind} groups)"
        heat_maps = {
            f"figures/{benchmark}-by-layers.png": figures.layer_heat_map(table, benchmark=benchmark, title=title)
            for benchmark, table in schedule.tables.items()
            if table["phenomenon"].nunique() > 1
        }
        frames = [table.assign(benchmark=benchmark) for benchmark, table in schedule.tables.items()]
        facts = {"schedule": kind, "groups": [c.group.name for c in groups], "trends": _plain(schedule.trends)}
        record.commit(
            key,
            step_id,
            "layers",
            metrics={
                f"trend/{benchmark}/p_value": one.p_value
                for benchmark, one in schedule.trends.items()
                if not math.isnan(one.p_value)
            },
            series=_series(model, schedule, plan, committed),
            frames={EFFECTS: pd.concat(frames)},
            documents={"layers.json": facts},
            files={**heat_maps, "figures/depth.png": figures.depth_curves(schedule.tables, title=title)},
        )
    record.finish(key, "FINISHED")


def _series(
    model: ResolvedModel, schedule: _Schedule, plan: Plan, committed: Mapping[str, Committed]
) -> dict[str, dict[int, float]]:
    """{metric: {depth: value}}: every metric of the groups' own runs, and the increases over the baseline."""
    series: dict[str, dict[int, float]] = {}
    for condition in schedule.groups:
        for step in plan.evaluations[model.label, condition.name].values():
            for metric, value in committed[step].metrics.items() if step in committed else ():
                series.setdefault(metric, {})[condition.group.depth] = value
    for benchmark, table in schedule.tables.items():
        for row in table.itertuples():
            suffix = "" if row.phenomenon == ALL else f"/{row.phenomenon}"
            series.setdefault(f"increase/{benchmark}{suffix}", {})[row.depth] = row.estimate
    return series


def _plain(trends: Mapping[str, Trend]) -> dict[str, dict[str, Any]]:
    return {
        benchmark: {**one._asdict(), "p_value": None if math.isnan(one.p_value) else one.p_value}
        for benchmark, one in trends.items()
    }
