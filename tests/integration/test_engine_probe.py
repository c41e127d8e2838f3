"""The engine probe on real vLLM: every family passes, and an engine that lacks one field of config.json does not.

A field is dropped on the engine's side alone: vLLM loads a folder whose config.json has the family's default in its
place, with the same weights, as if vLLM had no code for the field.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import halfwave
from actors.hf_model import load_model
from actors.messages.model import ModelSource
from actors.messages.probe import Probed
from actors.probe import reference
from actors.sites import SITES
from actors.tokens import load_tokenizer
from orchestrator.execution import pool
from orchestrator.execution.engine_proofs import Verdict, compare
from orchestrator.steps.step import Role, State
from orchestrator.study import Study
from tests import oracles
from tests.integration import made_up
from tests.processes import one_process
from tests.sources import source_of
from tests.tiers import first_tier

Call = Callable[..., Any]


class Field(NamedTuple):
    """A field of config.json that changes a model's numbers."""

    name: str
    value: Any
    """In the model."""
    default: Any
    """In the engine, which ignores the model's value."""


LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
PHI = {**PLAIN, "partial_rotary_factor": 0.5}

DROPPED = {
    "llama": Field("rope_parameters", LINEAR, PLAIN),
    "mistral": Field("sliding_window", 8, None),
    "qwen2": Field("rope_parameters", {**PLAIN, "rope_theta": 100.0}, PLAIN),
    "qwen3": Field("rms_norm_eps", 1e-1, 1e-6),
    "gemma3_text": Field("query_pre_attn_scalar", 8, 256),
    "gpt_neox": Field("use_parallel_residual", False, True),
    "opt": Field("activation_function", "gelu", "relu"),
    "gpt2": Field("activation_function", "relu", "gelu_new"),
    "phi": Field("rope_parameters", {**PHI, "partial_rotary_factor": 1.0}, PHI),
    "olmo2": Field("rms_norm_eps", 1e-1, 1e-5),
    "bloom": Field("apply_residual_connection_post_layernorm", True, False),
}


@pytest.fixture(scope="module")
def engines() -> Iterator[Call]:
    """One process for all engines: importing vLLM takes longer than starting an engine."""
    with one_process(timeout=300) as call:
        yield call


def probe(source: ModelSource) -> Probed:
    """In the engine's process: the probe under a fresh engine."""
    from actors.ablation.actor import AblationActor

    actor = AblationActor(source)
    try:
        opened = actor.opened()
        assert opened.probe is not None
        return opened.probe
    finally:
        actor.close()


def verdict(call: Call, folder: Path, dtype: str, engine_folder: Path | None = None) -> Verdict:
    """Of an engine of the model in `folder`; engine_folder: what vLLM loads instead."""
    source = source_of(folder, dtype=dtype)
    expected = reference(load_model(source), source, load_tokenizer(source))
    return compare(call(probe, source_of(engine_folder or folder, dtype=dtype)), expected)


def without(field: Field, folder: Path, copy: Path) -> Path:
    """A copy of the model in which the field has the default that the engine takes."""
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    assert config[field.name] == field.value
    (copy / "config.json").write_text(json.dumps({**config, field.name: field.default}))
    return copy


def test_a_field_of_every_family_is_dropped() -> None:
    assert set(DROPPED) == set(SITES)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", first_tier(sorted(SITES), ["llama", "gpt2"]))
def test_a_dropped_field_is_refused(family: str, dtype: str, tmp_path: Path, engines: Call) -> None:
    field = DROPPED[family]
    folder = oracles.make_model(tmp_path / family, family, **{field.name: field.value})
    right = verdict(engines, folder, dtype)
    assert right.refusal == "", right
    wrong = verdict(engines, folder, dtype, without(field, folder, tmp_path / "without" / family))
    print(
        f"{family} {dtype}: {right.difference:.2g} ({right.tolerance:.2g}); without {field.name} {wrong.difference:.2g}"
    )
    assert "vLLM and Transformers differ by" in wrong.refusal


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_vllm_has_no_code_for_is_refused(dtype: str, tmp_path: Path, engines: Call) -> None:
    """vLLM's GPT-2 always scales attention weights: on the model of case 14 it is wrong by nats, without an error."""
    folder = oracles.make_model(tmp_path / "gpt2", "gpt2", scale_attn_weights=False)
    assert verdict(engines, folder, dtype).difference > 0.1


STUDY = """\
study: probed
models:
  - {{path: {root}/llama}}
  - {{path: {root}/other}}
profile: {{corpus: {root}/text.txt, tokens: 2000, window: 64, bins: 256, scores: [wasserstein_distance]}}
conditions:
  top: {{select: top, fraction: 0.1, clamp: negative}}
evaluate:
  - pairs: {root}/pairs.jsonl
noise_floor: false
"""


@pytest.mark.long
def test_a_study_records_nothing_of_an_engine_that_computes_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_process_outlives_its_driver: None
) -> None:
    """And the other model goes on; run again, nothing of the refused one is served."""
    folder = oracles.make_model(tmp_path / "llama", "llama", rope_parameters=LINEAR)
    without(DROPPED["llama"], folder, tmp_path / "llama-without-it")
    oracles.make_model(tmp_path / "other", "llama", seed=1)
    made_up.write_text_and_pairs(tmp_path, made_up.phrases(), num_pairs=12)
    study_file = made_up.write_study(tmp_path, "probed.yaml", STUDY)
    monkeypatch.setitem(pool.ACTOR_CLASSES, Role.ABLATION, "tests.failing:Forgetful")
    for run in ("first", "second"):
        study = Study.open(study_file, workdir=tmp_path / "work")
        result = study.run()
        ends = {(step.model, step.name, result.states[step.id]) for step in study.plan.steps.values()}
        done = State.DONE if run == "first" else State.CACHED
        assert ends == {
            ("llama", "profile", done),
            ("llama", "select", done),
            ("llama", "evaluate.pairs", State.FAILED),
            ("other", "profile", done),
            ("other", "select", done),
            ("other", "evaluate.pairs", done),
        }
        reasons = {result.reasons[step] for step, state in result.states.items() if state is State.FAILED}
        assert len(reasons) == 1 and next(iter(reasons)).startswith("llama: vLLM and Transformers differ by ")
    recorded = halfwave.load(f"sqlite:///{tmp_path}/work/mlflow.db", "probed").conditions
    assert "pairs/accuracy" not in recorded or recorded.set_index("model")["pairs/accuracy"].drop("other").isna().all()
