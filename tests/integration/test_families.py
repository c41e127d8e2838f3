"""Every family of the site table in both actors, on real vLLM, against raw Transformers hooks.

On random forests of token sequences: log-probabilities agree within 1e-4 in float32, baseline and clamped; the empty
set is bit-identical to an engine without hooks; pre-activation statistics equal the raw ones.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from actors.messages.ablation import EvaluateRequest, Intervention, Part, Scored
from actors.messages.model import ModelSource
from actors.messages.scoring import ProfileRequest, Shard, ShardRequest
from actors.messages.stream import Progress
from actors.sites import SITES, architecture
from studies.benchmarks.texts import Sentences, Windows
from studies.neurons.clamps import CLAMP_KINDS, Clamp
from tests import oracles
from tests.processes import one_process
from tests.sources import source_of
from tests.tiers import first_tier

TOLERANCE = 1e-4
FIRST_TIER = ("gpt2", "gpt_neox", "llama", "opt", "qwen3")
"""One family of each common kind of layer: the others share theirs or take long."""
Call = Callable[..., Any]
"""call(function, *arguments) in another process."""


@pytest.fixture(scope="module")
def engines() -> Iterator[Call]:
    """One process for all single-rank engines of this module: importing vLLM takes longer than starting an engine."""
    with one_process(timeout=300) as call:
        yield call


@pytest.fixture
def own_process() -> Iterator[Call]:
    """A process for one engine only."""
    with one_process(timeout=300) as call:
        yield call


def forest(seed: int = 0, count: int = 40) -> tuple[str, ...]:
    """Texts of different lengths that share prefixes, some longer than the sliding windows."""
    rng = np.random.default_rng(seed)
    stems = ["".join(rng.choice(list("abcdef "), rng.integers(3, 20))) for _ in range(6)]
    return tuple(
        stems[rng.integers(6)] + "".join(rng.choice(list("abcdefgh "), rng.integers(1, 12))) for _ in range(count)
    )


def some_neurons(num_layers: int, d_mlp: int, share: float = 0.3) -> dict[int, tuple[int, ...]]:
    rng = np.random.default_rng(1)
    return {i: tuple(sorted(rng.choice(d_mlp, int(share * d_mlp), replace=False).tolist())) for i in range(num_layers)}


INTERVENTIONS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "negative": {"floor": 0.0},
    "positive": {"ceiling": 0.0},
    "zero": {"floor": 0.0, "ceiling": 0.0},
    "band": {"floor": -0.05, "ceiling": 0.1},
    "posrelu": {"kind": "posrelu"},
    "signflip": {"kind": "signflip"},
    "negative_mean": {"kind": "negative_mean"},
    "magnitude_matched": {"kind": "magnitude_matched"},
}


def test_every_kind_of_clamp_is_compared() -> None:
    assert {fields.get("kind", "clamp") for fields in INTERVENTIONS.values()} == set(CLAMP_KINDS)


def intervention(name: str, num_layers: int, d_mlp: int) -> dict[str, Any]:
    """An intervention on some neurons, as the oracle takes it; no neurons for the baseline."""
    if not INTERVENTIONS[name]:
        return {"neurons": {}}
    neurons, rng = some_neurons(num_layers, d_mlp), np.random.default_rng(2)
    fields: dict[str, Any] = {"neurons": neurons, **INTERVENTIONS[name]}
    if name in ("negative_mean", "magnitude_matched"):
        sign = -1 if name == "negative_mean" else 1
        fields["values"] = {i: tuple(sign * rng.uniform(0.01, 0.2, len(chosen))) for i, chosen in neurons.items()}
    return fields


def as_message(
    neurons: dict[int, tuple[int, ...]], values: dict[int, tuple[float, ...]] | None = None, **clamp: Any
) -> Intervention:
    """The same as the actor takes it."""
    return Intervention(clamp=Clamp(**clamp), neurons=neurons, values=values or {})


def ablate(source: ModelSource, texts: tuple[str, ...], names: tuple[str, ...]) -> dict[str, Any]:
    """In the engine's process: sums and receipt of every intervention, the route, and the probe's difference."""
    from actors.ablation.actor import AblationActor

    actor = AblationActor(source)
    interventions = {name: as_message(**intervention(name, source.num_layers, source.d_mlp)) for name in names}
    interventions["baseline again"] = Intervention()
    request = EvaluateRequest(
        benchmark="forest", texts=Sentences(texts=texts), interventions=interventions, max_nodes=60
    )
    results = {m.step: m for m in actor.evaluate(request) if isinstance(m, Scored)}
    assert set(results) == set(interventions)
    outcome = {
        "sums": {name: result.sums for name, result in results.items()},
        "clipped": {name: result.receipt.clipped_fraction for name, result in results.items()},
        "neurons": {name: result.receipt.neurons_per_layer for name, result in results.items()},
        "route": str(results["baseline"].route),
        "digests": {name: result.receipt.digest for name, result in results.items()},
        "probe": actor.facts().probe_difference,
    }
    actor.close()
    return outcome


def sweep_and_alone(
    source: ModelSource, texts: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list[int]]:
    """In the engine's process: sums of layer-wise conditions in one request and alone; [layer passes, ideal, whole]."""
    from actors.ablation.actor import AblationActor

    actor = AblationActor(source)
    neurons = some_neurons(source.num_layers, source.d_mlp)
    layers: dict[str, list[int]] = {
        "none": [],
        "first": [0],
        "last": [2],
        "middle": [1],
        "to middle": [0, 1],
        "all": [0, 1, 2],
    }
    interventions = {
        f"{name} {kind}": as_message({i: neurons[i] for i in chosen}, **INTERVENTIONS[kind])
        for name, chosen in layers.items()
        for kind in ("negative", "zero")
    }

    def scored(chosen: dict[str, Intervention]) -> dict[str, Scored]:
        request = EvaluateRequest(benchmark="forest", texts=Sentences(texts=texts), interventions=chosen, max_nodes=60)
        return {m.step: m for m in actor.evaluate(request) if isinstance(m, Scored)}

    together = scored(interventions)
    alone = {name: scored({name: chosen})[name].sums for name, chosen in reversed(interventions.items())}
    sharing = next(iter(together.values()))
    actor.close()
    costs = [sharing.layer_passes, sharing.ideal_layer_passes, source.num_layers * len(interventions)]
    return {name: result.sums for name, result in together.items()}, alone, costs


def oracle_sums(folder: Path, texts: tuple[str, ...], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Log-probability of every text under every intervention, by raw hooks."""
    from transformers import AutoTokenizer

    model, tokenizer = oracles.load(folder), AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer(text)["input_ids"] for text in texts]
    dimensions = architecture(json.loads((folder / "config.json").read_text()))
    sums = {}
    for name in names:
        with oracles.RawIntervention(model, **intervention(name, dimensions.num_layers, dimensions.d_mlp)):
            sums[name] = np.array([float(oracles.token_log_probabilities(model, sequence).sum()) for sequence in ids])
    return sums


@pytest.mark.parametrize("family", first_tier(sorted(SITES), FIRST_TIER))
def test_log_probabilities_equal_raw_transformers(family: str, tmp_path: Path, engines: Call) -> None:
    folder = oracles.make_model(tmp_path / family, family)
    texts, names = forest(), tuple(INTERVENTIONS)
    outcome = engines(ablate, source_of(folder), texts, names)
    expected = oracle_sums(folder, texts, names)
    assert outcome["route"] == "tree"
    assert outcome["probe"] < TOLERANCE
    for name in names:
        np.testing.assert_allclose(outcome["sums"][name], expected[name], atol=TOLERANCE, rtol=0)
    np.testing.assert_array_equal(outcome["sums"]["baseline again"], outcome["sums"]["baseline"])
    assert outcome["digests"]["baseline again"] == outcome["digests"]["baseline"] != outcome["digests"]["negative"]
    assert outcome["neurons"]["negative"] == (76,) * 3 and outcome["neurons"]["baseline"] == (0,) * 3
    assert 0.2 < outcome["clipped"]["negative"] < 0.8
    moved = np.abs(outcome["sums"]["negative"] - outcome["sums"]["baseline"]).max()
    if family == "opt":  # ReLU: the negative clamp is the identity, to the last bit
        assert moved == 0 and np.abs(outcome["sums"]["zero"] - outcome["sums"]["baseline"]).max() > 0.01
    else:
        assert moved > 0.01
        for name in names[5:]:
            assert np.abs(outcome["sums"][name] - outcome["sums"]["baseline"]).max() > 1e-3, name


@pytest.mark.parametrize("family", first_tier(sorted(SITES), ["llama", "gpt_neox", "opt"]))
def test_conditions_that_share_layers_equal_separate_passes_to_the_last_bit(
    family: str, tmp_path: Path, engines: Call
) -> None:
    folder = oracles.make_model(tmp_path / family, family)
    together, alone, (passes, ideal, whole) = engines(sweep_and_alone, source_of(folder), forest(count=20))
    for name, sums in together.items():
        np.testing.assert_array_equal(sums, alone[name])
    assert len({sums.tobytes() for sums in together.values()}) >= (6 if family == "opt" else 11), (
        "the conditions differ"
    )
    assert passes == ideal < whole


def resumed(source: ModelSource, texts: tuple[str, ...]) -> tuple[Any, ...]:
    """In the engine's process: a sweep that sends its parts, resumed from some of them, and from unusable ones.

    Returns the sums of each, and the packs that the second and the third computed.
    """
    from actors.ablation import actor as ablation
    from orchestrator.execution.in_flight import join_parts

    ablation.PART_SECONDS = 0.0
    actor = ablation.AblationActor(source)
    neurons = some_neurons(source.num_layers, source.d_mlp)
    interventions = {name: as_message({i: neurons[i]}, floor=0.0) for i, name in enumerate(("one", "two"))}
    request = EvaluateRequest(
        benchmark="forest", texts=Sentences(texts=texts), interventions=interventions, max_nodes=60
    )
    messages = list(actor.evaluate(request))
    parts: dict[str, Part] = {}
    for part in (m for m in messages if isinstance(m, Part)):
        if part.end_pack <= 3 or part.step == "one":  # all packs of "one", the first three of "two"
            parts[part.step] = join_parts(parts.get(part.step), part)
    called: list[str] = []
    engine, call = actor.model.engine, actor.model.engine.call
    engine.call = lambda method, *arguments: (called.append(method), call(method, *arguments))[1]
    again = list(actor.evaluate(dataclasses.replace(request, parts=parts)))
    other = {name: dataclasses.replace(part, pack_plan="of another plan") for name, part in parts.items()}
    before = called.count("halfwave_sweep")
    third = list(actor.evaluate(dataclasses.replace(request, parts=other)))
    after = called.count("halfwave_sweep") - before
    actor.close()
    sums = [{m.step: m.sums for m in stream if isinstance(m, Scored)} for stream in (messages, again, third)]
    return *sums, before, after


def test_a_sweep_resumed_from_its_parts_gives_the_same_numbers(tmp_path: Path, engines: Call) -> None:
    folder = oracles.make_model(tmp_path / "llama", "llama")
    whole, again, third, before, after = engines(resumed, source_of(folder), forest(count=20))
    for name in ("one", "two"):
        np.testing.assert_array_equal(again[name], whole[name])
        np.testing.assert_array_equal(third[name], whole[name])
    assert before == after - 3 > 0, "three packs were not computed again; parts of another plan were ignored"


def unhooked(source: ModelSource, texts: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Flat log-probabilities of the engine as vLLM started it, and with our hooks and the empty set."""
    from actors.ablation.engine import Engine
    from actors.ablation.receipts import apply
    from actors.ablation.routes import RoutedModel, flat_log_probabilities
    from actors.ablation.token_tree import plan_packs
    from actors.tokens import load_tokenizer, tokenise

    tokenizer, engine = load_tokenizer(source), Engine(source)
    sequences = tokenise(Sentences(texts=texts), tokenizer, source.context, source.vocabulary)
    plan = plan_packs(sequences.ids, sequences.score_from, 64)
    before = flat_log_probabilities(engine, plan)
    hooks = engine.install_hooks(SITES[source.family], source.num_layers, source.d_mlp)
    apply(RoutedModel(engine, source, tokenizer, hooks), Intervention())
    after = flat_log_probabilities(engine, plan)
    engine.close()
    return before, after


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_the_empty_set_is_bit_identical_to_an_engine_without_hooks(family: str, tmp_path: Path, engines: Call) -> None:
    folder = oracles.make_model(tmp_path / family, family)
    before, after = engines(unhooked, source_of(folder), forest(count=12))
    np.testing.assert_array_equal(before, after)


def test_the_flat_route_gives_the_same_numbers(tmp_path: Path, engines: Call) -> None:
    folder = oracles.make_model(tmp_path / "qwen3", "qwen3")
    outcome = engines(ablate, source_of(folder, route="flat"), forest(count=12), ("baseline", "negative"))
    expected = oracle_sums(folder, forest(count=12), ("baseline", "negative"))
    assert outcome["route"] == "flat"
    for name in expected:
        np.testing.assert_allclose(outcome["sums"][name], expected[name], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("family", first_tier(["llama", "gpt2"], []))
def test_tensor_parallelism_gives_the_same_numbers(family: str, tmp_path: Path, own_process: Call) -> None:
    folder = oracles.make_model(tmp_path / family, family)
    names = ("baseline", "negative")
    outcome = own_process(ablate, source_of(folder, tensor_parallel=2), forest(count=16), names)
    expected = oracle_sums(folder, forest(count=16), names)
    assert outcome["neurons"]["negative"] == (76,) * 3  # summed over both ranks
    for name in names:
        np.testing.assert_allclose(outcome["sums"][name], expected[name], atol=TOLERANCE, rtol=0)


def profile_request(**changes: Any) -> ProfileRequest:
    values: dict[str, Any] = {
        "step": "profile",
        "texts": Windows(text=" ".join(forest(3, 150)), window=64, stride=64),
        "skip_first": True,
        "num_bins": 1024,
        "calibration_windows": 16,
        "pairs_per_block": 64,
        "block_windows": 16,
        "seed": 0,
        "batch_windows": 4,
    }
    return ProfileRequest(**{**values, **changes})


@pytest.mark.parametrize("family", sorted(SITES))
def test_scores_equal_raw_pre_activations(family: str, tmp_path: Path) -> None:
    from actors.scoring.actor import ScoreActor

    folder = oracles.make_model(tmp_path / family, family)
    request = profile_request()
    source = source_of(folder)
    *_, profiled = ScoreActor(source).profile(request)
    ids = torch.tensor(windows_of(source, request))
    _, outputs = oracles.pre_activations(oracles.load(folder), ids)
    keep = torch.ones(ids.shape, dtype=torch.bool)
    keep[:, 0] = False
    raw = torch.stack(outputs)[:, keep.ravel()].double()  # [layers, tokens, neurons]
    table = {name: values.reshape(3, -1) for name, values in profiled.columns.items()}
    assert profiled.num_tokens == int(keep.sum())
    np.testing.assert_allclose(table["mean"], raw.mean(1), atol=1e-5)
    np.testing.assert_allclose(table["std"], raw.std(1, correction=0), rtol=1e-4)
    np.testing.assert_allclose(table["negative_fraction"], (raw < 0).double().mean(1), atol=1e-3)
    z = ((raw - raw.mean(1, keepdim=True)) / raw.std(1, correction=0, keepdim=True)).sort(dim=1).values
    n = z.shape[1]
    quantiles = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)
    np.testing.assert_allclose(table["wasserstein_distance"], (z - quantiles[:, None]).abs().mean(1), atol=3e-3)


def test_batches_and_shards_do_not_change_the_scores(tmp_path: Path) -> None:
    from actors.scoring.actor import ScoreActor

    source = source_of(oracles.make_model(tmp_path / "llama", "llama"))
    actor, *others = (ScoreActor(source) for _ in range(9))
    *_, whole = actor.profile(profile_request())
    *_, batched = actor.profile(profile_request(batch_windows=1))
    num_blocks = -(-whole.num_windows // 16)
    assert 2 < num_blocks < 9, "some of the other actors have nothing to do"
    asked: list[tuple[str, int]] = []

    def ask(other: ScoreActor, method: str, request: ShardRequest) -> Iterator[Progress | Shard]:
        asked.append((method, request.first_block))
        return getattr(other, method)(request)

    for count in (1, 8):
        asked.clear()
        *_, divided = actor.profile(profile_request(), others=[partial(ask, other) for other in others[:count]])
        assert asked == [("shard", i) for i in range(1, min(count + 1, num_blocks))]
        assert (divided.num_tokens, divided.num_pairs) == (whole.num_tokens, whole.num_pairs)
        assert divided.num_pairs_asked == whole.num_pairs_asked == 64 * num_blocks >= whole.num_pairs
        for name, values in divided.columns.items():
            np.testing.assert_allclose(values, whole.columns[name], rtol=1e-9, atol=1e-12)
    by_layer = pd.DataFrame(dict(whole.columns)).groupby("layer")["mapping_difficulty_reliability"]
    assert (by_layer.nunique() == 1).all() and by_layer.first().between(0, 1).all()
    for name, values in batched.columns.items():
        rtol = 1e-2 if name.endswith("reliability") else 1e-4  # two neurons may swap their ranks
        np.testing.assert_allclose(values, whole.columns[name], rtol=rtol, atol=1e-6)


def windows_of(source: ModelSource, request: ProfileRequest) -> np.ndarray:
    """The windows of token ids that a score actor of this model reads."""
    from actors.tokens import load_tokenizer, windows

    return windows(request.texts, load_tokenizer(source), source.context, source.vocabulary)
