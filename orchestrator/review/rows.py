"""The rows of one model's table: each condition's neurons, its results, and what it costs.

Owns what a row says. Callers rely on: the baseline comes first; a matched control's neighbour follows it, where the
search took one; a difference is given only where both sides were computed alike and on the same items.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.planning.conditions import Condition
from orchestrator.planning.models import ResolvedModel
from orchestrator.review.findings import Findings
from orchestrator.steps.step import BASELINE
from orchestrator.study_file.spec import ConditionSpec
from studies.reporting import records
from studies.statistics.comparisons import delta
from studies.statistics.effects import mean_difference

UNMATCHED = "cannot be matched"


def condition_rows(findings: Findings, model: ResolvedModel, unmatched: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows as plain JSON; unmatched: {condition: why}, of the controls that could not be matched."""
    rows = Rows(findings, model)
    return [rows.baseline(), *(rows.of(condition, unmatched) for condition in rows.conditions())]


class Rows:
    """Makes the rows of one model."""

    def __init__(self, findings: Findings, model: ResolvedModel) -> None:
        self._findings, self._model = findings, model

    def conditions(self) -> Iterator[Condition]:
        """The conditions of the plan, each matched control followed by its neighbour."""
        for condition in self._findings.plan.conditions[self._model.label]:
            yield condition
            neighbour = self._findings.neighbour(self._model, condition)
            if neighbour is not None and self._neighbour_fraction(condition) is not None:
                yield neighbour

    def baseline(self) -> dict[str, Any]:
        """The row of the baseline, which has no neurons and no difference to itself.

        weighted: its accuracies with the weights of the claims, to which a difference is relative."""
        cells, items = self._cells(BASELINE), self._findings.items(self._model, BASELINE)
        as_condition = {"condition": BASELINE, "role": "baseline", "part": "baseline", "of": BASELINE, "reference": ""}
        neurons = {"neurons": "none", "fraction": None, "num_neurons": 0, "seed": None}
        graded = {name: of_name for name, of_name in items.items() if of_name.measure.is_graded}
        weighted = {name: mean_difference(of_name.values, of_name).value for name, of_name in graded.items()}
        return {
            **as_condition,
            **neurons,
            "spread": False,
            "remark": "",
            "cells": cells,
            "deltas": {},
            "weighted": weighted,
        }

    def of(self, condition: Condition, unmatched: Mapping[str, str]) -> dict[str, Any]:
        """The row of a condition."""
        findings = self._findings
        known = findings.has_neurons(condition)
        return {
            "condition": condition.name,
            "role": condition.spec.select,
            "part": condition.part,
            "of": condition.without_seed + ("/neighbour" if condition.is_neighbour else ""),
            "reference": condition.reference,
            "neurons": self._neurons(condition),
            "fraction": self._fraction(condition),
            "num_neurons": findings.neuron_set(condition).count if known else None,
            "seed": condition.seed,
            "spread": condition.group is not None or condition.dose is not None,
            "remark": condition.not_applicable or (UNMATCHED if condition.name in unmatched else ""),
            "cells": self._cells(condition.name),
            "deltas": self._deltas(condition.name),
        }

    def _cells(self, condition: str) -> dict[str, Any]:
        """{benchmark: its cell}, of the evaluations that have finished."""
        items = self._findings.items(self._model, condition)
        return {benchmark: records.cell(of_benchmark) for benchmark, of_benchmark in items.items()}

    def _deltas(self, condition: str) -> dict[str, Any]:
        """{benchmark: the difference to the baseline}, of the results that can be compared with it."""
        findings = self._findings
        one, baseline = (findings.items(self._model, name) for name in (condition, BASELINE))
        return {
            benchmark: records.delta_record(delta(items, baseline[benchmark]))
            for benchmark, items in one.items()
            if benchmark in baseline and findings.alike(self._model, condition, BASELINE, benchmark)
        }

    def _neurons(self, condition: Condition) -> str:
        """`top 1 %, negative`, `bottom 34.8 % (matched), negative`, `top 1 %, magnitude_matched (12 % short)`.

        By mapping difficulty: `top 1 % by mapping_difficulty (reliability 0.87), negative`.
        """
        spec, fraction = condition.spec, self._fraction(condition)
        share = f" {100 * fraction:.3g} %" if fraction is not None else ""
        layers = f", layers {condition.group.name}" if condition.group else ""
        shortfall = self._findings.metrics(self._model, condition.name).get("magnitude_shortfall", 0.0)
        short = f" ({100 * shortfall:.2g} % short)" if shortfall else ""
        matched = " (matched)" if spec.match and not condition.is_neighbour else ""
        neighbour = " (neighbour)" if condition.is_neighbour else ""
        chosen = f"{spec.select}{share}{matched}{neighbour}{self._by_difficulty(spec)}"
        return f"{chosen}, {spec.clamp.display}{short}{layers}"

    def _by_difficulty(self, spec: ConditionSpec) -> str:
        """That neurons are selected by mapping difficulty, and its reliability where this model's own table has it."""
        if spec.select not in ("top", "bottom") or spec.score != "mapping_difficulty":
            return ""
        structure = self._findings.structure(self._model) if self._model.selects_itself else None
        reliability = structure.difficulty_reliability if structure else None
        return " by mapping_difficulty" + ("" if reliability is None else f" (reliability {reliability:.2f})")

    def _fraction(self, condition: Condition) -> float | None:
        """The fraction of each layer's neurons; of a matched control that of its search, None before it has ended."""
        spec = condition.spec
        if condition.is_neighbour:
            return self._neighbour_fraction(condition)
        if spec.match is not None:
            return self._findings.matching(condition).fraction if self._findings.has_neurons(condition) else None
        source = self._findings.plan.study.spec.conditions[spec.like] if spec.like else spec
        fraction = condition.dose or source.fraction
        return None if isinstance(fraction, tuple) else fraction

    def _neighbour_fraction(self, condition: Condition) -> float | None:
        """Of the neighbour that the search of a matched control took; None where it took none, or has not ended."""
        has_ended = self._findings.has_neurons(condition)
        return self._findings.matching(condition).neighbour_fraction if has_ended else None
