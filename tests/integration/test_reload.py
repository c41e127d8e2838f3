"""One engine for many checkpoints: after a reload it answers as a fresh one does, to the last bit, or a fresh one does.

Real vLLM on CPU, every family, random weights of two seeds; and real checkpoints of one training run where they are.
"""

import dataclasses
import json
import logging
import re
from contextlib import contextmanager

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from actors.ablation.reload import Reload
from actors.messages import EvaluateRequest, Intervention, ModelSource, Scored
from actors.sites import SITES
from studies.benchmarks.texts import Sentences, Windows
from studies.errors import InterventionError, StudyError
from tests import oracles
from tests.conftest import ROOT
from tests.integration.test_families import forest, intervention, profile_request
from tests.processes import one_process
from tests.sources import source_of
from tests.tiers import first_tier

CHECKPOINTS = ROOT / ".." / "shared" / "models" / "gpt-neox-mini"
NAMES = ("baseline", "negative")


@pytest.fixture(scope="module")
def engines():
    """One process for all single-rank engines of this module: importing vLLM takes longer than starting an engine."""
    with one_process(timeout=500) as call:
        yield call


@pytest.fixture
def own_process():
    """A process for one engine only."""
    with one_process(timeout=500) as call:
        yield call


def two_seeds(folder, family: str, **fields) -> list[ModelSource]:
    return [source_of(oracles.make_model(folder / f"{family}-{i}", family, seed=i, **fields)) for i in range(2)]


@contextmanager
def watched():
    """([labels of started engines], [warnings]) of this process."""
    from actors.ablation import actor as ablation

    started, warnings, start = [], [], ablation._start_engine
    handler = logging.Handler()
    handler.emit = lambda record: warnings.append(record.getMessage())
    ablation.log.addHandler(handler)
    ablation._start_engine = lambda model: (started.append(model.label), start(model))[1]
    try:
        yield started, warnings
    finally:
        ablation._start_engine = start
        ablation.log.removeHandler(handler)


def answers(actor, texts: tuple[str, ...]) -> dict:
    """All that an actor tells but times and why it does not reload; the clamp stays in place."""
    model = actor._model
    interventions = {name: Intervention(**intervention(name, model.num_layers, model.d_mlp)) for name in NAMES}
    request = EvaluateRequest(
        benchmark="forest", texts=Sentences(texts=texts), interventions=interventions, max_nodes=60
    )
    scored = {m.step: m for m in actor.evaluate(request) if isinstance(m, Scored)}
    told = {
        name: (one.sums.tolist(), one.receipt, one.pack_plan, one.num_tokens, one.route) for name, one in scored.items()
    }
    return told | {"facts": repr(dataclasses.replace(actor.facts(), reload_refused=""))}


def fresh(source: ModelSource, texts: tuple[str, ...]) -> dict:
    from actors.ablation.actor import AblationActor

    actor = AblationActor(source)
    found = answers(actor, texts)
    actor.close()
    return found


def there_and_back(first: ModelSource, second: ModelSource, texts: tuple[str, ...]) -> tuple:
    """In the engine's process: fresh engines' answers, a reloaded engine's, its starts and warnings, and the fact."""
    from actors.ablation.actor import AblationActor

    expected = [fresh(second, texts)]
    with watched() as (started, warnings):
        actor, found = AblationActor(first), []
        expected.append(answers(actor, texts))
        for source in (second, first, second):
            actor.reload(source)
            found.append(answers(actor, texts))
        refused = actor.facts().reload_refused
        actor.close()
    return [*expected, expected[0]], found, started, warnings, refused


def check(told: tuple) -> None:
    expected, found, started, warnings, refused = told
    assert (warnings, refused) == ([], "") and len(started) == 1, "every reload was in place"
    assert found == expected
    assert expected[0]["baseline"][0] != expected[1]["baseline"][0]
    assert expected[0]["negative"][1].digest == expected[1]["negative"][1].digest != expected[0]["baseline"][1].digest


@pytest.mark.parametrize("family", first_tier(sorted(SITES), ["gpt_neox"]))
def test_a_reloaded_engine_answers_as_a_fresh_one_to_the_last_bit(family, tmp_path, engines):
    check(engines(there_and_back, *two_seeds(tmp_path, family), forest(count=20)))


def test_a_head_that_is_tied_to_the_embeddings_is_reloaded_too(tmp_path, engines):
    check(engines(there_and_back, *two_seeds(tmp_path, "llama", tie_word_embeddings=True), forest(count=20)))


def test_the_flat_route_reloads_and_every_checkpoint_has_its_own_tokenizer(tmp_path, engines):
    first, second = two_seeds(tmp_path, "gemma3_text")
    file = tmp_path / "gemma3_text-1" / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"post_processor": None}))  # it puts no BOS in front
    flat = (dataclasses.replace(source, route="flat") for source in (first, second))
    told = engines(there_and_back, *flat, forest(count=12))
    check(told)
    assert told[0][0]["baseline"][3] < told[0][1]["baseline"][3], "one token less a text"


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_other_dtypes_reload(dtype, tmp_path, engines):
    sources = two_seeds(tmp_path, "opt")
    check(engines(there_and_back, *(dataclasses.replace(one, dtype=dtype) for one in sources), forest(count=12)))


@pytest.mark.long
def test_every_tensor_parallel_rank_reloads(tmp_path, own_process):
    sources = two_seeds(tmp_path, "llama", tie_word_embeddings=True)
    check(
        own_process(there_and_back, *(dataclasses.replace(one, tensor_parallel=2) for one in sources), forest(count=8))
    )


@pytest.mark.long
def test_real_checkpoints_reload(engines):
    steps = [CHECKPOINTS / name for name in ("step512", "step5193")]
    if absent := [step.name for step in steps if not (step / "config.json").is_file()]:
        pytest.skip(f"no {' and no '.join(absent)} in {CHECKPOINTS.resolve()}")
    texts = ("The keys to the cabinet are on the table.", "The author that the critics praise laughs.")
    check(engines(there_and_back, *map(source_of, steps), texts))


# ---- where it cannot be


def leave_one_out(weights):
    return (pair for i, pair in enumerate(weights) if i != 7)


def break_off(weights):
    for i, pair in enumerate(weights):
        if i == 7:
            raise OSError("the disk is gone")
        yield pair


def forget_the_head(weights):
    """What vLLM does by itself: the packed copy of a tied head stays as it was."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, UnquantizedEmbeddingMethod

    pack = UnquantizedEmbeddingMethod.process_weights_after_loading

    def pack_all_but_heads(method, layer):
        if not isinstance(layer, ParallelLMHead):
            pack(method, layer)

    UnquantizedEmbeddingMethod.process_weights_after_loading = pack_all_but_heads
    yield from weights


REASONS = {
    leave_one_out: r"InterventionError: the weights of \d+ modules were left out",
    break_off: "OSError: the disk is gone",
    forget_the_head: r"InterventionError: the reloaded engine and Transformers differ by [\d.]+ nats",
}


def hindered(first: ModelSource, second: ModelSource, texts: tuple[str, ...], hindrance) -> tuple:
    """In the engine's process: as `there_and_back`, where something goes wrong in the first reload only."""
    from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

    from actors.ablation.actor import AblationActor

    expected = [fresh(second, texts)]
    pack, read = UnquantizedEmbeddingMethod.process_weights_after_loading, DefaultModelLoader.get_all_weights
    close = AblationActor.close

    def undo(actor):
        UnquantizedEmbeddingMethod.process_weights_after_loading = pack
        DefaultModelLoader.get_all_weights, AblationActor.close = read, close
        close(actor)

    with watched() as (started, warnings):
        actor, found = AblationActor(first), []
        expected.append(answers(actor, texts))
        DefaultModelLoader.get_all_weights = lambda loader, *of: hindrance(read(loader, *of))
        AblationActor.close = undo
        for source in (second, first):
            actor.reload(source)
            found.append(answers(actor, texts))
        refused = actor.facts().reload_refused
        actor.close()
    return expected, found, started, warnings, refused


@pytest.mark.parametrize("hindrance", first_tier(REASONS, [forget_the_head]))
def test_a_fresh_engine_answers_where_a_reload_is_not_proven(hindrance, tmp_path, engines):
    first, second = two_seeds(tmp_path, "llama", tie_word_embeddings=True)
    expected, found, started, (warning,), refused = engines(hindered, first, second, forest(count=12), hindrance)
    assert found == expected
    assert started == [first.label, second.label, first.label]
    assert warning == f"{second.label}: fresh engines from here on, not reloaded ones: {refused}"
    assert re.match(REASONS[hindrance], refused)


def another_norm(folder) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rms_norm_eps": 0.1}))


def a_head_of_its_own(folder) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"] + 0.1}, folder / "model.safetensors")


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (another_norm, "config.json: rms_norm_eps is 0.1, not 1e-06"),
        (a_head_of_its_own, "config.json ties the head to the embeddings, but the checkpoint has both"),
    ],
)
def test_a_fresh_engine_answers_where_checkpoints_differ_in_more_than_numbers(change, reason, tmp_path, engines):
    first, second = two_seeds(tmp_path, "llama", tie_word_embeddings=True)
    change(tmp_path / "llama-1")
    expected, found, started, warnings, refused = engines(there_and_back, first, second, forest(count=12))
    assert found == expected
    assert (len(started), len(warnings)) == (4, 1), "it was tried once"
    assert refused == f"InterventionError: {reason}"


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"num_layers": 4, "d_mlp": 512}, "num_layers is 4, not 3"),
        ({"family": "mistral"}, "family is 'mistral', not 'llama'"),
        ({"dtype": "bfloat16"}, "dtype is 'bfloat16', not 'float32'"),
        ({"engine": {"max_model_len": 64}}, "engine is"),
    ],
)
def test_another_architecture_is_refused(other, named, tmp_path):
    from actors.ablation.actor import AblationActor

    actor = AblationActor.__new__(AblationActor)
    actor._model, _ = two_seeds(tmp_path, "llama")
    with pytest.raises(StudyError, match=f"other cannot take the engine of llama-0: {named}"):
        actor.reload(dataclasses.replace(actor._model, label="other", **other))


def test_later_reloads_are_held_against_the_last():
    last = Reload({"head": ([2, 3], 1.0)}, np.zeros(4))
    Reload({"head": ([2, 3], 1.0)}, np.zeros(4)).check_against(last)
    Reload({"head": ([2, 3], 2.0)}, np.ones(4)).check_against(last)
    with pytest.raises(InterventionError, match="the same tensors: head"):
        Reload({"head": ([3, 3], 2.0)}, np.ones(4)).check_against(last)
    with pytest.raises(InterventionError, match="the same tensors: extra"):
        Reload({"head": ([2, 3], 2.0), "extra": ([1], 0.0)}, np.ones(4)).check_against(last)
    with pytest.raises(InterventionError, match="left the probe's numbers as they were"):
        Reload({"head": ([2, 3], 2.0)}, np.zeros(4)).check_against(last)


def test_a_score_actor_scores_the_checkpoint_that_it_reloaded(tmp_path):
    from actors.scoring.actor import ScoreActor

    first, second = two_seeds(tmp_path, "llama")
    request = profile_request(texts=Windows(text=" ".join(forest()), window=64, stride=64), num_bins=64)
    actor = ScoreActor(first)
    *_, before = actor.profile(request)
    actor.reload(second)
    *_, found = actor.profile(request)
    *_, expected = ScoreActor(second).profile(request)
    for name, values in expected.columns.items():
        np.testing.assert_array_equal(found.columns[name], values)
    assert not np.array_equal(before.columns["wasserstein_distance"], found.columns["wasserstein_distance"])
