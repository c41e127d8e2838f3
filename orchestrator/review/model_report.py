"""What one model adds to the report: table, findings, verdicts.

Owns what is compared and found; `rows` has the table, `drawings` the figures, `studies.reporting` the form of all.
Whatever did not finish is left out.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import pandas as pd

from orchestrator.planning.conditions import NOISE_FLOOR
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.roles import roles
from orchestrator.review.claims.evidence import perplexity_name
from orchestrator.review.claims.spreads import record_spreads
from orchestrator.review.claims.verdicts import model_verdicts
from orchestrator.review.doses import record_doses
from orchestrator.review.findings import Findings
from orchestrator.review.layers import record_schedules
from orchestrator.review.rows import condition_rows
from orchestrator.review.surprisal import record_excess
from orchestrator.steps.step import BASELINE
from studies.neurons.matching import SearchLimits, tolerance
from studies.reporting import records, text
from studies.statistics.comparisons import NoiseFloor, compare, noise_floor, seed_summary, within_noise
from studies.statistics.neuron_table import overlaps

COMPARISONS = "comparisons.parquet"
REPEATED = 1.01
"""A perplexity that is measured again in other packs moves by far less than a hundredth of a search's tolerance."""


class ModelReport:
    """One model's part of the report."""

    def __init__(self, findings: Findings, model: ResolvedModel) -> None:
        self._findings, self.model, self.label = findings, model, model.label
        self._plan, self._conditions = findings.plan, findings.plan.conditions[model.label]
        self._whole = [c for c in self._conditions if c.is_whole and not c.not_applicable]
        self._seeded = {condition.name for condition in self._conditions if condition.seed is not None}
        self.tables: dict[str, pd.DataFrame] = {}
        """{artifact: this model's part}, filled by `build`."""

    def build(self) -> dict[str, Any]:
        """This part as plain JSON."""
        findings, model = self._findings, self.model
        benchmarks = self._plan.study.benchmarks
        floors = self._noise_floors()
        by_benchmark = {benchmark: records.noise_record(floor) for benchmark, floor in floors.items()}
        excess = record_excess(findings, model)
        return {
            "label": model.label,
            "display": model.display,
            "digest": model.digest,
            "activation": model.architecture.activation,
            "benchmarks": [
                records.benchmark_record(b.name, b.label, b.measure, is_syntactic=b.is_syntactic, digest=b.digest)
                for b in benchmarks
            ],
            "roles": records.roles_record(*self._roles()),
            "rows": condition_rows(findings, model, self._unmatched),
            "schedules": record_schedules(findings, model),
            "doubling": record_doses(findings, model),
            "noise": text.noise_sentence(by_benchmark),
            "noise_floor": by_benchmark,
            "within_noise": self._within_noise(floors),
            "comparisons": self._comparisons(),
            "seeds": self._seeds(),
            "excess": excess,
            "spreads": record_spreads(findings, model, excess),
            "structure": self._structure(),
            "unmatched": self._unmatched,
            "left_out": findings.left_out(model),
            "special_tokens": findings.special_tokens(model),
            "not_compared": [records.not_compared_record(*entry) for entry in findings.not_compared(model)],
            "no_longer_matched": self._no_longer_matched(),
            "verdicts": [records.verdict_record(verdict) for verdict in model_verdicts(findings, model)],
        }

    @cached_property
    def _unmatched(self) -> dict[str, str]:
        """{condition: why it could not be matched}, of the controls whose search has ended without a match."""
        searched = [c for c in self._conditions if c.spec.match and self._findings.has_neurons(c)]
        reasons = {condition.name: self._findings.matching(condition).why_unmatched for condition in searched}
        return {name: reason for name, reason in reasons.items() if reason}

    def _roles(self) -> tuple[Mapping[str, str], Mapping[str, Sequence[str]]]:
        """{role: condition} and {role: random controls}, of the claims; empty where no condition is treated."""
        found = roles(self._plan, self.model)
        return ({}, {}) if found is None else (found.conditions, found.randoms)

    def _noise_floors(self) -> dict[str, NoiseFloor]:
        """{benchmark: how far the baseline moves on another pack plan}."""
        baseline, other = (self._findings.items(self.model, name) for name in (BASELINE, NOISE_FLOOR))
        return {
            name: noise_floor(baseline[name], other[name])
            for name in baseline
            if name in other and self._findings.alike(self.model, NOISE_FLOOR, BASELINE, name)
        }

    def _within_noise(self, floors: Mapping[str, NoiseFloor]) -> list[dict[str, Any]]:
        """The effects of whole conditions that are no larger than the noise floor of their benchmark."""
        findings, baseline = self._findings, self._findings.items(self.model, BASELINE)
        return [
            records.within_noise_record(condition.name, benchmark, found)
            for condition in self._whole
            for benchmark, items in findings.items(self.model, condition.name).items()
            if benchmark in floors and findings.alike(self.model, condition.name, BASELINE, benchmark)
            if (found := within_noise(items, baseline[benchmark], floors[benchmark])) is not None
        ]

    def _comparisons(self) -> list[dict[str, Any]]:
        """Every whole condition against the baseline, and every treated one against its matched control.

        The report leaves seeded conditions out: there are many, and the table has them all.
        """
        findings = self._findings
        pairs = [(condition.name, BASELINE) for condition in self._whole]
        pairs += [(condition.reference, condition.name) for condition in self._whole if condition.spec.match]
        tables = []
        for condition, against in pairs:
            items = [findings.items(self.model, name) for name in (condition, against)]
            alike = [b for b in items[0] if b in items[1] and findings.alike(self.model, condition, against, b)]
            items = [{benchmark: of_condition[benchmark] for benchmark in alike} for of_condition in items]
            table = compare(*items, condition=condition, against=against)
            if len(table):
                tables.append(table)
        if not tables:
            return []
        self.tables[COMPARISONS] = whole = pd.concat(tables)
        return records.changed_phenomena(whole[~whole["condition"].isin(self._seeded)])

    def _no_longer_matched(self) -> list[dict[str, Any]]:
        """Matched controls whose perplexity, measured again since the search, is no longer the treated condition's."""
        findings, entries = self._findings, list[dict[str, Any]]()
        differ = {(entry.condition, entry.benchmark) for entry in findings.not_compared(self.model)}
        perplexity = perplexity_name(self._plan)
        for condition in self._conditions if self.model.selects_itself else ():  # else another checkpoint's search
            search, names = condition.spec.match, (BASELINE, condition.reference, condition.name)
            if search is None or any((name, perplexity) in differ for name in names):
                continue
            baseline, treated, own = (findings.perplexity(self.model, name) for name in names)
            if baseline is None or treated is None or own is None:
                continue
            limits = SearchLimits(within=search.within, within_rise=search.within_rise)
            accepted = tolerance(baseline, treated, limits)
            if abs(own - treated - findings.realised_difference(condition)) > REPEATED * accepted:
                entries.append(
                    records.no_longer_matched_record(condition.name, condition.reference, own, treated, accepted)
                )
        return entries

    def _seeds(self) -> list[dict[str, Any]]:
        """Random controls with several seeds: mean and range of every benchmark's headline metric."""
        controls: dict[str, dict[str, Mapping[str, float]]] = {}
        for condition in self._conditions:
            if condition.seed is not None and not condition.not_applicable:
                by_seed = controls.setdefault(condition.without_seed, {})
                by_seed[condition.name] = self._findings.metrics(self.model, condition.name)
        headlines = [metric for benchmark in self._plan.study.benchmarks for metric in benchmark.headlines]
        return [
            {"condition": name, "metric": metric, "seeds": len(by_seed), **summary[metric]}
            for name, by_seed in controls.items()
            for summary in ([seed_summary(by_seed)] if len(by_seed) > 1 else [])
            for metric in headlines
            if metric in summary
        ]

    def _structure(self) -> dict[str, Any]:
        """Statistics of the neuron table and overlaps of neuron sets but seeded ones; empty where there is no table."""
        findings = self._findings
        structure, neurons = findings.structure(self.model), findings.neuron_table(self.model)
        if structure is None or neurons is None:
            return {}
        with_neurons = [c for c in self._conditions if c.is_whole and findings.has_neurons(c)]
        # Equal sets count once, under the name of the first condition.
        named = [(condition.name, findings.neuron_set(condition)) for condition in reversed(with_neurons)]
        by_digest = {neuron_set.digest: (name, neuron_set) for name, neuron_set in named}
        widths = neurons.groupby("layer").size().to_dict()
        shared = overlaps(dict(reversed(by_digest.values())), widths)
        self.tables |= {"neuron_set_overlaps.parquet": shared, "score_correlation.parquet": structure.correlation}
        has_seed = shared["one"].isin(self._seeded) | shared["other"].isin(self._seeded)
        return records.structure_record(structure, shared[~has_seed])
