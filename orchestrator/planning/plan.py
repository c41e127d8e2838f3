"""Resolved study -> the DAG of frozen steps, the runs that record each, and its estimated work.

Owns which steps a study has and what each depends on; `conditions` has the names, `orchestrator.steps` the parameters,
`run_keys` the runs. Pure: no Ray, no MLflow. Steps with equal ids collapse into one, so that baselines are shared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.planning.conditions import NOISE_FLOOR, Baseline, Condition, expand
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.resolve import PROFILE, ResolvedStudy
from orchestrator.planning.run_keys import baseline_run, condition_run, profile_run
from orchestrator.record.keys import Committed, RunKey
from orchestrator.record.pages.views import DELTA
from orchestrator.steps import evaluate, examples, match, profile, select, weights
from orchestrator.steps.identity import identify
from orchestrator.steps.kind import ActorStepKind, ModelStepKind, PlannedModel
from orchestrator.steps.step import ANY_ROLE, BASELINE, Step, StepKind
from orchestrator.study_file.spec import ConditionSpec
from studies.benchmarks.annotation import Annotation
from studies.benchmarks.protocol import Benchmark
from studies.benchmarks.texts import CHARACTERS_PER_TOKEN

MODEL_STEPS: tuple[ModelStepKind[Any], ...] = (examples.KIND, weights.KIND)
"""The kinds that run once a model, beside its profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All steps in topological order, and the MLflow runs of each."""

    study: ResolvedStudy
    steps: Mapping[str, Step]
    """{step id: step}."""
    runs: Mapping[str, tuple[RunKey, ...]]
    """{step id: the runs it is recorded on}; more than one where equal conditions collapse into one step."""
    evaluations: Mapping[tuple[str, str], Mapping[str, str]]
    """{(model, condition): {benchmark: step id}}; the condition `NOISE_FLOOR` is the baseline on another pack plan."""
    conditions: Mapping[str, tuple[Condition, ...]]
    """{model label: its conditions, in the order of the study file}; the baseline is none of them."""
    neighbours: Mapping[str, Mapping[str, Condition]]
    """{model label: {matched control: its neighbour, a condition that is none of the study file}}. It is scored where
    the search for the control left it one, see `steps.match`."""

    def metrics(self, model: str, condition: str, committed: Mapping[str, Committed]) -> dict[str, float]:
        """Every metric that the finished evaluations of a condition recorded."""
        steps = self.evaluations.get((model, condition), {}).values()
        return {name: value for step in steps if step in committed for name, value in committed[step].metrics.items()}

    @property
    def columns(self) -> list[str]:
        """The metrics that MLflow's tables of conditions show: first what each costs, then the values themselves."""
        benchmarks = self.study.benchmarks
        values = [metric for benchmark in benchmarks for metric in benchmark.headlines]
        return [*(f"{DELTA}{benchmark.name}" for benchmark in benchmarks), *values]

    @property
    def series(self) -> dict[str, list[ResolvedModel]]:
        """{series: its checkpoints, in the order of training}."""
        checkpoints: dict[str, list[ResolvedModel]] = {}
        for model in self.study.models:
            if model.checkpoint is not None:
                checkpoints.setdefault(model.checkpoint.series, []).append(model)
        return checkpoints

    def model(self, label: str) -> ResolvedModel:
        """The model with this label."""
        return next(model for model in self.study.models if model.label == label)

    def benchmark(self, name: str) -> Benchmark:
        """The benchmark of this name."""
        return next(benchmark for benchmark in self.study.benchmarks if benchmark.name == name)

    def without_work(self, step: str, findings: Mapping[str, str]) -> dict[str, str]:
        """{step made from this one, directly or through others: the finding that leaves it nothing to compute}.

        findings: of the step, by input role; see `StepKind.why_barren`. In topological order.
        """
        reasons: dict[str, str] = {}
        for later in self.steps.values() if findings else ():
            for role, source in later.inputs.items():
                found = findings.get(role) or findings.get(ANY_ROLE) if source == step else reasons.get(source)
                if found:
                    reasons.setdefault(later.id, found)
        return reasons

    def with_place(self, step: Step, problem: str) -> str:
        """A problem with the texts that a step scores, after their place in the study file."""
        source = step.kind.packs_of(step) if isinstance(step.kind, ActorStepKind) else None
        texts = self.steps[source or step.id].params.get("benchmark", PROFILE)
        return str(self.study.place_error(texts, f"{step.model}: {problem}"))

    @property
    def annotations(self) -> dict[str, Annotation]:
        """{benchmark: the words of its documents}, of the benchmarks that have any."""
        benchmarks = self.study.benchmarks
        return {b.name: annotation for b in benchmarks if (annotation := b.annotation) is not None}


def build_plan(study: ResolvedStudy) -> Plan:
    """The plan of a resolved study. Raises nothing: `resolve` has checked what a user can get wrong."""
    builder = _Builder(study)
    for model in sorted(study.models, key=lambda model: not model.selects_itself):
        builder.add_model(model)
    return Plan(
        study=study,
        steps=builder.steps,
        runs={step: tuple(keys.values()) for step, keys in builder.runs.items()},
        evaluations=builder.evaluations,
        conditions=builder.conditions,
        neighbours=builder.neighbours,
    )


class _Builder:
    """Adds the steps of one model after another; cohorts come before the checkpoints that follow them."""

    def __init__(self, study: ResolvedStudy) -> None:
        self._study, self._spec = study, study.spec
        # Computed once: thousands of steps need them, and each reads every text of a benchmark.
        self._digests = {benchmark.name: benchmark.digest for benchmark in study.benchmarks}
        self._tokens = {benchmark.name: benchmark.estimated_tokens for benchmark in study.benchmarks}
        self._corpus = study.corpus.digest
        self._profiles: dict[str, str] = {}
        """{model label: id of its profile step}."""
        self._neuron_sets: dict[str, dict[str, str]] = {}
        """{model label: {condition: id of the step that makes its neuron set}}."""
        self.steps: dict[str, Step] = {}
        self.runs: dict[str, dict[str, RunKey]] = {}
        self.evaluations: dict[tuple[str, str], dict[str, str]] = {}
        self.conditions: dict[str, tuple[Condition, ...]] = {}
        self.neighbours: dict[str, dict[str, Condition]] = {}

    def add_model(self, model: ResolvedModel) -> None:
        """Add the steps of a model: scores, baseline and noise floor, then every condition."""
        self._neuron_sets[model.label] = {}
        self._add_profile(model)
        self._add_baseline(model)
        conditions = [self._add_condition(model, condition) for condition in expand(self._spec, model)]
        order = list(self._spec.conditions)
        self.conditions[model.label] = tuple(sorted(conditions, key=lambda condition: order.index(condition.base)))
        with_neighbours = [condition for condition in self.conditions[model.label] if condition.has_neighbour]
        self.neighbours[model.label] = {
            control.name: self._add_neighbour(model, control) for control in with_neighbours
        }

    def _add_baseline(self, model: ResolvedModel) -> None:
        baseline, benchmarks, run = Baseline(), self._study.benchmarks, baseline_run(model)
        self._evaluate_all(model, baseline, benchmarks, run)
        if self._spec.noise_floor:
            self.evaluations[model.label, NOISE_FLOOR] = {
                benchmark.name: self._evaluate(model, baseline, benchmark, run, noise_floor=True)
                for benchmark in benchmarks
            }

    def _add_profile(self, model: ResolvedModel) -> None:
        spec, dtype = self._spec.profile, model.dtype
        scored = min(spec.tokens, len(self._study.corpus.text) / CHARACTERS_PER_TOKEN)
        work = scored + spec.calibration_windows * spec.window
        step = self._add(profile.KIND, model, profile.params(spec, corpus=self._corpus, dtype=dtype), {}, work=work)
        self._profiles[model.label] = step
        run = profile_run(model, step)
        self._record_on(step, run)
        previous = self._study.previous_checkpoint(model)
        before = previous.digest if previous else None
        planned = PlannedModel(self._spec, self._corpus, dtype, tokens=work, before=before, profile=step)
        for kind in MODEL_STEPS:
            draft = kind.draft(planned)
            if draft is not None:
                self._record_on(self._add(kind, model, draft.params, draft.inputs, work=draft.work), run)

    def _add_condition(self, model: ResolvedModel, condition: Condition) -> Condition:
        """Add the steps of a condition; returns it with the step that makes its neurons."""
        if condition.not_applicable:
            return condition
        if model.selects_itself:
            neurons = self._add_neurons(model, condition)
        else:
            assert model.checkpoint is not None
            neurons = self._neuron_sets[model.checkpoint.cohort][condition.name]
        self._neuron_sets[model.label][condition.name] = neurons
        condition = replace(condition, neurons=neurons)
        run = condition_run(self._spec, model, condition)
        self._record_on(neurons, run)
        self._evaluate_all(model, condition, self._benchmarks_of(condition), run)
        return condition

    def _add_neighbour(self, model: ResolvedModel, control: Condition) -> Condition:
        """Add the evaluations of a matched control's neighbour, whose neurons its search chooses too."""
        neighbour = replace(control, is_neighbour=True)
        run = condition_run(self._spec, model, neighbour)
        self._evaluate_all(model, neighbour, self._benchmarks_of(neighbour), run)
        return neighbour

    def _benchmarks_of(self, condition: Condition) -> list[Benchmark]:
        """The benchmarks that a condition is scored on."""
        only = condition.spec.evaluate
        return [benchmark for benchmark in self._study.benchmarks if only is None or benchmark.name in only]

    def _add_neurons(self, model: ResolvedModel, condition: Condition) -> str:
        """Add the step that makes a condition's neuron set; returns its id."""
        spec = condition.spec
        inputs = {"profile": self._profiles[model.label]}
        if spec.match is not None:
            perplexity = self._study.perplexity
            assert perplexity is not None, "the study file is refused without it"
            inputs |= {
                "treated": self._neuron_sets[model.label][condition.reference],
                "baseline_perplexity": self.evaluations[model.label, BASELINE][perplexity.name],
                "treated_perplexity": self.evaluations[model.label, condition.reference][perplexity.name],
            }
            treated = self._spec.conditions[spec.match.perplexity_of].clamp
            params = match.params(spec, spec.match, treated=treated, with_neighbour=condition.has_neighbour)
            work = match.EXPECTED_EVALUATIONS * self._tokens[perplexity.name]
            about = {"condition": condition.name, "work": work, "group": f"match {condition.name}"}
            return self._add(match.KIND, model, params, inputs, **about)
        if spec.like is not None:
            inputs["like"] = self._neuron_sets[model.label][condition.reference]
        params = select.params(
            spec,
            layers=condition.layers(spec),
            fraction=None if spec.like else condition.dose or _single_fraction(spec),
            seed=condition.seed,
            scoring=self._spec.scoring,
            explicit=self._study.neuron_sets.get(condition.base),
        )
        return self._add(select.KIND, model, params, inputs, condition=condition.name)

    def _evaluate_all(
        self, model: ResolvedModel, condition: Condition | Baseline, benchmarks: Sequence[Benchmark], run: RunKey
    ) -> None:
        """Add one evaluate step per benchmark."""
        self.evaluations[model.label, condition.name] = {
            benchmark.name: self._evaluate(model, condition, benchmark, run) for benchmark in benchmarks
        }

    def _evaluate(
        self,
        model: ResolvedModel,
        condition: Condition | Baseline,
        benchmark: Benchmark,
        run: RunKey,
        noise_floor: bool = False,
    ) -> str:
        clamp, digest = condition.clamp, self._digests[benchmark.name]
        params = evaluate.params(benchmark, digest=digest, model=model.spec, clamp=clamp, noise_floor=noise_floor)
        inputs = {condition.role_of_neurons: condition.neurons} if condition.neurons else {}
        if clamp is not None and clamp.values_from:
            inputs["profile"] = self._profiles[model.label]
        word = evaluate.NOISE_FLOOR_STEP if noise_floor else "evaluate"
        step = self._add(
            evaluate.KIND,
            model,
            params,
            inputs,
            name=f"{word}.{benchmark.name}",
            condition=condition.name,
            work=self._tokens[benchmark.name],
            group=f"{word} {benchmark.name}",
        )
        self._record_on(step, run)
        return step

    def _add(
        self, kind: StepKind, model: ResolvedModel, params: Mapping[str, Any], inputs: Mapping[str, str], **about: Any
    ) -> str:
        """Add a step; `about` are further fields of `Step`. Returns its id."""
        payload = kind.payload(model.digest, params, inputs)
        about = {"name": kind.name, "condition": "", **about}
        step = Step(id=identify(payload), kind=kind, model=model.label, payload=payload, inputs=inputs, **about)
        self.steps.setdefault(step.id, step)
        return step.id

    def _record_on(self, step: str, key: RunKey) -> None:
        self.runs.setdefault(step, {})[key.name] = key


def _single_fraction(spec: ConditionSpec) -> float | None:
    """The fraction of a condition that has one fraction."""
    return None if isinstance(spec.fraction, tuple) else spec.fraction
