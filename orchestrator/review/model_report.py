"""What one model adds to the report: table, findings, figures and verdicts."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from orchestrator.planning.conditions import NOISE_FLOOR, Condition
from orchestrator.planning.models import ResolvedModel
from orchestrator.review.doses import record_doses
from orchestrator.review.evidence import claims_evidence
from orchestrator.review.findings import Findings
from orchestrator.review.layers import record_schedules
from orchestrator.review.surprisal import record_excess
from orchestrator.steps.step import BASELINE
from studies.claims.paper import CLAIM_SETS, Verdict
from studies.reporting import figures
from studies.reporting import text as report
from studies.statistics.comparisons import compare, seed_summary
from studies.statistics.intervals import noise_floor
from studies.statistics.neuron_table import overlaps


def _file_name(name: str) -> str:
    """What MLflow takes as part of an artifact's path: `matched/layers=0-3,8` has to become `matched_layers_0-3_8`."""
    return re.sub(r"[^\w. -]", "_", name)


class _ModelReport:
    """What one model adds to the report."""

    def __init__(self, findings: Findings, model: ResolvedModel):
        self._findings, self._model, self.label = findings, model, model.label
        self._plan, self._conditions = findings.plan, findings.plan.conditions[model.label]
        self.tables: dict[str, pd.DataFrame] = {}
        """{artifact: this model's part}, as `build` found them."""

    def build(self) -> dict[str, Any]:
        """The table, findings and verdicts, as plain JSON."""
        findings, model = self._findings, self._model
        benchmarks = self._plan.study.benchmarks
        floors = self._noise()
        spread = [c.name for c in self._conditions if c.spec and not c.is_whole]
        if spread:
            findings.require_comparable(model, [BASELINE, *spread])
        sources = self._plan, model, findings.items, findings.outcome.committed, findings.record
        return {
            "label": model.label,
            "display": model.display,
            "activation": model.architecture.activation,
            "benchmarks": [{"name": benchmark.name, "label": benchmark.label} for benchmark in benchmarks],
            "rows": [self._row(condition) for condition in self._conditions],
            "schedules": record_schedules(*sources),
            "doubling": record_doses(*sources),
            "noise": report.noise_sentence(floors),
            "noise_floor": floors,
            "comparisons": self._comparisons(),
            "seeds": self._seeds(),
            "excess": record_excess(findings, model),
            "structure": self._structure(),
            "verdicts": [report.verdict_record(verdict) for verdict in self._verdicts()],
        }

    def figures(self, table: Mapping[str, Any]) -> list[tuple[str, bytes]]:
        """(name, PNG) of every figure that can be drawn; `table` is what `build` returned."""
        findings, prefix = self._findings, _file_name(self.label)
        drawn = []
        if any(row["cells"] for row in table["rows"] if row["role"] != "baseline" and not row["spread"]):
            drawn.append((f"{prefix}-conditions", figures.conditions(table)))
        neurons = findings.neuron_table(self._model)
        if neurons is not None:
            drawn.append((f"{prefix}-wasserstein-distance", figures.wasserstein_by_layer(neurons, title=self.label)))
        examples = findings.examples(self._model)
        if examples is not None:
            drawn.append((f"{prefix}-entangled-neurons", figures.entangled_neurons(*examples, title=self.label)))
        for condition in self._conditions:
            if condition.spec is None or condition.spec.match is None or not findings.has_neurons(condition):
                continue
            if not self._model.selects_itself:  # the search was another checkpoint's
                continue
            curve = findings.matching_curve(condition)
            if curve.empty:  # there was nothing to match
                continue
            levels = [findings.perplexity(self._model, name) for name in (BASELINE, condition.reference)]
            title = f"{self.label}: {condition.name}"
            png = figures.matching_curve(curve, baseline=levels[0], treated=levels[1], title=title)
            drawn.append((f"{prefix}-{_file_name(condition.name)}-curve", png))
        return drawn

    def _row(self, condition: Condition) -> dict[str, Any]:
        row = {
            "condition": condition.name,
            "role": "baseline" if condition.spec is None else condition.spec.select,
            "neurons": "none" if condition.spec is None else self._neurons(condition),
            "spread": condition.group is not None or condition.dose is not None,
            "remark": condition.not_applicable,
            "cells": {},
        }
        if not condition.not_applicable:
            for benchmark, items in self._findings.items(self._model, condition.name).items():
                row["cells"][benchmark] = report.cell(benchmark, items)
        return row

    def _neurons(self, condition: Condition) -> str:
        """`top 1 %, negative`, `bottom 34.8 % (matched), negative`, `top 1 %, magnitude_matched (12 % short)`."""
        spec = condition.spec
        fraction = self._fraction(condition)
        share = f" {100 * fraction:.3g} %" if fraction is not None else ""
        layers = f", layers {condition.group.name}" if condition.group else ""
        shortfall = self._findings.metrics(self._model, condition.name).get("magnitude_shortfall", 0.0)
        short = f" ({100 * shortfall:.2g} % short)" if shortfall else ""
        return f"{spec.select}{share}{' (matched)' if spec.match else ''}, {spec.clamp.display}{short}{layers}"

    def _fraction(self, condition: Condition) -> float | None:
        spec = condition.spec
        if spec.match is not None:
            return self._findings.matching(condition)["fraction"] if self._findings.has_neurons(condition) else None
        source = self._plan.study.spec.conditions[spec.like] if spec.like else spec
        return condition.dose or source.fraction

    def _noise(self) -> dict[str, dict[str, Any]]:
        baseline, other = (self._findings.items(self._model, name) for name in (BASELINE, NOISE_FLOOR))
        return {
            name: report.noise_record(noise_floor(baseline[name], other[name])) for name in baseline if name in other
        }

    def _comparisons(self) -> list[dict[str, Any]]:
        """Every whole condition against the baseline, and against its matched control."""
        findings, found = self._findings, []
        whole = [c for c in self._conditions if c.is_whole and not c.not_applicable]
        pairs = [(condition.name, BASELINE) for condition in whole]
        pairs += [(condition.reference, condition.name) for condition in whole if condition.spec.match]
        for pair in pairs:
            findings.require_comparable(self._model, pair)
            items = (findings.items(self._model, name) for name in pair)
            table = compare(*items, condition=pair[0], against=pair[1])
            found += [table] if len(table) else []
        if not found:
            return []
        self.tables["comparisons.parquet"] = pd.concat(found)
        return report.changed_phenomena(self.tables["comparisons.parquet"])

    def _seeds(self) -> list[dict[str, Any]]:
        """The random controls with several seeds: mean and range of every benchmark's headline."""
        controls: dict[str, dict[str, Mapping[str, float]]] = {}
        for condition in self._conditions:
            if condition.seed is not None and not condition.not_applicable:
                name = condition.name.removesuffix(f"/seed={condition.seed}")
                controls.setdefault(name, {})[condition.name] = self._findings.metrics(self._model, condition.name)
        headlines = [metric for benchmark in self._plan.study.benchmarks for metric in benchmark.headlines]
        return [
            {"condition": name, "metric": metric, "seeds": len(by_seed), **summary[metric]}
            for name, by_seed in controls.items()
            for summary in ([seed_summary(by_seed)] if len(by_seed) > 1 else [])
            for metric in headlines
            if metric in summary
        ]

    def _structure(self) -> dict[str, Any]:
        """What the neuron table and the neuron sets say by themselves."""
        findings, found = self._findings, self._findings.structure(self._model)
        if found is None:
            return {}
        whole = [c for c in self._conditions if c.is_whole and findings.has_neurons(c)]
        by_digest = {one.digest: (c.name, one) for c in reversed(whole) for one in [findings.neuron_set(c)]}
        widths = findings.neuron_table(self._model).groupby("layer").size().to_dict()
        shared = overlaps(dict(reversed(by_digest.values())), widths)
        self.tables |= {"neuron_set_overlaps.parquet": shared, "score_correlation.parquet": found.correlation}
        return report.structure_record(found, shared)

    def _verdicts(self) -> list[Verdict]:
        claims = self._plan.study.spec.claims
        if claims not in CLAIM_SETS:  # none, or claims on a series of checkpoints
            return []
        evidence = claims_evidence(self._findings, self._model)
        return CLAIM_SETS[claims](evidence) if evidence else []
