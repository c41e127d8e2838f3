"""Studies made by hand and their plans: no files, no models."""

from dataclasses import replace
from typing import Any

from actors.sites import Architecture
from orchestrator.planning.models import Checkpoint, ResolvedModel
from orchestrator.planning.plan import Plan, build_plan
from orchestrator.planning.resolve import ResolvedStudy
from orchestrator.study_file.load import parse_spec
from orchestrator.study_file.models import ModelSpec
from studies.benchmarks.choices import ChoiceBenchmark, Item
from studies.benchmarks.corpora import Corpus
from studies.benchmarks.minimal_pairs import Pair, PairBenchmark
from studies.benchmarks.perplexity import PerplexityBenchmark
from studies.benchmarks.protocol import Benchmark
from studies.neurons.selection import NeuronSet

STUDY = """\
study: by-hand
models: [org/a]
profile: {tokens: 4096, window: 128}
conditions:
  treated: {select: top, fraction: 0.1, clamp: negative}
  random: {select: random, like: treated, seeds: [0, 1], clamp: negative}
  matched: {select: bottom, match: {perplexity_of: treated}, clamp: negative}
evaluate: [perplexity, embedded_pairs, embedded_knowledge]
"""
TRAIN = Corpus(label="train", text="a text to score " * 100, source="by hand")
VALIDATION = Corpus(label="validation", text="another text " * 100, source="by hand")
PAIR = Pair("simple", "agreement", "0", "She runs.", "She run.")
ITEM = Item("0", "The sky is", ("blue", "square"), 0)
BENCHMARKS = (
    PerplexityBenchmark(corpus=VALIDATION, window=128, num_tokens=2048),
    PairBenchmark(name="embedded_pairs", label="embedded minimal pairs", pairs=(PAIR,)),
    ChoiceBenchmark(name="embedded_knowledge", label="embedded knowledge", items=(ITEM,)),
)
SILU = Architecture(
    family="llama", num_layers=2, d_mlp=64, d_model=32, activation="silu", context=256, vocabulary=300
)  # fmt: skip
RELU = replace(SILU, family="opt", activation="relu")


def model(
    label: str = "a", *, digest: str = "d1", architecture: Architecture = SILU, path: str = "/somewhere/a",
    note: str = "", **spec: Any,
) -> ResolvedModel:  # fmt: skip
    """A local model without files, in float32 unless `spec` says otherwise."""
    return ResolvedModel(
        spec=ModelSpec(name=f"org/{label}", **{"dtype": "float32", **spec}),
        label=label,
        path=path,
        revision=None,
        digest=digest,
        architecture=architecture,
        num_parameters=1000,
        note=note,
    )


def study(
    text: str = STUDY, models: list[ResolvedModel] | None = None, benchmarks: tuple[Benchmark, ...] = BENCHMARKS,
    corpus: Corpus = TRAIN, neuron_sets: dict[str, NeuronSet] | None = None,
) -> ResolvedStudy:  # fmt: skip
    """A resolved study."""
    spec, located = parse_spec(text, "by-hand.yaml")
    return ResolvedStudy(
        spec=spec,
        located=located,
        models=tuple(models or [model()]),
        corpus=corpus,
        benchmarks=benchmarks,
        neuron_sets=neuron_sets or {},
    )


CLOSER = "profile: {tokens: 4096, window: 128, examples: 4}"


def plan(text: str = STUDY, **parts: Any) -> Plan:
    """The plan of a study; `parts` as in `study`."""
    return build_plan(study(text, **parts))


def closer() -> Plan:
    """The study with examples: every kind of step but weights."""
    return plan(changed("profile: {tokens: 4096, window: 128}", CLOSER))


def changed(old: str, new: str) -> str:
    """The study file with one text in place of another."""
    assert STUDY.count(old) == 1, old
    return STUDY.replace(old, new)


def step_id(found: Plan, name: str, condition: str, model: str = "a") -> str:
    """The id of a step by its name."""
    (step,) = [s for s in found.steps.values() if (s.name, s.condition, s.model) == (name, condition, model)]
    return step.id


TRAINING = STUDY.replace(
    "models: [org/a]", "checkpoints: {of: org/m, revisions: [step0, step10, step50], cohort: step10}"
)


def checkpoint(step: int, before: int | None) -> ResolvedModel:
    """A checkpoint of the series `m`."""
    place = Checkpoint(series="m", step=step, cohort="m@step10", before=None if before is None else f"m@step{before}")
    return replace(model(f"m@step{step}", digest=f"d{step}"), checkpoint=place)


def training(text: str = TRAINING, **parts: Any) -> Plan:
    """The plan of a series of three checkpoints."""
    return plan(text, models=[checkpoint(0, None), checkpoint(10, 0), checkpoint(50, 10)], **parts)


def ids(found: Plan) -> set[str]:
    """The ids of all steps."""
    return set(found.steps)
