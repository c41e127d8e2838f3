"""Finished checkpoints of a training -> one MLflow run a series: trajectories, correlations, growth, figures, verdicts.

Owns what is recorded of a series and what the report says; `studies.statistics.training` has the statistics. Every metric stands
at its training step, so MLflow's own charts show the trajectories. Made from whatever checkpoints finished.
"""

from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Any

import pandas as pd

from orchestrator.planning.conditions import Condition
from orchestrator.planning.models import ResolvedModel
from orchestrator.record.keys import RunKey
from orchestrator.review.evidence import is_syntactic, treated_condition
from orchestrator.review.findings import Findings
from orchestrator.steps.identity import identify
from orchestrator.steps.step import BASELINE, review_id
from studies.claims.training import SERIES_CLAIM_SETS, TrainingEvidence, wd_and_accuracy, wd_correlation
from studies.neurons.layer_groups import increase
from studies.neurons.selection import NeuronSet
from studies.reporting import training_figures
from studies.reporting.text import interval_record, trend_record, verdict_record
from studies.statistics import training as dynamics

FACTS = "dynamics.json"
WEIGHTS = ("pre_activation", "up", "down")


def record_dynamics(findings: Findings) -> list[dict[str, Any]]:
    """Record every series of checkpoints, once; returns what the report says of each that has two or more."""
    found = [_Series(findings, name, models).record() for name, models in findings.plan.series.items()]
    return [one for one in found if one]


class _Series:
    """One training, as far as its checkpoints have finished."""

    def __init__(self, findings: Findings, name: str, models: list[ResolvedModel]):
        self._findings, self._plan, self._name = findings, findings.plan, name
        self._models = {m.checkpoint.step: m for m in models}
        self._cohort_model = next(m for m in models if m.label == m.checkpoint.cohort)
        whole = [c for c in self._plan.conditions[self._cohort_model.label] if c.is_whole]
        self._conditions = [c for c in whole if not c.not_applicable]
        self._names = [BASELINE, *(condition.name for condition in self._conditions)]
        self._treated = treated_condition(findings, self._cohort_model) or ""

    @cached_property
    def _sets(self) -> dict[str, NeuronSet]:
        """{condition: its neurons}; a control that could not be matched has none."""
        found = {c.name: self._findings.neuron_set(c) for c in self._conditions if self._findings.has_neurons(c)}
        return {name: neurons for name, neurons in found.items() if neurons.count}

    def record(self) -> dict[str, Any]:
        """What the report says; empty where fewer than two checkpoints have finished anything."""
        record, step_id = self._findings.record, self._step_id()
        key = RunKey(
            kind="schedule",
            model=self._name,
            name=f"training dynamics · {self._name}",
            condition="training",
            identity=identify({"checkpoints": self._checkpoints(), "cohort": self._cohort_model.label}),
            params={
                "model": self._name,
                "condition": "training",
                "schedule": "checkpoints",
                "cohort": self._cohort_model.label,
                "steps": ", ".join(map(str, self._models)),
            },
        )
        known = record.intact([step_id]).get(step_id)
        if known is not None:
            record.adopt(key, known)
            facts = record.document(known, FACTS)
        else:
            facts = self._measure_and_commit(key, step_id)
        if facts:
            record.finish(key, "FINISHED")
        return facts

    def _checkpoints(self) -> list[list[Any]]:
        return [[model.label, step, model.digest] for step, model in self._models.items()]

    def _step_id(self) -> str:
        """Of the step that this would be, given what has finished."""
        labels = {model.label for model in self._models.values()}
        steps = (
            s for (label, _), by_name in self._plan.evaluations.items() if label in labels for s in by_name.values()
        )
        others = (s.id for s in self._plan.steps.values() if s.model in labels)
        inputs = sorted({step for step in (*steps, *others) if step in self._findings.outcome.committed})
        spec = self._plan.study.spec
        params = {"series": self._name, "study": spec.study, "claims": spec.claims}
        params |= {"checkpoints": self._checkpoints(), "cohort": self._cohort_model.label}
        return review_id("dynamics", params, inputs)

    def _measure_and_commit(self, key: RunKey, step_id: str) -> dict[str, Any]:
        evidence, title = self._evidence(), self._name
        if len(evidence.neurons) < 2:
            return {}
        self._require_comparable()
        scores = dynamics.trajectories(evidence.neurons, self._sets, dynamics.SCORES)
        weights = dynamics.trajectories(evidence.weights, self._sets, WEIGHTS)
        effects, values = self._effects(), self._headlines()
        facts = self._facts(evidence)
        files = {"figures/scores.png": training_figures.trajectory_figure(scores, treated=self._treated, title=title)}
        if len(weights):
            told = f"{title}: cosine dissimilarity to the checkpoint before"
            files["figures/weights.png"] = training_figures.trajectory_figure(
                weights, treated=self._treated, title=told, log=True
            )
        if values:
            files["figures/benchmarks.png"] = training_figures.condition_figure(
                values, treated=self._treated, title=title
            )
        if len(effects):
            files["figures/effects.png"] = training_figures.effect_figure(effects, treated=self._treated, title=title)
        if points := _points(evidence):
            files["figures/correlation.png"] = training_figures.correlation_figure(
                points, title=title, note=f"cohort of {self._treated} at {self._cohort_model.label}"
            )
        frames = {"trajectories.parquet": scores, "weight_trajectories.parquet": weights, "effects.parquet": effects}
        self._findings.record.commit(
            key,
            step_id,
            "dynamics",
            metrics={},
            series=self._metric_series(scores, weights, effects),
            frames=frames,
            documents={FACTS: facts},
            files=files,
        )
        return facts

    def _evidence(self) -> TrainingEvidence:
        findings, models = self._findings, self._models.items()
        neurons = {step: table for step, m in models if (table := findings.neuron_table(m)) is not None}
        weights = {step: table for step, m in models if (table := findings.weights_table(m)) is not None}
        items = {name: {step: findings.items(m, name) for step, m in models} for name in self._names}
        sets = self._sets
        randoms = [c.name for c in self._conditions if c.spec.like == self._treated and c.name in sets]
        return TrainingEvidence(
            series=self._name,
            relu=self._cohort_model.architecture.is_relu,
            neurons=neurons,
            weights=weights,
            before={later: earlier for earlier, later in pairwise(self._models)},
            cohort=sets.get(self._treated),
            randoms={name: sets[name] for name in randoms},
            baseline=items[BASELINE],
            treated=items.get(self._treated, {}),
            random_items={name: items[name] for name in randoms},
            syntactic=tuple(b.name for b in self._plan.study.benchmarks if is_syntactic(b)),
        )

    def _require_comparable(self) -> None:
        for model in self._models.values():
            self._findings.require_comparable(model, self._names)

    def _by_checkpoint(self, condition: Condition, benchmark: str) -> dict[int, tuple[pd.DataFrame, pd.DataFrame]]:
        """{training step: (items, the baseline's)} of the checkpoints that have both."""
        found = {}
        for step, model in self._models.items():
            pair = [self._findings.items(model, name).get(benchmark) for name in (condition.name, BASELINE)]
            if all(items is not None for items in pair):
                found[step] = tuple(pair)
        return found

    def _effects(self) -> pd.DataFrame:
        """step, condition, benchmark, estimate, low, high: the increase of error, log-perplexity or surprisal."""
        rows = [
            (step, condition.name, benchmark.name, *increase(*pair))
            for condition in self._conditions
            for benchmark in self._plan.study.benchmarks
            for step, pair in self._by_checkpoint(condition, benchmark.name).items()
        ]
        return pd.DataFrame(rows, columns=["step", "condition", "benchmark", "estimate", "low", "high"])

    def _headlines(self) -> dict[str, dict[str, dict[int, float]]]:
        """{benchmark's label: {condition: {training step: headline}}}."""
        found: dict[str, dict[str, dict[int, float]]] = {}
        for benchmark in self._plan.study.benchmarks:
            for name in self._names:
                for step, model in self._models.items():
                    value = self._findings.metrics(model, name).get(benchmark.headlines[0])
                    if value is not None:
                        found.setdefault(benchmark.label, {}).setdefault(name, {})[step] = value
        return found

    def _facts(self, evidence: TrainingEvidence) -> dict[str, Any]:
        correlations = {
            benchmark: {name: _correlation(wd_correlation(evidence, benchmark, s)) for name, s in self._sets.items()}
            for benchmark in evidence.syntactic
        }
        growth = []
        for condition in self._conditions:
            for benchmark in self._plan.study.benchmarks:
                pairs = self._by_checkpoint(condition, benchmark.name)
                if len(pairs) > 1:
                    treated, baseline = ({s: pair[side] for s, pair in pairs.items()} for side in (0, 1))
                    one = dynamics.growth(baseline, treated)
                    place = {"condition": condition.name, "benchmark": benchmark.name}
                    place |= {"first": min(pairs), "last": max(pairs)}
                    growth.append(place | interval_record(one.difference) | {"trend": trend_record(one.trend)})
        claims = SERIES_CLAIM_SETS.get(self._plan.study.spec.claims or "")
        return {
            "label": self._name,
            "cohort": self._cohort_model.label,
            "treated": self._treated,
            "steps": sorted(evidence.neurons),
            "correlations": correlations,
            "growth": growth,
            "verdicts": [verdict_record(verdict) for verdict in claims(evidence)] if claims else [],
        }

    def _metric_series(self, scores, weights, effects) -> dict[str, dict[int, float]]:
        """{metric: {training step: value}}: every condition's metrics, the groups' medians, the increases."""
        series: dict[str, dict[int, float]] = {}
        for step, model in self._models.items():
            for name in self._names:
                for metric, value in self._findings.metrics(model, name).items():
                    series.setdefault(f"{_metric(name)}/{metric}", {})[step] = value
        for table, prefix in ((scores, ""), (weights, "cosine_dissimilarity/")):
            for row in table.itertuples(index=False):
                series.setdefault(f"{prefix}{row.quantity}/{_metric(row.group)}", {})[row.step] = row.median
        for row in effects.itertuples(index=False):
            series.setdefault(f"increase/{_metric(row.condition)}/{row.benchmark}", {})[row.step] = row.estimate
        return series


def _points(evidence: TrainingEvidence) -> dict[str, list[tuple[int, float, float]]]:
    """{benchmark: (training step, the cohort's median WD, accuracy)}, where there is any."""
    if evidence.cohort is None:
        return {}
    found = {name: wd_and_accuracy(evidence, name, evidence.cohort) for name in evidence.syntactic}
    return {name: points for name, points in found.items() if points}


def _metric(name: str) -> str:
    """A condition's name as part of a metric's."""
    return name.replace("=", "_")


def _correlation(found: dynamics.Correlation) -> Mapping[str, Any]:
    spearman = None if found.spearman != found.spearman else found.spearman
    return interval_record(found.pearson) | {"spearman": spearman, "checkpoints": found.num_checkpoints}
