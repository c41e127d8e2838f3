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

from actors.hf_model import load_model
from actors.messages.model import ModelSource
from actors.messages.probe import Probed
from actors.probe import reference
from actors.sites import SITES
from actors.tokens import load_tokenizer
from orchestrator.execution.engine_proofs import Verdict, compare
from tests import oracles
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


def test_a_field_of_every_family_is_dropped() -> None:
    assert set(DROPPED) == set(SITES)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", first_tier(sorted(SITES), ["llama", "gpt2", "gpt_neox"]))
def test_a_dropped_field_is_refused(family: str, dtype: str, tmp_path: Path, engines: Call) -> None:
    field = DROPPED[family]
    folder = oracles.make_model(tmp_path / family, family, **{field.name: field.value})
    right = verdict(engines, folder, dtype)
    assert right.refusal == "", right
    ignoring = shutil.copytree(folder, tmp_path / "ignoring" / family)
    config = json.loads((ignoring / "config.json").read_text())
    assert config[field.name] == field.value
    (ignoring / "config.json").write_text(json.dumps({**config, field.name: field.default}))
    wrong = verdict(engines, folder, dtype, ignoring)
    print(
        f"{family} {dtype}: {right.difference:.2g} ({right.tolerance:.2g}); without {field.name} {wrong.difference:.2g}"
    )
    assert "vLLM and Transformers differ by" in wrong.refusal


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_vllm_has_no_code_for_is_refused(dtype: str, tmp_path: Path, engines: Call) -> None:
    """vLLM's GPT-2 always scales attention weights: on the model of case 14 it is wrong by nats, without an error."""
    folder = oracles.make_model(tmp_path / "gpt2", "gpt2", scale_attn_weights=False)
    assert verdict(engines, folder, dtype).difference > 0.1
