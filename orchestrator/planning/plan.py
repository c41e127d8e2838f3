"""Resolved study -> DAG of frozen steps, runs, and what each will cost.

Owns the expansion of conditions (seeds, controls), what enters each step's identity, which conditions do not apply to
ReLU models, and how much work a step is. Pure: no Ray, no MLflow. Steps with equal ids collapse, so that baselines are
shared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from orchestrator.planning.conditions import NOISE_FLOOR, Condition, _layers, _not_applicable, layer_variants
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.resolve import ResolvedStudy
from orchestrator.planning.run_keys import _run_key
from orchestrator.record.keys import Committed, RunKey
from orchestrator.steps.identity import identify
from orchestrator.steps.step import BASELINE, KINDS, Step
from orchestrator.study_file.spec import ConditionSpec
from studies.benchmarks.choices import ChoiceBenchmark
from studies.benchmarks.lm_eval import TaskBenchmark
from studies.benchmarks.minimal_pairs import PairBenchmark
from studies.benchmarks.perplexity import PerplexityBenchmark
from studies.benchmarks.protocol import Benchmark
from studies.benchmarks.surprisal import SurprisalBenchmark
from studies.neurons.layer_groups import layer_ranges

PAIR_BLOCK_WINDOWS = 16
EXAMPLE_TOKENS = 16_384
"""Tokens of the scoring text that an examples step looks at, at most."""
NOISE_PACK_NODES = 160
"""Pack size of the noise floor's other pack plan; the default one on no device."""
CHARACTERS_PER_TOKEN = 4.5
"""Of English under the tokenizers of this field; only estimates depend on it."""
_HARMLESS_ENGINE_OPTIONS = {
    "gpu_memory_utilization",
    "kv_cache_memory_bytes",
    "max_model_len",
    "max_num_batched_tokens",
    "max_num_seqs",
}
"""Engine options that do not change a number; any other enters the identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All steps in topological order, and the MLflow run of each."""

    study: ResolvedStudy
    steps: Mapping[str, Step]
    runs: Mapping[str, tuple[RunKey, ...]]
    """{step id: the runs it is recorded on}; more than one where equal conditions collapse into one step."""
    evaluations: Mapping[tuple[str, str], Mapping[str, str]]
    """{(model, condition): {benchmark: step id}}; the condition `NOISE_FLOOR` is the baseline on another pack plan."""
    conditions: Mapping[str, tuple[Condition, ...]]
    """{model label: its conditions, the baseline first}."""

    def metrics(self, model: str, condition: str, committed: Mapping[str, Committed]) -> dict[str, float]:
        """Every metric that the finished evaluations of a condition recorded."""
        steps = self.evaluations.get((model, condition), {}).values()
        return {name: value for step in steps if step in committed for name, value in committed[step].metrics.items()}

    @property
    def series(self) -> dict[str, list[ResolvedModel]]:
        """{series: its checkpoints, in the order of training}."""
        found: dict[str, list[ResolvedModel]] = {}
        for model in self.study.models:
            if model.checkpoint is not None:
                found.setdefault(model.checkpoint.series, []).append(model)
        return found

    def model(self, label: str) -> ResolvedModel:
        return next(model for model in self.study.models if model.label == label)

    def benchmark(self, name: str) -> Benchmark:
        return next(benchmark for benchmark in self.study.benchmarks if benchmark.name == name)


def build_plan(study: ResolvedStudy) -> Plan:
    """Expand a resolved study. Raises StudyError only through what `resolve` left to check: nothing here."""
    builder = _Builder(study)
    for model in sorted(study.models, key=lambda model: not model.selects_itself):
        builder.add_model(model)
    runs = {step: tuple(keys.values()) for step, keys in builder.runs.items()}
    return Plan(
        study=study,
        steps=builder.steps,
        runs=runs,
        evaluations=builder.evaluations,
        conditions=builder.conditions,
    )


class _Builder:
    def __init__(self, study: ResolvedStudy):
        self._study = study
        # Once: thousands of steps ask for them, and each reads every text of a benchmark.
        self._digests = {benchmark.name: benchmark.digest for benchmark in study.benchmarks}
        self._works = {benchmark.name: _work(benchmark) for benchmark in study.benchmarks}
        self._corpus = study.corpus.digest
        self._profiles: dict[str, str] = {}
        self._sets: dict[str, dict[str, str]] = {}
        self.steps: dict[str, Step] = {}
        self.runs: dict[str, dict[str, RunKey]] = {}
        self.evaluations: dict[tuple[str, str], dict[str, str]] = {}
        self.conditions: dict[str, tuple[Condition, ...]] = {}

    def add_model(self, model: ResolvedModel) -> None:
        spec = self._study.spec
        profile = self._add("profile", "profile", model, "", self._profile_params(model), {}, work=self._profile_work())
        self._profiles[model.label] = profile
        of_profile = _run_key("profile", model, "", identity=profile, params={})
        self._record_on(profile, of_profile)
        if spec.profile.examples:
            params, inputs = self._examples_params(model), {"profile": profile}
            work = min(self._profile_work(), EXAMPLE_TOKENS)
            examples = self._add("examples", "examples", model, "", params, inputs, work=work)
            self._record_on(examples, of_profile)
        if model.checkpoint is not None and model.checkpoint.before is not None:
            self._record_on(self._weights(model), of_profile)
        baseline = Condition(name=BASELINE, base=BASELINE, spec=None)
        of_baseline = self._condition_run(model, baseline)
        evaluated = {BASELINE: self._evaluate_all(model, baseline, of_baseline)}
        if spec.noise_floor:
            benchmarks = self._study.benchmarks
            floor = {b.name: self._evaluate(model, baseline, b, "noise_floor", of_baseline) for b in benchmarks}
            self.evaluations[model.label, NOISE_FLOOR] = floor
        conditions, sets = [baseline], self._sets.setdefault(model.label, {})
        # A control refers to another condition's neuron set, so those that others refer to come first.
        referred = {c.reference for c in spec.conditions.values()}
        for name in sorted(spec.conditions, key=lambda name: name not in referred):
            condition = spec.conditions[name]
            if reason := _not_applicable(model, spec.conditions, condition):
                conditions.append(Condition(name=name, base=name, spec=condition, not_applicable=reason))
                continue
            confined = spec.conditions[condition.reference] if condition.reference else condition
            for group, dose in product(
                layer_variants(confined, model.architecture.num_layers), confined.doses or (None,)
            ):
                place = "" if group is None else f"/layers={group.name}"
                place += "" if dose is None else f"/fraction={dose:g}"
                for seed in condition.seeds if condition.select == "random" else (None,):
                    expanded = Condition(
                        name=name + place + ("" if seed is None else f"/seed={seed}"),
                        base=name,
                        spec=condition,
                        seed=seed,
                        group=group,
                        dose=dose,
                        reference=condition.reference + place if condition.reference else "",
                    )
                    if model.selects_itself:
                        neurons = self._neurons(model, expanded, profile, sets, evaluated)
                    else:
                        neurons = self._sets[model.checkpoint.cohort][expanded.name]
                    expanded = replace(expanded, neurons=neurons)
                    sets[expanded.name] = neurons
                    run = self._condition_run(model, expanded)
                    self._record_on(neurons, run)
                    evaluated[expanded.name] = self._evaluate_all(model, expanded, run)
                    conditions.append(expanded)
        order = [BASELINE, *spec.conditions]
        self.conditions[model.label] = tuple(sorted(conditions, key=lambda condition: order.index(condition.base)))

    def _weights(self, model: ResolvedModel) -> str:
        """Add the step that compares a checkpoint's weights with those of the one before; returns its id."""
        before = next(one for one in self._study.models if one.label == model.checkpoint.before)
        params = {"before": before.digest, "dtype": model.spec.dtype}
        return self._add("weights", "weights", model, "", params, {})

    def _neurons(self, model: ResolvedModel, expanded: Condition, profile: str, sets, evaluated) -> str:
        """Add the step that makes this condition's neuron set; returns its id."""
        condition, full_name = expanded.spec, expanded.name
        if condition.match is not None:
            inputs = {
                "profile": profile,
                "treated": sets[expanded.reference],
                "baseline_perplexity": evaluated[BASELINE]["perplexity"],
                "treated_perplexity": evaluated[expanded.reference]["perplexity"],
            }
            params = {
                "score": condition.score,
                "clamp": _clamp(condition),
                "within": condition.match.within,
                "within_rise": condition.match.within_rise,
                "evaluations": condition.match.evaluations,
            }
            work = self._works["perplexity"] * 6
            return self._add("match", "match", model, full_name, params, inputs, work=work, group=f"match {full_name}")
        layers = _layers(expanded, condition)
        fraction = None if condition.like else expanded.dose or condition.fraction
        params = {"select": condition.select, "layers": list(layers) if layers else None}
        inputs = {"profile": profile}
        if condition.select in ("top", "bottom"):
            rule = self._study.spec.scoring["rule"] if condition.select == "top" else "rank"
            params |= {"score": condition.score, "fraction": fraction, "rule": rule}
        elif condition.select == "random":
            disjoint = self._study.spec.scoring["disjoint"] if condition.disjoint is None else condition.disjoint
            params |= {
                "fraction": fraction,
                "seed": expanded.seed,
                "disjoint": disjoint and condition.like is not None,
            }
            if condition.like is not None:
                inputs["like"] = sets[expanded.reference]
                params["layers"] = None  # those of the set it is like
        else:
            params["neurons"] = self._study.neuron_sets[expanded.base].digest
        return self._add("select", "select", model, full_name, params, inputs)

    def _evaluate_all(self, model: ResolvedModel, condition: Condition, run: RunKey) -> dict[str, str]:
        """Add one evaluate step a benchmark that the condition is scored on; returns {benchmark: step id}."""
        only = condition.spec.evaluate if condition.spec else None
        chosen = [b for b in self._study.benchmarks if only is None or b.name in only]
        ids = {b.name: self._evaluate(model, condition, b, "evaluate", run) for b in chosen}
        self.evaluations[model.label, condition.name] = ids
        return ids

    def _record_on(self, step: str, key: RunKey) -> None:
        self.runs.setdefault(step, {})[key.name] = key

    def _evaluate(
        self, model: ResolvedModel, condition: Condition, benchmark: Benchmark, name: str, run: RunKey
    ) -> str:
        params = {
            "benchmark": benchmark.name,
            "digest": self._digests[benchmark.name],
            "dtype": model.spec.dtype,
            "clamp": _clamp(condition.spec) if condition.spec else None,
            "engine": {k: v for k, v in model.spec.engine.items() if k not in _HARMLESS_ENGINE_OPTIONS},
            "route": model.spec.route,
        }
        if isinstance(benchmark, PerplexityBenchmark):
            params |= {"window": benchmark.window, "tokens": benchmark.num_tokens}
        if isinstance(benchmark, SurprisalBenchmark):
            params |= {"window": benchmark.window, "stride": benchmark.stride}
        if name == "noise_floor":
            # Two windows a pack instead of one; small packs of sentences instead of large ones.
            windows = isinstance(benchmark, PerplexityBenchmark | SurprisalBenchmark)
            params["pack_nodes"] = 2 * benchmark.window if windows else NOISE_PACK_NODES
        inputs = {"neurons": condition.neurons} if condition.neurons else {}
        if condition.spec and condition.spec.clamp.from_profile:
            inputs["profile"] = self._profiles[model.label]
        step = self._add(
            "evaluate",
            f"{name}.{benchmark.name}",
            model,
            condition.name,
            params,
            inputs,
            work=self._works[benchmark.name],
            group=f"{name} {benchmark.name}",
        )
        self._record_on(step, run)
        return step

    def _add(self, kind, name, model, condition, params, inputs, *, work=0.0, group="") -> str:
        payload = {
            "kind": kind,
            "version": KINDS[kind].version,
            "model": model.digest,
            "params": params,
            "inputs": inputs,
        }
        step = Step(
            id=identify(payload),
            kind=kind,
            name=name,
            model=model.label,
            condition=condition,
            payload=payload,
            inputs=inputs,
            group=group,
            work=work,
        )
        self.steps.setdefault(step.id, step)
        return step.id

    def _condition_run(self, model: ResolvedModel, condition: Condition) -> RunKey:
        spec = condition.spec
        identity = identify(
            {
                "model": model.digest,
                "dtype": model.spec.dtype,
                "neurons": condition.neurons,
                "clamp": _clamp(spec) if spec else None,
            }
        )
        selection, score, fraction, source = "none", "", "", spec
        if spec is not None:
            selection = spec.select if spec.match is None else f"bottom, matched to {spec.match.perplexity_of}"
            score = spec.score if spec.select in ("top", "bottom") else ""
            source = self._study.spec.conditions[spec.reference] if spec.reference else spec
            share = condition.dose or source.fraction
            fraction = "" if spec.match or share is None else f"{share:g}"
        layers = _layers(condition, source)
        return _run_key(
            "condition",
            model,
            condition.name,
            identity=identity,
            params={
                "condition": condition.name,
                "selection": selection,
                "score": score,
                "fraction": fraction,
                "intervention": spec.clamp.display if spec else "none",
                "layers": "all" if layers is None else layer_ranges(layers),
                "schedule": condition.group.schedule if condition.group else "",
                "seed": "" if condition.seed is None else str(condition.seed),
            },
        )

    def _profile_params(self, model: ResolvedModel) -> dict[str, Any]:
        profile = self._study.spec.profile
        return {
            "corpus": self._corpus,
            "dtype": model.spec.dtype,
            "tokens": profile.tokens,
            "window": profile.window,
            "stride": profile.stride or profile.window,
            "skip_first": profile.skip_first,
            "bins": profile.bins,
            "calibration_windows": profile.calibration_windows,
            "pairs": profile.pairs if "mapping_difficulty" in profile.scores else 0,
            "pair_scope": profile.pair_scope,
            "seed": profile.seed,
        }

    def _examples_params(self, model: ResolvedModel) -> dict[str, Any]:
        profile = self._profile_params(model)
        same = {name: profile[name] for name in ("corpus", "dtype", "window", "stride", "skip_first", "seed")}
        tokens = min(profile["tokens"], EXAMPLE_TOKENS)
        return {**same, "tokens": tokens, "neurons": self._study.spec.profile.examples}

    def _profile_work(self) -> float:
        profile = self._study.spec.profile
        tokens = min(profile.tokens, len(self._study.corpus.text) / CHARACTERS_PER_TOKEN)
        return tokens + profile.calibration_windows * profile.window


def _work(benchmark: Benchmark) -> float:
    """Estimated tokens of a benchmark."""
    match benchmark:
        case PerplexityBenchmark():
            total = len(benchmark.corpus.text) / CHARACTERS_PER_TOKEN
            return min(total, benchmark.num_tokens or total)
        case PairBenchmark():
            return sum(map(len, benchmark.texts)) / CHARACTERS_PER_TOKEN
        case SurprisalBenchmark():
            return sum(map(len, benchmark.documents)) / CHARACTERS_PER_TOKEN
        case ChoiceBenchmark() | TaskBenchmark():
            texts = sum(map(len, benchmark.contexts)) + sum(map(len, benchmark.continuations))
            return texts / CHARACTERS_PER_TOKEN


def _clamp(condition: ConditionSpec) -> dict[str, Any]:
    clamp = condition.clamp
    if clamp.kind != "clamp":
        return {"kind": clamp.kind}
    bounds = {"floor": clamp.floor, "ceiling": clamp.ceiling}
    return {side: float(value) for side, value in bounds.items() if value is not None}
