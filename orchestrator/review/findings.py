"""The results of a study, each read from the record once.

Owns the way from (model, condition, benchmark) to tables, and which results may be compared: those whose comparability
keys agree. What differs is left out of comparisons and listed. Whatever did not finish is absent, never an error. Knows
nothing of claims.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from orchestrator.planning.compared import comparable_key
from orchestrator.planning.conditions import NOISE_FLOOR, Condition
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.outcome import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.planning.resolve import PROFILE
from orchestrator.record.client.failures import DamagedArtifact, Unreachable
from orchestrator.record.keys import Committed
from orchestrator.record.record import Record
from orchestrator.steps import examples, match, profile, weights
from orchestrator.steps.artifacts import (
    DENSITIES,
    MATCHING,
    MATCHING_CURVE,
    MATCHING_LOSSES,
    MEASURED_ON,
    NEURON_SETS,
    TOKEN_PAIRS,
    WEIGHTS,
    items_table,
    receipt,
)
from orchestrator.steps.comparability import Key, difference
from orchestrator.steps.step import BASELINE, FINISHED, StepKind
from studies.benchmarks.measures import PERPLEXITY, Measure
from studies.benchmarks.protocol import Benchmark
from studies.errors import describe
from studies.neurons.selection import NeuronSet
from studies.statistics.excess_surprisal import Excess
from studies.statistics.items import Items
from studies.statistics.neuron_table import Structure, structure
from studies.statistics.scaffolding import word_frequencies

log = logging.getLogger(__name__)


class Matching(NamedTuple):
    """How the search for a matched control ended."""

    fraction: float | None
    """None where no fraction matched."""
    curve: tuple[tuple[float, float], ...]
    """Every evaluated (fraction, perplexity)."""
    why_unmatched: str
    """Empty where a fraction matched."""
    searched: range | None = None
    """Numbers of the windows on which it searched; None before version 4, which searched on those of the evidence."""
    is_disjoint: bool | None = None
    """Whether the search saw no window of the evidence; None before version 4."""
    held_out: range | None = None
    """Windows of the evidence that the search did not see: those that say how well it matched. All where the text has a
    single window; None before version 4."""
    baseline: float | None = None
    treated: float | None = None
    """Perplexities on the searched windows, to which the curve belongs; None before version 4."""
    neighbour_fraction: float | None = None
    """Of the neighbour beyond the target; None where there is none."""
    why_no_neighbour: str = ""
    """Empty where there is one."""


class NotCompared(NamedTuple):
    """A comparison that is not made."""

    condition: str
    against: str
    benchmark: str
    computed_with: str
    """What the condition was computed with and the other was not, in words: `torch 2.12.0`."""
    other_with: str


class Findings:
    """What has finished, read when it is asked for."""

    def __init__(self, plan: Plan, outcome: Outcome, record: Record) -> None:
        self.plan, self.outcome, self.record = plan, outcome, record
        self.measures: dict[str, Measure] = {benchmark.name: benchmark.measure for benchmark in plan.study.benchmarks}
        """{benchmark: what it measures}."""
        self.displayed: dict[str, str] = {benchmark.name: benchmark.label for benchmark in plan.study.benchmarks}
        """{benchmark: its name in tables and figures}."""
        self.failures: list[str] = []
        """Parts of the review that could not be made, with the reason; the report lists them."""
        self._damaged: set[str] = set()
        self._tables: dict[tuple[str, str], pd.DataFrame] = {}
        """{(step, artifact path): table}, each read once."""
        self._texts: dict[str, pd.DataFrame | None] = {}
        self._structures: dict[str, Structure] = {}
        self._receipts: dict[str, dict[str, dict[str, Any]]] = {}

    @property
    def committed(self) -> Mapping[str, Committed]:
        """{step id: where its results lie}, of the steps that have finished."""
        return self.outcome.committed

    @contextmanager
    def unless_failed(self, part: str) -> Iterator[None]:
        """Run a part of the review; its failure costs this part alone.

        A step whose artifact is damaged is withdrawn, so that the next run computes it again. Raises Unreachable,
        because the same part may succeed later.
        """
        try:
            yield
        except Unreachable:
            raise
        except DamagedArtifact as error:
            if str(error) not in self._damaged:  # several parts are made from one artifact: one line for all of them
                self._damaged.add(str(error))
                self.failures.append(f"{part}: {error}")
            if error.committed is not None:
                self.record.withdraw(error.committed)
        except Exception as error:  # of any kind: one odd result must not cost the report of the others
            log.debug("an error that nobody expected", exc_info=error)
            self.failures.append(f"{part}: failed ({describe(error)})")

    def document(self, committed: Committed, path: str) -> dict[str, Any]:
        """A recorded JSON object. Raises RecordError where it is missing or damaged."""
        document = self.record.document(committed, path)
        assert isinstance(document, dict), path
        return document

    # -- evaluations -------------------------------------------------------------------------------------------------

    def evaluations(self, model: ResolvedModel, condition: str) -> dict[str, str]:
        """{benchmark: step id}, of the evaluations of a condition that have finished."""
        steps = self.plan.evaluations.get((model.label, condition), {})
        return {benchmark: step for benchmark, step in steps.items() if self._done(step)}

    def items(self, model: ResolvedModel, condition: str) -> dict[str, Items]:
        """{benchmark: per-item results} of a condition."""
        noise_floor = condition == NOISE_FLOOR
        tables = {
            benchmark: self._table(step, items_table(benchmark, noise_floor=noise_floor))
            for benchmark, step in self.evaluations(model, condition).items()
        }
        return {benchmark: Items(table, self.measures[benchmark]) for benchmark, table in tables.items()}

    def _table(self, step: str, path: str) -> pd.DataFrame:
        if (step, path) not in self._tables:
            self._tables[step, path] = self.record.frame(self.committed[step], path)
        return self._tables[step, path]

    def item_texts(self, benchmark: Benchmark) -> pd.DataFrame | None:
        """The texts of a benchmark's items, made once for all conditions; None where they have none."""
        if benchmark.name not in self._texts:
            self._texts[benchmark.name] = benchmark.item_texts
        return self._texts[benchmark.name]

    def metrics(self, model: ResolvedModel, condition: str) -> dict[str, float]:
        """Every metric of a condition's finished evaluations."""
        return self.plan.metrics(model.label, condition, self.committed)

    def perplexity(self, model: ResolvedModel, condition: str) -> float | None:
        """The perplexity of a condition; None where there is none, or none that has finished."""
        benchmark = self.plan.study.perplexity
        step = self.evaluations(model, condition).get(benchmark.name) if benchmark else None
        return self.committed[step].metrics[benchmark.headlines[0]] if benchmark and step else None

    # -- comparisons -------------------------------------------------------------------------------------------------

    def comparable(self, model: ResolvedModel, condition: str) -> dict[str, Items]:
        """As `items`, without what cannot be compared with the baseline.

        Where the baseline has no result, the first condition with one stands for it.
        """
        found = self.items(model, condition)
        return {b: items for b, items in found.items() if self.alike(model, condition, self._first(model, b), b)}

    def _first(self, model: ResolvedModel, benchmark: str) -> str:
        """The baseline, or the first condition with a result where the baseline has none."""
        names = (BASELINE, *(condition.name for condition in self.plan.conditions[model.label]))
        return next((name for name in names if benchmark in self.evaluations(model, name)), BASELINE)

    def alike(self, model: ResolvedModel, condition: str, against: str, benchmark: str) -> bool:
        """Whether two results may be compared, once both have finished."""
        one, other = (self._key(model, name, benchmark) for name in (condition, against))
        return one is None or other is None or one.agrees(other)

    def not_compared(self, model: ResolvedModel) -> list[NotCompared]:
        """Every comparison that is not made because its results were computed differently."""
        conditions = [condition for condition in self.plan.conditions[model.label] if not condition.not_applicable]
        conditions += self.plan.neighbours[model.label].values()
        matched = [(condition.reference, condition.name) for condition in conditions if condition.spec.match]
        found: list[NotCompared] = []
        for benchmark in self.measures:
            first = self._first(model, benchmark)
            pairs = [*((condition.name, first) for condition in conditions), (NOISE_FLOOR, BASELINE), *matched]
            for condition, against in pairs:
                one, other = (self._key(model, name, benchmark) for name in (condition, against))
                if one is not None and other is not None and not one.agrees(other):
                    found.append(NotCompared(condition, against, benchmark, *difference(one, other)))
        return sorted(found)

    def _key(self, model: ResolvedModel, condition: str, benchmark: str) -> Key | None:
        step = self.evaluations(model, condition).get(benchmark)
        return None if step is None else comparable_key(self.plan.steps[step], self.committed[step].tags)

    def excess(self, model: ResolvedModel, benchmark: str, condition: str, control: str) -> Excess:
        """The surprisal that a condition adds to that of a control, on an annotated benchmark."""
        treated, reference = (self.items(model, name)[benchmark] for name in (condition, control))
        annotation = self.plan.annotations[benchmark]
        return Excess(treated, reference, annotation.words, annotation.unit)

    @cached_property
    def word_frequencies(self) -> Mapping[str, int]:
        """How often each word stands in the corpus of the profile."""
        return word_frequencies(self.plan.study.corpus.text)

    def special_tokens(self, model: ResolvedModel) -> dict[str, Mapping[str, Any]]:
        """{name of texts: what the tokenizer adds to them}, of the profile and the baseline's evaluations.

        Results of earlier versions do not say it.
        """
        documents = {}
        if scored := self._on_profile_run(model, profile.KIND):
            documents[PROFILE] = self.document(self.committed[scored], MEASURED_ON)
        documents |= self._baseline_receipts(model)
        key = "special_tokens"
        return {name: document[key] for name, document in documents.items() if key in document}

    def _baseline_receipts(self, model: ResolvedModel) -> dict[str, dict[str, Any]]:
        """{benchmark: how its baseline was computed}, each read once."""
        if model.label not in self._receipts:
            self._receipts[model.label] = {
                benchmark: self.document(self.committed[step], receipt(self.plan.steps[step].name))
                for benchmark, step in self.evaluations(model, BASELINE).items()
            }
        return self._receipts[model.label]

    def left_out(self, model: ResolvedModel) -> dict[str, Mapping[str, Any]]:
        """{benchmark: what the model could not score}, of the baseline's evaluations that left items out."""
        left_out = {name: document.get("left_out") for name, document in self._baseline_receipts(model).items()}
        return {benchmark: known for benchmark, known in left_out.items() if known and known["items"]}

    # -- profiles ----------------------------------------------------------------------------------------------------

    def weights_table(self, model: ResolvedModel) -> pd.DataFrame | None:
        """Cosine dissimilarities of a checkpoint's weights to the previous one's; None where that did not finish."""
        step = self._on_profile_run(model, weights.KIND)
        return self.record.frame(self.committed[step], WEIGHTS) if step else None

    def neuron_table(self, model: ResolvedModel) -> pd.DataFrame | None:
        """The neuron table of a model; None where its profile did not finish."""
        step = self._on_profile_run(model, profile.KIND)
        return self.outcome.inputs.neuron_table(step) if step else None

    def structure(self, model: ResolvedModel) -> Structure | None:
        """The statistics of a neuron table; None where there is no table."""
        neurons = self.neuron_table(model)
        if neurons is not None and model.label not in self._structures:
            self._structures[model.label] = structure(neurons)
        return self._structures.get(model.label)

    def examples(self, model: ResolvedModel) -> tuple[pd.DataFrame, pd.DataFrame] | None:
        """Densities and token pairs of the neurons with the highest Wasserstein distance; None where there are none."""
        step = self._on_profile_run(model, examples.KIND)
        if step is None:
            return None
        committed = self.committed[step]
        return self.record.frame(committed, DENSITIES), self.record.frame(committed, TOKEN_PAIRS)

    def _on_profile_run(self, model: ResolvedModel, kind: StepKind) -> str | None:
        """A finished step of this kind on the model's profile run; equal models share one, under either label."""
        return self._profile_steps.get((model.label, kind))

    @cached_property
    def _profile_steps(self) -> dict[tuple[str, StepKind], str]:
        """{(model label, step kind): the finished step on the model's profile run}."""
        return {
            (key.model, self.plan.steps[step].kind): step
            for step, keys in self.plan.runs.items()
            if self._done(step)
            for key in keys
            if key.kind == "profile"
        }

    # -- neuron sets -------------------------------------------------------------------------------------------------

    def has_neurons(self, condition: Condition) -> bool:
        """Whether the step that makes the condition's neuron set has finished."""
        return condition.neurons in self.committed

    def neuron_set(self, condition: Condition) -> NeuronSet:
        """The neurons of a condition. Raises KeyError where `has_neurons` is False."""
        return self.outcome.inputs.neuron_set(_step_of(condition), NEURON_SETS[condition.role_of_neurons])

    def matching(self, condition: Condition) -> Matching:
        """How the search for a matched control ended. Raises KeyError where it has not."""
        outcome = self.document(self.committed[_step_of(condition)], MATCHING)
        curve = tuple((fraction, level) for fraction, level in outcome["curve"])
        found = Matching(outcome["fraction"], curve, match.why_unmatched(outcome))
        why_no_neighbour = match.why_no_neighbour(outcome)
        if "search" not in outcome:  # version 3 and before
            return found._replace(why_no_neighbour=why_no_neighbour)
        searched, held_out = outcome["search"], outcome["evidence"]
        return found._replace(
            searched=range(searched["first"], searched["stop"], searched["step"]),
            is_disjoint=searched["disjoint"],
            held_out=range(held_out["first"], held_out["stop"], held_out["step"]),
            baseline=searched["baseline"],
            treated=searched["treated"],
            neighbour_fraction=outcome["neighbour"]["fraction"],
            why_no_neighbour=why_no_neighbour,
        )

    def neighbour(self, model: ResolvedModel, condition: Condition) -> Condition | None:
        """The neighbour of a matched control, whose items are those of its name; None where no search is asked for one.

        Whether there is one at all, `matching` says.
        """
        return self.plan.neighbours[model.label].get(condition.name)

    def matching_losses(self, condition: Condition) -> pd.DataFrame | None:
        """The losses of every window of all that a search measured, see `steps.match.losses_frame`; None before version
        4. Raises KeyError where the search has not ended."""
        step = _step_of(condition)
        return self._table(step, MATCHING_LOSSES) if MATCHING_LOSSES in self.committed[step].artifacts else None

    def realised_difference(self, condition: Condition) -> float:
        """Perplexity of the accepted point minus that of the treated condition on all windows of the evidence, as the
        search measured them: how far its own windows led it; 0 before version 4."""
        losses = self.matching_losses(condition)
        if losses is None:
            return 0.0
        on_evidence = losses[losses["windows"] == "evidence"].groupby("role")["nll"].mean()
        levels = {role: PERPLEXITY.summary(nll) for role, nll in on_evidence.items()}
        return levels["accepted"] - levels["treated"] if "accepted" in levels else 0.0

    def matching_curve(self, condition: Condition) -> pd.DataFrame:
        """Every point that the search evaluated: fraction, perplexity."""
        return self.record.frame(self.committed[_step_of(condition)], MATCHING_CURVE)

    def _done(self, step: str) -> bool:
        return self.outcome.states[step] in FINISHED


def _step_of(condition: Condition) -> str:
    """The step that makes a condition's neuron set; KeyError where the condition does not apply to the model."""
    if condition.neurons is None:
        raise KeyError(f"{condition.name} has no neurons")
    return condition.neurons
