"""One engine for many checkpoints: a reloaded engine answers, to the last bit, as a fresh one, or is replaced by one.

Real vLLM on a CPU, every family, random weights of two seeds; and real checkpoints of one training run, if present.
"""

import dataclasses
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from actors.messages.ablation import EvaluateRequest, Scored
from actors.messages.model import ModelSource
from actors.sites import SITES
from studies.benchmarks.texts import Sentences, Windows
from studies.errors import StudyError
from tests import oracles
from tests.conftest import ROOT
from tests.integration.test_families import as_message, forest, intervention, profile_request
from tests.processes import one_process
from tests.sources import source_of
from tests.tiers import first_tier

CHECKPOINTS = ROOT / ".." / "shared" / "models" / "gpt-neox-mini"
NAMES = ("baseline", "negative")
Call = Callable[..., Any]
"""call(function, *arguments) in another process."""
Weights = Iterable[tuple[str, Tensor]]


@pytest.fixture(scope="module")
def engines() -> Iterator[Call]:
    """One process for all single-rank engines of this module: importing vLLM takes longer than starting an engine."""
    with one_process(timeout=500) as call:
        yield call


@pytest.fixture
def own_process() -> Iterator[Call]:
    """A process for one engine only."""
    with one_process(timeout=500) as call:
        yield call


def two_seeds(folder: Path, family: str, **fields: Any) -> list[ModelSource]:
    """Two random models of one architecture."""
    return [source_of(oracles.make_model(folder / f"{family}-{i}", family, seed=i, **fields)) for i in range(2)]


@contextmanager
def watched() -> Iterator[tuple[list[str], list[str]]]:
    """([labels of started engines], [warnings]) of this process."""
    from actors.ablation import actor as ablation

    started: list[str] = []
    warnings: list[str] = []
    start, handler = ablation.Engine, logging.Handler()
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    ablation.log.addHandler(handler)
    ablation.Engine = lambda source: (started.append(source.label), start(source))[1]
    try:
        yield started, warnings
    finally:
        ablation.Engine = start
        ablation.log.removeHandler(handler)


def results(actor: Any, texts: tuple[str, ...]) -> dict[str, Any]:
    """All that an actor returns except times and why it does not reload; the clamp stays in force."""
    source = actor.model.source
    interventions = {name: as_message(**intervention(name, source.num_layers, source.d_mlp)) for name in NAMES}
    request = EvaluateRequest(
        benchmark="forest", texts=Sentences(texts=texts), interventions=interventions, max_nodes=60
    )
    scored = [message for message in actor.evaluate(request) if isinstance(message, Scored)]
    by_step = {
        result.step: (result.sums.tolist(), result.receipt, result.pack_plan, result.num_tokens, result.route)
        for result in scored
    }
    return by_step | {"facts": repr(dataclasses.replace(actor.facts(), reload_refused=""))}


def fresh(source: ModelSource, texts: tuple[str, ...]) -> dict[str, Any]:
    """The results of a fresh engine."""
    from actors.ablation.actor import AblationActor

    actor = AblationActor(source)
    expected = results(actor, texts)
    actor.close()
    return expected


def there_and_back(first: ModelSource, second: ModelSource, texts: tuple[str, ...]) -> tuple[Any, ...]:
    """In the engine's process: (fresh engines' results, a reloaded one's, starts, warnings, why it refused)."""
    from actors.ablation.actor import AblationActor

    expected = [fresh(second, texts)]
    with watched() as (started, warnings):
        actor, reloaded = AblationActor(first), []
        expected.append(results(actor, texts))
        for source in (second, first, second):
            actor.reload(source)
            reloaded.append(results(actor, texts))
        refused = actor.facts().reload_refused
        actor.close()
    return [*expected, expected[0]], reloaded, started, warnings, refused


def check(outcome: tuple[Any, ...]) -> None:
    """Every reload happened in place and gave a fresh engine's results, which differ between the two checkpoints."""
    expected, reloaded, started, warnings, refused = outcome
    assert (warnings, refused) == ([], "") and len(started) == 1, "every reload was in place"
    assert reloaded == expected
    assert expected[0]["baseline"][0] != expected[1]["baseline"][0]
    assert expected[0]["negative"][1].digest == expected[1]["negative"][1].digest != expected[0]["baseline"][1].digest


@pytest.mark.parametrize("family", first_tier(sorted(SITES), ["gpt_neox"]))
def test_a_reloaded_engine_answers_as_a_fresh_one_to_the_last_bit(family: str, tmp_path: Path, engines: Call) -> None:
    check(engines(there_and_back, *two_seeds(tmp_path, family), forest(count=20)))


def test_a_head_that_is_tied_to_the_embeddings_is_reloaded_too(tmp_path: Path, engines: Call) -> None:
    check(engines(there_and_back, *two_seeds(tmp_path, "llama", tie_word_embeddings=True), forest(count=20)))


def test_the_flat_route_reloads_and_every_checkpoint_has_its_own_tokenizer(tmp_path: Path, engines: Call) -> None:
    first, second = two_seeds(tmp_path, "gemma3_text")
    file = tmp_path / "gemma3_text-1" / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"post_processor": None}))  # without a BOS
    flat = (dataclasses.replace(source, route="flat") for source in (first, second))
    outcome = engines(there_and_back, *flat, forest(count=12))
    check(outcome)
    assert outcome[0][0]["baseline"][3] < outcome[0][1]["baseline"][3], "one token less per text"


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_other_dtypes_reload(dtype: str, tmp_path: Path, engines: Call) -> None:
    sources = two_seeds(tmp_path, "opt")
    sources = [dataclasses.replace(source, dtype=dtype) for source in sources]
    check(engines(there_and_back, *sources, forest(count=12)))


@pytest.mark.long
def test_every_tensor_parallel_rank_reloads(tmp_path: Path, own_process: Call) -> None:
    sources = two_seeds(tmp_path, "llama", tie_word_embeddings=True)
    sources = [dataclasses.replace(source, tensor_parallel=2) for source in sources]
    check(own_process(there_and_back, *sources, forest(count=8)))


@pytest.mark.long
def test_real_checkpoints_reload(engines: Call) -> None:
    steps = [CHECKPOINTS / name for name in ("step512", "step5193")]
    if absent := [step.name for step in steps if not (step / "config.json").is_file()]:
        pytest.skip(f"no {' and no '.join(absent)} in {CHECKPOINTS.resolve()}")
    texts = ("The keys to the cabinet are on the table.", "The author that the critics praise laughs.")
    check(engines(there_and_back, *map(source_of, steps), texts))


# ---- where the weights cannot be exchanged in place


def leave_one_out(weights: Weights) -> Weights:
    return (pair for i, pair in enumerate(weights) if i != 7)


def break_off(weights: Weights) -> Weights:
    for i, pair in enumerate(weights):
        if i == 7:
            raise OSError("the disk is gone")
        yield pair


def forget_the_head(weights: Weights) -> Weights:
    """What vLLM does on its own: the packed copy of a tied head stays as it was."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, UnquantizedEmbeddingMethod

    pack = UnquantizedEmbeddingMethod.process_weights_after_loading

    def pack_all_but_heads(method: Any, layer: Any) -> None:
        if not isinstance(layer, ParallelLMHead):
            pack(method, layer)

    UnquantizedEmbeddingMethod.process_weights_after_loading = pack_all_but_heads
    yield from weights


REASONS: dict[Callable[[Weights], Weights], str] = {
    leave_one_out: r"StudyError: llama-1: the checkpoint leaves 1 parameter unfilled: ",
    break_off: "OSError: the disk is gone",
    forget_the_head: r"InterventionError: the reloaded engine and Transformers differ by [\d.]+ nats",
}


def hindered(
    first: ModelSource, second: ModelSource, texts: tuple[str, ...], hindrance: Callable[[Weights], Weights]
) -> tuple[Any, ...]:
    """In the engine's process: as `there_and_back`, but something goes wrong in the first reload only."""
    from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

    from actors.ablation.actor import AblationActor

    expected = [fresh(second, texts)]
    pack, read = UnquantizedEmbeddingMethod.process_weights_after_loading, DefaultModelLoader.get_all_weights
    close = AblationActor.close

    def undo(actor: AblationActor) -> None:
        UnquantizedEmbeddingMethod.process_weights_after_loading = pack
        DefaultModelLoader.get_all_weights, AblationActor.close = read, close
        close(actor)

    with watched() as (started, warnings):
        actor, reloaded = AblationActor(first), []
        expected.append(results(actor, texts))
        DefaultModelLoader.get_all_weights = lambda loader, *of: hindrance(read(loader, *of))
        AblationActor.close = undo
        for source in (second, first):
            actor.reload(source)
            reloaded.append(results(actor, texts))
        refused = actor.facts().reload_refused
        actor.close()
    return expected, reloaded, started, warnings, refused


@pytest.mark.parametrize("hindrance", first_tier(REASONS, [forget_the_head]))
def test_a_fresh_engine_answers_where_a_reload_is_not_proven(
    hindrance: Callable[[Weights], Weights], tmp_path: Path, engines: Call
) -> None:
    first, second = two_seeds(tmp_path, "llama", tie_word_embeddings=True)
    expected, reloaded, started, (warning,), refused = engines(hindered, first, second, forest(count=12), hindrance)
    assert reloaded == expected
    assert started == [first.label, second.label, first.label]
    assert warning == f"{second.label}: fresh engines from now on, not reloaded ones: {refused}"
    assert re.match(REASONS[hindrance], refused)


def another_norm(folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rms_norm_eps": 0.1}))


def a_head_of_its_own(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"] + 0.1}, folder / "model.safetensors")


@pytest.mark.long
def test_a_fresh_engine_answers_where_checkpoints_differ_in_more_than_numbers(tmp_path: Path, engines: Call) -> None:
    first, second = two_seeds(tmp_path, "llama")
    another_norm(tmp_path / "llama-1")
    expected, reloaded, started, warnings, refused = engines(there_and_back, first, second, forest(count=12))
    assert reloaded == expected
    assert (len(started), len(warnings)) == (4, 1), "a reload in place was tried once"
    assert refused == "InterventionError: config.json: rms_norm_eps is 0.1, not 1e-06"


def no_engine(first: ModelSource, second: ModelSource) -> tuple[str, list[str]]:
    """In the engine's process: the error of a reload, and the engines that were started."""
    from actors.ablation.actor import AblationActor

    with watched() as (started, _):
        actor = AblationActor(first)
        with pytest.raises(StudyError) as caught:
            actor.reload(second)
    return str(caught.value), started


def test_no_engine_answers_for_a_checkpoint_that_is_not_wholly_loaded(tmp_path: Path, engines: Call) -> None:
    first, second = two_seeds(tmp_path, "llama", tie_word_embeddings=True)
    a_head_of_its_own(tmp_path / "llama-1")
    error, started = engines(no_engine, first, second)
    assert error == (
        "llama-1: the checkpoint's lm_head.weight differs from model.embed_tokens.weight, to which config.json ties "
        "it; write tie_word_embeddings: false in config.json if the checkpoint's own head is meant"
    )
    assert started == [first.label, second.label]


def test_a_score_actor_scores_the_checkpoint_that_it_reloaded(tmp_path: Path) -> None:
    from actors.scoring.actor import ScoreActor

    first, second = two_seeds(tmp_path, "llama")
    request = profile_request(texts=Windows(text=" ".join(forest()), window=64, stride=64), num_bins=64)
    actor = ScoreActor(first)
    *_, before = actor.profile(request)
    actor.reload(second)
    *_, reloaded = actor.profile(request)
    *_, expected = ScoreActor(second).profile(request)
    for name, values in expected.columns.items():
        np.testing.assert_array_equal(reloaded.columns[name], values)
    assert not np.array_equal(before.columns["wasserstein_distance"], reloaded.columns["wasserstein_distance"])
