"""The ablation actor on vLLM's V2 model runner, which GPUs use, through Triton's interpreter.

The actor proves its routes there as everywhere, the flat one by V2's own `prompt_logprobs`; log-probabilities, clamped
and not, equal raw Transformers hooks.
"""

import glob
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.messages.ablation import EvaluateRequest, Scored
from actors.messages.model import ModelSource
from studies.benchmarks.texts import Sentences
from tests import oracles
from tests.integration.test_families import (
    TOLERANCE,
    ablate,
    as_message,
    forest,
    intervention,
    oracle_sums,
    sweep_and_alone,
)
from tests.processes import one_process
from tests.sources import source_of
from tests.startup.sitecustomize import CHANGES, NOTED, STARTUP

NAMES = ("baseline", "negative", "zero")
Call = Callable[..., Any]


def on_v2(ranks: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """In a fresh process: call a function with vLLM on this runner, in so many processes, and in its attention with
    Triton where that is set."""
    answer = function(*arguments)
    from vllm.platforms import cpu
    from vllm.triton_utils import HAS_TRITON

    assert HAS_TRITON
    assert len(glob.glob(f"{os.environ[NOTED]}-*")) == ranks, "the V2 runner was not used"
    assert hasattr(cpu, "chosen") == ("triton_attention" in os.environ[CHANGES])
    assert not hasattr(cpu, "chosen") or cpu.chosen, "another attention was chosen"
    return answer


@pytest.fixture
def own_process(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Call]:
    """A process in which vLLM takes this runner, and so do the workers that it starts."""
    attention = ",triton_attention" if "Triton attention" in request.node.name else ""
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # Triton reads it as it is imported, which torch does
    monkeypatch.setenv("VLLM_USE_V2_MODEL_RUNNER", "1")
    monkeypatch.setenv(CHANGES, f"interpreted_triton,noted_v2_runner{attention}")
    monkeypatch.setenv(NOTED, str(tmp_path / "v2"))
    ranks = 2 if "two ranks" in request.node.name else 1
    monkeypatch.setenv("PYTHONPATH", STARTUP)
    with one_process(timeout=500) as call:
        yield lambda *arguments: call(on_v2, ranks, *arguments)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "family",
    [
        pytest.param("llama", id="llama"),
        pytest.param("llama", id="llama, Triton attention", marks=pytest.mark.long),
        pytest.param("gemma3_text", id="sliding windows", marks=pytest.mark.long),
        pytest.param("gpt_neox", id="gpt_neox", marks=pytest.mark.long),
    ],
)
def test_log_probabilities_equal_raw_transformers(family: str, tmp_path: Path, own_process: Call) -> None:
    folder, texts = oracles.make_model(tmp_path / family, family), forest(count=8)
    outcome = own_process(ablate, source_of(folder), texts, NAMES)
    assert outcome["route"] == "tree" and outcome["probe"] < TOLERANCE
    for name, expected in oracle_sums(folder, texts, NAMES).items():
        np.testing.assert_allclose(outcome["sums"][name], expected, atol=TOLERANCE, rtol=0)
    np.testing.assert_array_equal(outcome["sums"]["baseline again"], outcome["sums"]["baseline"])
    assert np.abs(outcome["sums"]["negative"] - outcome["sums"]["baseline"]).max() > 0.01


@pytest.mark.long
@pytest.mark.timeout(600)
def test_conditions_that_share_layers_equal_separate_passes_to_the_last_bit(tmp_path: Path, own_process: Call) -> None:
    folder = oracles.make_model(tmp_path / "llama", "llama")
    together, alone, (passes, ideal, whole) = own_process(sweep_and_alone, source_of(folder), forest(count=8))
    for name, sums in together.items():
        np.testing.assert_array_equal(sums, alone[name])
    assert passes == ideal < whole


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"route": "flat"}, id="flat route"),
        pytest.param(
            {"route": "flat", "engine": {"max_num_batched_tokens": 16, "max_num_seqs": 4}}, id="flat route in steps"
        ),
        pytest.param({"tensor_parallel": 2}, id="two ranks"),
    ],
)
def test_other_ways_equal_raw_transformers(fields: dict[str, Any], tmp_path: Path, own_process: Call) -> None:
    """The flat route is V2's own `prompt_logprobs`, of which faults are known (vllm #44106)."""
    folder, texts = oracles.make_model(tmp_path / "llama", "llama"), forest(count=8)
    outcome = own_process(ablate, source_of(folder, **fields), texts, NAMES)
    assert outcome["route"] == fields.get("route", "tree")
    for name, expected in oracle_sums(folder, texts, NAMES).items():
        np.testing.assert_allclose(outcome["sums"][name], expected, atol=TOLERANCE, rtol=0)
    assert np.abs(outcome["sums"]["negative"] - outcome["sums"]["baseline"]).max() > 0.01


def reload_and_score(before: ModelSource, after: ModelSource, texts: tuple[str, ...]) -> tuple[Any, str]:
    """In the engine's process: ({intervention: sums} of the second checkpoint, why it got an engine of its own)."""
    from actors.ablation.actor import AblationActor

    actor = AblationActor(before)
    actor.reload(after)
    interventions = {name: as_message(**intervention(name, after.num_layers, after.d_mlp)) for name in NAMES}
    request = EvaluateRequest(benchmark="forest", texts=Sentences(texts=texts), interventions=interventions)
    sums = {scored.step: scored.sums for scored in actor.evaluate(request) if isinstance(scored, Scored)}
    refused = actor.facts().reload_refused
    actor.close()
    return sums, refused


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_checkpoint_loaded_into_the_engine_of_another_equals_raw_transformers(
    tmp_path: Path, own_process: Call
) -> None:
    before, after = (oracles.make_model(tmp_path / f"llama-{seed}", "llama", seed=seed) for seed in range(2))
    texts = forest(count=8)
    sums, refused = own_process(reload_and_score, source_of(before), source_of(after), texts)
    assert refused == ""
    for name, expected in oracle_sums(after, texts, NAMES).items():
        np.testing.assert_allclose(sums[name], expected, atol=TOLERANCE, rtol=0)
