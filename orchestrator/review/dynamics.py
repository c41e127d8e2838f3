"""Finished checkpoints of a training run -> one MLflow run per series: trajectories, correlations, growth, verdicts.

Owns what is recorded about a series and its part of the report; `studies.statistics.training` has the statistics. Every
metric is logged at its training step, so MLflow's own charts show the trajectories. Made from whatever checkpoints have
finished.
"""

from functools import cached_property
from itertools import pairwise
from typing import Any

import pandas as pd

from orchestrator.planning.conditions import Condition
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.roles import margins, roles
from orchestrator.record.keys import RunKey
from orchestrator.review.claims.evidence import graded_benchmarks, perplexity_name
from orchestrator.review.findings import Findings
from orchestrator.review.mlflow_pages import verdict_page
from orchestrator.review.recorded import ReviewStep, adopt_or_make
from orchestrator.steps.identity import identify
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import BASELINE, review_id
from studies.claims.power import RANDOM, TREATED
from studies.claims.training import SERIES_CLAIM_SETS, WD, TrainingEvidence, wd_and_accuracy, wd_correlation
from studies.neurons.selection import NeuronSet
from studies.reporting.figures import training as figures
from studies.reporting.figures.files import recorded
from studies.reporting.figures.sheet import Drawing
from studies.reporting.records import interval_record, margins_record, trend_record, verdict_record
from studies.statistics import training
from studies.statistics.increases import increase
from studies.statistics.items import Items

SUMMARY = "dynamics.json"
WEIGHTS = ("pre_activation", "up", "down")
"""Columns of the table of weights."""


def record_dynamics(findings: Findings) -> list[dict[str, Any]]:
    """Record every series of checkpoints; returns the report's entry for each with two or more of them finished."""
    summaries = (_Series(findings, name, models).record() for name, models in findings.plan.series.items())
    return [summary for summary in summaries if summary is not None]


class _Series:
    """One training run, as far as its checkpoints have finished."""

    def __init__(self, findings: Findings, name: str, models: list[ResolvedModel]) -> None:
        self._findings, self._plan, self._name = findings, findings.plan, name
        places = [(model, model.checkpoint) for model in models if model.checkpoint is not None]
        self._models = {place.step: model for model, place in places}
        """{training step: checkpoint}."""
        self._cohort_model = next(model for model, place in places if model.label == place.cohort)
        whole = [c for c in self._plan.conditions[self._cohort_model.label] if c.is_whole]
        self._conditions = [c for c in whole if not c.not_applicable]
        self._names = [BASELINE, *(condition.name for condition in self._conditions)]
        by_role = roles(findings.plan, self._cohort_model)
        self._treated = by_role.conditions[TREATED] if by_role else ""
        self._randoms = by_role.randoms[RANDOM] if by_role else ()
        self._selected_at = next(step for step, model in self._models.items() if model is self._cohort_model)

    @cached_property
    def _neuron_sets(self) -> dict[str, NeuronSet]:
        """{condition: its neurons}; a control that could not be matched has none."""
        findings = self._findings
        neuron_sets = {c.name: findings.neuron_set(c) for c in self._conditions if findings.has_neurons(c)}
        return {name: neurons for name, neurons in neuron_sets.items() if neurons.count}

    def record(self) -> dict[str, Any] | None:
        """The report's entry; None where fewer than two checkpoints have finished anything."""
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
        step = ReviewStep(self._step_id(), "dynamics", (key,))
        summaries = adopt_or_make(self._findings, [step], lambda _: self._measure(), summary=SUMMARY)
        summary = summaries.get(step.id)
        if summary is not None:
            self._findings.record.pages.show(key, verdict_page(summary["verdicts"]))
        return summary

    def _checkpoints(self) -> list[list[Any]]:
        return [[model.label, step, model.digest] for step, model in self._models.items()]

    def _step_id(self) -> str:
        """The id of the review step for what has finished."""
        labels = {model.label for model in self._models.values()}
        evaluations = (
            step
            for (label, _), by_benchmark in self._plan.evaluations.items()
            if label in labels
            for step in by_benchmark.values()
        )
        others = (step.id for step in self._plan.steps.values() if step.model in labels)
        inputs = sorted({step for step in (*evaluations, *others) if step in self._findings.committed})
        spec = self._plan.study.spec
        params = {
            "series": self._name,
            "study": spec.study,
            "claims": spec.claims,
            "margins": margins_record(margins(self._plan)),
            "checkpoints": self._checkpoints(),
            "cohort": self._cohort_model.label,
        }
        return review_id("dynamics", params, inputs, self._findings.committed)

    def _measure(self) -> StepResult | None:
        evidence = self._evidence()
        if len(evidence.neurons) < 2:
            return None
        scores = training.trajectories(evidence.neurons, self._neuron_sets, training.SCORES)
        weights = training.trajectories(evidence.weights, self._neuron_sets, WEIGHTS)
        effects = self._effects()
        return StepResult(
            metrics={},
            series=self._metric_series(scores, weights, effects),
            frames={
                "trajectories.parquet": scores,
                "weight_trajectories.parquet": weights,
                "effects.parquet": effects,
            },
            documents={SUMMARY: self._summary(evidence)},
            files=recorded(self._drawings(evidence, scores, weights, effects)),
        )

    def _drawings(
        self, evidence: TrainingEvidence, scores: pd.DataFrame, weights: pd.DataFrame, effects: pd.DataFrame
    ) -> dict[str, Drawing]:
        title, measures, names = self._name, self._findings.measures, self._findings.displayed
        conditions = figures.Conditions(
            {BASELINE: BASELINE, **{condition.name: condition.part for condition in self._conditions}},
            {c.name: c.without_seed for c in self._conditions if c.seed is not None},
        )
        counts = self._counts()
        drawn = {"scores": figures.trajectory_figure(scores, conditions, title=title)}
        if len(weights):
            drawn["weights"] = figures.trajectory_figure(weights, conditions, title=title, of_weights=True)
        if headlines := self._headlines():
            by_label = {names[benchmark]: measure for benchmark, measure in measures.items()}
            drawn["benchmarks"] = figures.condition_figure(headlines, conditions, by_label, counts=counts, title=title)
        if len(effects):
            drawn["effects"] = figures.effect_figure(
                effects, conditions, measures, names=names, counts=counts, title=title
            )
        if points := _points(evidence):
            note = f"cohort of {self._treated} at {self._cohort_model.label}"
            drawn["correlation"] = figures.correlation_figure(points, names=names, title=title, note=note)
        return drawn

    def _counts(self) -> dict[str, int]:
        """{benchmark's label: number of items}, of the benchmarks with a result of the baseline."""
        items = [self._findings.items(model, BASELINE) for model in self._models.values()]
        counts = {name: len(of_benchmark) for of_model in items for name, of_benchmark in of_model.items()}
        return {self._findings.displayed[name]: count for name, count in counts.items()}

    def _evidence(self) -> TrainingEvidence:
        findings, models = self._findings, self._models.items()
        items = {name: {step: findings.comparable(model, name) for step, model in models} for name in self._names}
        neuron_sets = self._neuron_sets
        return TrainingEvidence(
            series=self._name,
            relu=self._cohort_model.architecture.is_relu,
            neurons={step: table for step, m in models if (table := findings.neuron_table(m)) is not None},
            weights={step: table for step, m in models if (table := findings.weights_table(m)) is not None},
            before={later: earlier for earlier, later in pairwise(self._models)},
            cohort=neuron_sets.get(self._treated),
            score=findings.plan.study.spec.conditions[self._treated].score if self._treated else WD,
            selected_at=self._selected_at,
            baseline=items[BASELINE],
            treated=items.get(self._treated, {}),
            random_items={name: items[name] for name in self._randoms if name in neuron_sets},
            perplexity=perplexity_name(self._plan),
            syntactic=graded_benchmarks(self._plan, syntactic=True),
            margins=margins(self._plan),
        )

    def _by_checkpoint(self, condition: Condition, benchmark: str) -> dict[int, tuple[Items, Items]]:
        """{training step: (items, the baseline's)}, of the checkpoints that have both."""
        pairs = {}
        for step, model in self._models.items():
            treated, baseline = (
                self._findings.comparable(model, name).get(benchmark) for name in (condition.name, BASELINE)
            )
            if treated is not None and baseline is not None:
                pairs[step] = (treated, baseline)
        return pairs

    def _effects(self) -> pd.DataFrame:
        """step, condition, benchmark, estimate, low, high: the increase over the baseline."""
        rows = [
            (step, condition.name, benchmark.name, *increase(*pair))
            for condition in self._conditions
            for benchmark in self._plan.study.benchmarks
            for step, pair in self._by_checkpoint(condition, benchmark.name).items()
        ]
        return pd.DataFrame(rows, columns=["step", "condition", "benchmark", "estimate", "low", "high"])

    def _headlines(self) -> dict[str, dict[str, dict[int, float]]]:
        """{benchmark's label: {condition: {training step: headline metric}}}."""
        headlines: dict[str, dict[str, dict[int, float]]] = {}
        for benchmark in self._plan.study.benchmarks:
            for name in self._names:
                for step, model in self._models.items():
                    value = self._findings.metrics(model, name).get(benchmark.headlines[0])
                    if value is not None:
                        headlines.setdefault(benchmark.label, {}).setdefault(name, {})[step] = value
        return headlines

    def _summary(self, evidence: TrainingEvidence) -> dict[str, Any]:
        correlations = {
            benchmark: {
                name: _correlation(wd_correlation(evidence, benchmark, neurons))
                for name, neurons in self._neuron_sets.items()
            }
            for benchmark in evidence.syntactic
        }
        claims = SERIES_CLAIM_SETS.get(self._plan.study.spec.claims or "")
        return {
            "label": self._name,
            "cohort": self._cohort_model.label,
            "treated": self._treated,
            "steps": sorted(evidence.neurons),
            "correlations": correlations,
            "growth": self._growth(),
            "verdicts": [verdict_record(verdict) for verdict in claims(evidence)] if claims else [],
        }

    def _growth(self) -> list[dict[str, Any]]:
        """How the cost of every condition on every benchmark changes from its first to its last checkpoint."""
        entries = []
        for condition in self._conditions:
            for benchmark in self._plan.study.benchmarks:
                pairs = self._by_checkpoint(condition, benchmark.name)
                if len(pairs) > 1:
                    treated, baseline = ({step: pair[side] for step, pair in pairs.items()} for side in (0, 1))
                    growth = training.growth(baseline, treated)
                    entries.append(
                        {
                            "condition": condition.name,
                            "benchmark": benchmark.name,
                            "first": min(pairs),
                            "last": max(pairs),
                            **interval_record(growth.difference),
                            "trend": trend_record(growth.trend),
                        }
                    )
        return entries

    def _metric_series(
        self, scores: pd.DataFrame, weights: pd.DataFrame, effects: pd.DataFrame
    ) -> dict[str, dict[int, float]]:
        """{metric: {training step: value}}: every condition's metrics, the medians of neuron sets, the increases."""
        series: dict[str, dict[int, float]] = {}
        for step, model in self._models.items():
            for name in self._names:
                for metric, value in self._findings.metrics(model, name).items():
                    series.setdefault(f"{_metric_part(name)}/{metric}", {})[step] = value
        for table, prefix in ((scores, ""), (weights, "cosine_dissimilarity/")):
            for row in table.itertuples(index=False):
                metric = f"{prefix}{row.quantity}/{_metric_part(row.group)}"
                series.setdefault(metric, {})[row.step] = row.median
        for row in effects.itertuples(index=False):
            series.setdefault(f"increase/{_metric_part(row.condition)}/{row.benchmark}", {})[row.step] = row.estimate
        return series


def _points(evidence: TrainingEvidence) -> dict[str, list[tuple[int, float, float]]]:
    """{benchmark: (training step, the cohort's median WD, accuracy)}, of the benchmarks that have any."""
    if evidence.cohort is None:
        return {}
    points = {name: wd_and_accuracy(evidence, name, evidence.cohort) for name in evidence.syntactic}
    return {name: of_benchmark for name, of_benchmark in points.items() if of_benchmark}


def _metric_part(name: str) -> str:
    """The name of a condition as part of a metric's name."""
    return name.replace("=", "_")


def _correlation(correlation: training.Correlation) -> dict[str, Any]:
    spearman = None if correlation.spearman != correlation.spearman else correlation.spearman
    return {**interval_record(correlation.pearson), "spearman": spearman, "checkpoints": correlation.num_checkpoints}
