"""What a study has found, read from the record once."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from orchestrator.planning.conditions import NOISE_FLOOR, Condition
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.outcome import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.record.keys import Committed
from orchestrator.record.record import Record
from orchestrator.steps.artifacts import DENSITIES, NEURON_SET, NEURONS, TOKEN_PAIRS, WEIGHTS
from orchestrator.steps.step import BROKEN, FINISHED
from studies.benchmarks.surprisal import SurprisalBenchmark
from studies.errors import StudyError
from studies.neurons.selection import NeuronSet
from studies.statistics.excess_surprisal import Excess
from studies.statistics.intervals import require_same
from studies.statistics.neuron_table import Structure, structure


class Findings:
    """What finished, read when it is asked for."""

    def __init__(self, plan: Plan, outcome: Outcome, record: Record):
        self.plan, self.outcome, self.record = plan, outcome, record
        self._items: dict[str, pd.DataFrame] = {}
        self._tables: dict[str, pd.DataFrame | None] = {}
        self._structures: dict[str, Structure] = {}

    def items(self, model: ResolvedModel, condition: str) -> dict[str, pd.DataFrame]:
        """{benchmark: items} of what finished."""
        folder = "noise_floor" if condition == NOISE_FLOOR else "items"
        found = {}
        for benchmark, step in self.plan.evaluations.get((model.label, condition), {}).items():
            if self._done(step):
                if step not in self._items:
                    path = f"{folder}/{benchmark}.parquet"
                    self._items[step] = self.record.frame(self.outcome.committed[step], path)
                found[benchmark] = self._items[step]
        return found

    def metrics(self, model: ResolvedModel, condition: str) -> dict[str, float]:
        """Every metric of a condition's finished evaluations."""
        return self.plan.metrics(model.label, condition, self.outcome.committed)

    def perplexity(self, model: ResolvedModel, condition: str) -> float:
        step = self.plan.evaluations[model.label, condition]["perplexity"]
        return self.outcome.committed[step].metrics["perplexity"]

    def weights_table(self, model: ResolvedModel) -> pd.DataFrame | None:
        """How far a checkpoint's weights are from those of the one before; None where that did not finish."""
        weights = self._of_profile_run(model, "weights")
        return self.record.frame(weights, WEIGHTS) if weights else None

    def neuron_table(self, model: ResolvedModel) -> pd.DataFrame | None:
        """The model's profile; None where it did not finish."""
        if model.label not in self._tables:
            profile = self._of_profile_run(model, "profile")
            self._tables[model.label] = self.record.frame(profile, NEURONS) if profile else None
        return self._tables[model.label]

    def structure(self, model: ResolvedModel) -> Structure | None:
        """What the neuron table says by itself; None where there is no table."""
        neurons = self.neuron_table(model)
        if neurons is not None and model.label not in self._structures:
            self._structures[model.label] = structure(neurons)
        return self._structures.get(model.label)

    def examples(self, model: ResolvedModel) -> tuple[pd.DataFrame, pd.DataFrame] | None:
        """Densities and token pairs of the most entangled neurons, where the study asked for them."""
        committed = self._of_profile_run(model, "examples")
        if committed is None:
            return None
        return self.record.frame(committed, DENSITIES), self.record.frame(committed, TOKEN_PAIRS)

    def _of_profile_run(self, model: ResolvedModel, kind: str) -> Committed | None:
        """A finished step of this kind on the model's profile run; its step may bear another label of the model."""
        for step, keys in self.plan.runs.items():
            mine = any(key.kind == "profile" and key.model == model.label for key in keys)
            if mine and self.plan.steps[step].kind == kind and self._done(step):
                return self.outcome.committed[step]
        return None

    def excess(self, model: ResolvedModel, benchmark: SurprisalBenchmark, condition: str, control: str) -> Excess:
        """What a condition adds to the surprisal under a control."""
        treated, reference = (self.items(model, name)[benchmark.name] for name in (condition, control))
        return Excess(treated, reference, benchmark.words, benchmark.unit)

    def has_neurons(self, condition: Condition) -> bool:
        """Whether the step that makes the condition's neuron set has finished."""
        return condition.neurons in self.outcome.committed

    def neuron_set(self, condition: Condition) -> NeuronSet:
        return NeuronSet.from_frame(self.record.frame(self.outcome.committed[condition.neurons], NEURON_SET))

    def matching(self, condition: Condition) -> Mapping[str, Any]:
        """How the search for a matched control went."""
        return self.record.document(self.outcome.committed[condition.neurons], "match.json")

    def matching_curve(self, condition: Condition) -> pd.DataFrame:
        return self.record.frame(self.outcome.committed[condition.neurons], "matching_curve.parquet")

    def require_comparable(self, model: ResolvedModel, conditions: Sequence[str]) -> None:
        """Raises StudyError when results that are to be compared differ in their comparability keys."""
        for benchmark in self.plan.study.benchmarks:
            keys = {}
            for condition in conditions:
                step = self.plan.evaluations.get((model.label, condition), {}).get(benchmark.name)
                if step is not None and self._done(step):
                    keys[condition] = self.outcome.committed[step].tags[f"comparability.evaluate.{benchmark.name}"]
            try:
                require_same(keys)
            except ValueError as error:
                raise StudyError(f"{model.label}, {benchmark.name}: {error}") from None

    def _done(self, step: str) -> bool:
        return self.outcome.states[step] in FINISHED


def broken_runs(plan: Plan, outcome: Outcome) -> set[str]:
    """Names of the runs on which a step failed or was skipped: what is added to them later does not mend them."""
    return {key.name for step, state in outcome.states.items() if state in BROKEN for key in plan.runs[step]}
