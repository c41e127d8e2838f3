"""What a study has found, read from the record once; and the claims' roles in it.

Refuses to compare results whose comparability keys differ.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from orchestrator.planning.conditions import BASELINE, NOISE_FLOOR, Condition
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.outcome import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.record.keys import Committed
from orchestrator.record.record import Record
from orchestrator.steps.artifacts import DENSITIES, NEURON_SET, NEURONS, TOKEN_PAIRS, WEIGHTS
from orchestrator.steps.step import BROKEN, FINISHED
from orchestrator.study_file.spec import ClampSpec, ConditionSpec
from studies.benchmarks.choices import ChoiceBenchmark
from studies.benchmarks.lm_eval import TaskBenchmark
from studies.benchmarks.minimal_pairs import PairBenchmark
from studies.benchmarks.protocol import Benchmark
from studies.benchmarks.surprisal import SurprisalBenchmark
from studies.claims.paper import Evidence, Scaffolding
from studies.errors import StudyError
from studies.neurons.selection import NeuronSet
from studies.statistics.excess_surprisal import Excess
from studies.statistics.intervals import require_same
from studies.statistics.neuron_table import Structure, structure

log = logging.getLogger(__name__)


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


def claims_evidence(findings: Findings, model: ResolvedModel) -> Evidence | None:
    """The claims' roles; None, with a warning, where no condition selects top neurons."""
    conditions = findings.plan.conditions[model.label]
    specs = findings.plan.study.spec.conditions
    whole = {c.base: specs[c.base] for c in conditions if c.is_whole}
    treated = treated_condition(findings, model)
    if treated is None:
        log.warning("claims need a condition that selects top neurons; there is none")
        return None
    by_difficulty = _like(whole, specs[treated], score="mapping_difficulty")
    magnitude = _like(whole, specs[treated], clamp=ClampSpec(kind="magnitude_matched"))
    of_treated, of_difficulty = (
        [c.name for c in conditions if like and c.spec and c.spec.like == like and not c.not_applicable]
        for like in (treated, by_difficulty)
    )
    matched = next((c for c in conditions if c.spec and c.spec.match and c.reference == treated), None)
    control = matched if matched and findings.items(model, matched.name) else None
    used = [BASELINE, treated, by_difficulty, magnitude, matched and matched.name, *of_treated, *of_difficulty]
    findings.require_comparable(model, [name for name in used if name])
    matching = findings.matching(control) if control and model.selects_itself else None
    found = findings.structure(model)
    benchmarks = findings.plan.study.benchmarks
    return Evidence(
        model=model.label,
        relu=model.architecture.is_relu,
        baseline=findings.items(model, BASELINE),
        treated=findings.items(model, treated),
        randoms={name: findings.items(model, name) for name in of_treated},
        matched=findings.items(model, control.name) if control else None,
        matched_fraction=matching["fraction"] if matching else None,
        treated_fraction=specs[treated].fraction,
        match_bracket=_bracket(findings.perplexity(model, treated), matching) if matching else None,
        syntactic=tuple(b.name for b in benchmarks if is_syntactic(b) is True),
        non_syntactic=tuple(b.name for b in benchmarks if is_syntactic(b) is False),
        by_difficulty=findings.items(model, by_difficulty) if by_difficulty else None,
        difficulty_randoms={name: findings.items(model, name) for name in of_difficulty or of_treated},
        correlation=found.overall_correlation if found else None,
        magnitude=findings.items(model, magnitude) if magnitude else None,
        negative_share=found.share if found else None,
        scaffolding=_scaffolding(findings, model, treated, of_treated),
    )


def treated_condition(findings: Findings, model: ResolvedModel) -> str | None:
    """The first whole condition of top neurons that controls refer to, or the first; None where there is none."""
    specs = findings.plan.study.spec.conditions
    whole = [c.base for c in findings.plan.conditions[model.label] if c.is_whole]
    referred = [specs[name].reference for name in whole if specs[name].reference]
    candidates = [name for name in (*referred, *whole) if specs[name].select == "top"]
    return candidates[0] if candidates else None


def _scaffolding(
    findings: Findings, model: ResolvedModel, treated: str, randoms: list[str]
) -> dict[str, Scaffolding | None]:
    """{surprisal benchmark: where the treated condition's excess sits, over the baseline and over random controls}."""
    found = {}
    for benchmark in findings.plan.study.benchmarks:
        if isinstance(benchmark, SurprisalBenchmark):
            scored = [n for n in (BASELINE, treated, *randoms) if benchmark.name in findings.items(model, n)]
            found[benchmark.name] = None
            if BASELINE in scored and treated in scored:
                excess = findings.excess(model, benchmark, treated, BASELINE)
                over = {
                    name: findings.excess(model, benchmark, treated, name).contrast().interval
                    if name in scored
                    else None
                    for name in randoms
                }
                found[benchmark.name] = Scaffolding(excess.contrast(), excess.content_excess(), over)
    return found


def is_syntactic(benchmark: Benchmark) -> bool | None:
    """Whether a benchmark is of grammar; None for perplexity and surprisal, which are on neither side."""
    match benchmark:
        case PairBenchmark():
            return True
        case ChoiceBenchmark():
            return False
        case TaskBenchmark():
            return benchmark.syntactic
    return None


def _like(specs: Mapping[str, ConditionSpec], treated: ConditionSpec, **changes: Any) -> str | None:
    """The condition that differs from the treated one in these fields alone."""
    fields = ("select", "score", "fraction", "clamp", "layers")
    wanted = treated.model_copy(update=changes)
    return next((n for n, spec in specs.items() if all(getattr(spec, f) == getattr(wanted, f) for f in fields)), None)


def _bracket(level: float, matching: Mapping[str, Any]) -> tuple[float, float]:
    """The evaluated fractions next below and above the treated perplexity."""
    below = [fraction for fraction, perplexity in matching["curve"] if perplexity < level]
    above = [fraction for fraction, perplexity in matching["curve"] if perplexity >= level]
    return max(below, default=0.0), min(above, default=matching["fraction"])
