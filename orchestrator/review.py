"""Finished steps -> the report: tables, verdicts, figures, recorded on the parent run.

Owns the reading of the record into the claims' evidence. Made from whatever finished; what did not is named. Refuses to
compare results whose comparability keys differ.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from orchestrator.dose_review import record_doses
from orchestrator.layer_review import record_schedules
from orchestrator.plan import BASELINE, NOISE_FLOOR, Condition, Plan
from orchestrator.record import Record
from orchestrator.resolve import ResolvedModel
from orchestrator.runner import NEURONS, Outcome
from orchestrator.scheduler import BROKEN, FINISHED
from orchestrator.spool import Committed, RunKey
from orchestrator.steps import review_id
from studies import figures, report
from studies.benchmarks.choices import ChoiceBenchmark
from studies.benchmarks.minimal_pairs import PairBenchmark
from studies.claims import CLAIM_SETS, Evidence, Verdict
from studies.dissociation import noise_floor, require_same
from studies.errors import StudyError

log = logging.getLogger(__name__)

REPORT = "report.json"


class Review(NamedTuple):
    """The report and whether it was made now or read back."""

    report: Mapping[str, Any]
    cached: bool


def review(plan: Plan, outcome: Outcome, record: Record) -> Review:
    """Make the report of a study, or read it back when every step it rests on is the same."""
    done = sorted(step for step, state in outcome.states.items() if state in FINISHED)
    unfinished = [
        f"{step.title}: {outcome.states[step.id]} ({outcome.reasons.get(step.id, 'no reason')})"
        for step in plan.steps.values()
        if outcome.states[step.id] in BROKEN
    ]
    params = {"claims": plan.study.spec.claims, "study": plan.study.spec.study, "unfinished": unfinished}
    step_id = review_id("report", params, done)
    known = record.intact([step_id]).get(step_id)
    if known is not None:
        return Review(record.document(known, REPORT), True)
    record_mean_accuracies(plan, outcome, record)
    builder = _ModelReport(plan, outcome, record)
    models = [builder.build(model) for model in plan.study.models]
    found = {
        "study": plan.study.spec.study,
        "models": models,
        "unfinished": unfinished,
    }
    files = {f"figures/{name}.png": png for model in plan.study.models for name, png in builder.figures(model, models)}
    key = RunKey(kind="study", name=plan.study.spec.study)
    record.commit(
        key,
        step_id,
        "report",
        metrics={},
        frames={},
        documents={REPORT: found, "report.md": report.markdown(found)},
        files=files,
    )
    record.note(report.markdown(found)[:7000])
    return Review(found, False)


def record_mean_accuracies(plan: Plan, outcome: Outcome, record: Record) -> None:
    """`multiple_choice/mean_accuracy` on the run of every condition that has finished two or more such benchmarks."""
    names = [benchmark.name for benchmark in plan.study.benchmarks if isinstance(benchmark, ChoiceBenchmark)]
    if len(names) < 2:
        return
    summaries: dict[str, list[str]] = {}
    for (_, condition), evaluations in plan.evaluations.items():
        ids = [evaluations[name] for name in names]
        if condition != NOISE_FLOOR and all(step in outcome.committed for step in ids):
            summaries[review_id("summary", {}, ids)] = ids
    known = record.intact(list(summaries))
    for step_id, ids in summaries.items():
        found = [outcome.committed[step].metrics for step in ids]
        mean = np.mean([metrics[f"{name}/accuracy"] for metrics, name in zip(found, names, strict=True)])
        metrics = {"multiple_choice/mean_accuracy": float(mean)}
        for key in plan.runs[ids[0]]:
            if step_id in known:
                record.adopt(key, known[step_id])
            else:
                record.commit(key, step_id, "summary", metrics=metrics, frames={}, documents={"summary.json": metrics})


def _file_name(name: str) -> str:
    """What MLflow takes as part of an artifact's path: `matched/layers=0-3,8` has to become `matched_layers_0-3_8`."""
    return re.sub(r"[^\w. -]", "_", name)


class _ModelReport:
    """Reads one model's frames once."""

    def __init__(self, plan: Plan, outcome: Outcome, record: Record):
        self._plan, self._outcome, self._record = plan, outcome, record
        self._frames: dict[str, pd.DataFrame] = {}

    def build(self, model: ResolvedModel) -> dict[str, Any]:
        """The table, noise floor and verdicts of one model."""
        benchmarks = self._plan.study.benchmarks
        conditions = self._plan.conditions[model.label]
        floors = self._noise(model)
        spread = [c.name for c in conditions if c.group is not None or c.dose is not None]
        if spread:
            self._require_comparable(model, [BASELINE, *spread])
        return {
            "label": model.label,
            "display": model.display,
            "benchmarks": [{"name": benchmark.name, "label": benchmark.label} for benchmark in benchmarks],
            "rows": [self._row(model, condition) for condition in conditions],
            "schedules": record_schedules(self._plan, model, self.items, self._outcome.committed, self._record),
            "doubling": record_doses(self._plan, model, self.items, self._outcome.committed, self._record),
            "noise": report.noise_sentence(floors),
            "noise_floor": floors,
            "verdicts": [report.verdict_record(verdict) for verdict in self._verdicts(model)],
        }

    def figures(self, model: ResolvedModel, models: list[dict]) -> list[tuple[str, bytes]]:
        """(name, PNG) of every figure that can be drawn."""
        table = next(item for item in models if item["label"] == model.label)
        prefix = _file_name(model.label)
        drawn = []
        if any(row["cells"] for row in table["rows"]):
            drawn.append((f"{prefix}-conditions", figures.conditions(table)))
        profile = next(
            step
            for step, keys in self._plan.runs.items()
            if any(key.kind == "profile" and key.model == model.label for key in keys)
        )
        if self._done(profile):
            neurons = self._record.frame(self._committed(profile), NEURONS)
            drawn.append((f"{prefix}-wasserstein-distance", figures.wasserstein_by_layer(neurons, title=model.label)))
        for condition in self._plan.conditions[model.label]:
            if (
                condition.spec is None
                or condition.spec.match is None
                or condition.neurons not in self._outcome.committed
            ):
                continue
            curve = self._record.frame(self._committed(condition.neurons), "matching_curve.parquet")
            levels = [self._perplexity(model, name) for name in (BASELINE, condition.reference)]
            png = figures.matching_curve(
                curve, baseline=levels[0], treated=levels[1], title=f"{model.label}: {condition.name}"
            )
            drawn.append((f"{prefix}-{_file_name(condition.name)}-curve", png))
        return drawn

    def _row(self, model: ResolvedModel, condition: Condition) -> dict[str, Any]:
        row = {
            "condition": condition.name,
            "role": "baseline" if condition.spec is None else condition.spec.select,
            "neurons": "none" if condition.spec is None else self._neurons(model, condition),
            "remark": condition.not_applicable,
            "cells": {},
        }
        if not condition.not_applicable:
            for benchmark, items in self.items(model, condition.name).items():
                row["cells"][benchmark] = report.cell(benchmark, items)
        return row

    def _neurons(self, model: ResolvedModel, condition: Condition) -> str:
        """`top 1 %, negative`, `bottom 34.8 % (matched), negative`, `top 1 %, magnitude_matched (12 % short)`."""
        spec = condition.spec
        fraction = self._fraction(condition)
        share = f" {100 * fraction:.3g} %" if fraction is not None else ""
        layers = f", layers {condition.group.name}" if condition.group else ""
        metrics = self._plan.metrics(model.label, condition.name, self._outcome.committed)
        shortfall = metrics.get("magnitude_shortfall", 0.0)
        short = f" ({100 * shortfall:.2g} % short)" if shortfall else ""
        return f"{spec.select}{share}{' (matched)' if spec.match else ''}, {spec.clamp.display}{short}{layers}"

    def _fraction(self, condition: Condition) -> float | None:
        spec = condition.spec
        if spec.match is not None:
            if condition.neurons is None or condition.neurons not in self._outcome.committed:
                return None
            return self._record.document(self._committed(condition.neurons), "match.json")["fraction"]
        source = self._plan.study.spec.conditions[spec.like] if spec.like else spec
        return condition.dose or source.fraction

    def items(self, model: ResolvedModel, condition: str) -> dict[str, pd.DataFrame]:
        """{benchmark: items} of what finished."""
        folder = "noise_floor" if condition == NOISE_FLOOR else "items"
        found = {}
        for benchmark, step in self._plan.evaluations.get((model.label, condition), {}).items():
            if self._done(step):
                if step not in self._frames:
                    path = f"{folder}/{benchmark}.parquet"
                    self._frames[step] = self._record.frame(self._committed(step), path)
                found[benchmark] = self._frames[step]
        return found

    def _noise(self, model: ResolvedModel) -> dict[str, dict[str, Any]]:
        baseline, other = self.items(model, BASELINE), self.items(model, NOISE_FLOOR)
        return {
            name: report.noise_record(noise_floor(baseline[name], other[name])) for name in baseline if name in other
        }

    def _verdicts(self, model: ResolvedModel) -> list[Verdict]:
        claims = self._plan.study.spec.claims
        if claims is None:
            return []
        evidence = self._evidence(model)
        return CLAIM_SETS[claims](evidence) if evidence else []

    def _evidence(self, model: ResolvedModel) -> Evidence | None:
        """The claims' roles: the treated condition is the one that controls refer to, or the first top selection."""
        conditions = self._plan.conditions[model.label]
        specs = self._plan.study.spec.conditions
        whole = {c.base for c in conditions if c.spec and c.group is None and c.dose is None}
        referred = [spec.reference for name, spec in specs.items() if spec.reference and name in whole]
        tops = [name for name, spec in specs.items() if spec.select == "top" and name in whole]
        candidates = [name for name in referred if specs[name].select == "top"] or tops
        if not candidates:
            log.warning("claims need a condition that selects top neurons; there is none")
            return None
        treated = candidates[0]
        randoms = [c for c in conditions if c.spec and c.spec.like == treated and not c.not_applicable]
        matched = [c for c in conditions if c.spec and c.spec.match and c.reference == treated]
        used = [BASELINE, treated, *(c.name for c in randoms), *(c.name for c in matched)]
        self._require_comparable(model, used)
        control = matched[0] if matched and self.items(model, matched[0].name) else None
        matching = self._record.document(self._committed(control.neurons), "match.json") if control else None
        benchmarks = self._plan.study.benchmarks
        return Evidence(
            model=model.label,
            relu=model.architecture.is_relu,
            baseline=self.items(model, BASELINE),
            treated=self.items(model, treated),
            randoms={c.name: self.items(model, c.name) for c in randoms},
            matched=self.items(model, control.name) if control else None,
            matched_fraction=matching["fraction"] if matching else None,
            treated_fraction=specs[treated].fraction,
            match_bracket=self._bracket(model, treated, matching) if matching else None,
            syntactic=tuple(b.name for b in benchmarks if isinstance(b, PairBenchmark)),
            non_syntactic=tuple(b.name for b in benchmarks if isinstance(b, ChoiceBenchmark)),
        )

    def _bracket(self, model: ResolvedModel, treated: str, matching: Mapping[str, Any]) -> tuple[float, float]:
        """The evaluated fractions next below and above the treated perplexity."""
        level = self._perplexity(model, treated)
        below = [fraction for fraction, perplexity in matching["curve"] if perplexity < level]
        above = [fraction for fraction, perplexity in matching["curve"] if perplexity >= level]
        return max(below, default=0.0), min(above, default=matching["fraction"])

    def _require_comparable(self, model: ResolvedModel, conditions: list[str]) -> None:
        for benchmark in self._plan.study.benchmarks:
            keys = {}
            for condition in conditions:
                step = self._plan.evaluations.get((model.label, condition), {}).get(benchmark.name)
                if step is not None and self._done(step):
                    keys[condition] = self._committed(step).tags[f"comparability.evaluate.{benchmark.name}"]
            try:
                require_same(keys)
            except ValueError as error:
                raise StudyError(f"{model.label}, {benchmark.name}: {error}") from None

    def _perplexity(self, model: ResolvedModel, condition: str) -> float:
        step = self._plan.evaluations[model.label, condition]["perplexity"]
        return self._committed(step).metrics["perplexity"]

    def _done(self, step: str) -> bool:
        return self._outcome.states[step] in FINISHED

    def _committed(self, step: str) -> Committed:
        return self._outcome.committed[step]
