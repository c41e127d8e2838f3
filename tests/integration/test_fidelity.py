"""Real weights and real data against plain Transformers: the numbers on which a study rests.

SmolLM2-135M-Instruct (dequantised), BLiMP and WikiText-2; skipped, with the reason, where they are absent.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from transformers import AutoTokenizer, PreTrainedModel

from actors.messages.ablation import EvaluateRequest, Intervention, Scored
from actors.messages.model import ModelSource
from actors.messages.scoring import ProfileRequest
from actors.scoring.actor import ScoreActor
from actors.scoring.histograms import RANGE_STDS
from studies.benchmarks.corpora import load_corpus
from studies.benchmarks.minimal_pairs import blimp
from studies.benchmarks.perplexity import perplexity
from studies.benchmarks.texts import Sentences, Windows
from studies.neurons.clamps import NAMED_CLAMPS
from tests import oracles
from tests.sources import source_of

WINDOW, TOKENS = 512, 2048


@pytest.fixture(scope="module")
def source(smollm2: Path) -> ModelSource:
    return source_of(smollm2)


@pytest.fixture(scope="module")
def text(data_root: Path) -> Windows:
    corpus = load_corpus("wikitext2", split="validation", joiner="\n\n", root=data_root)
    return Windows(text=corpus.text[:40_000], window=WINDOW, stride=WINDOW, num_tokens=TOKENS)


@pytest.fixture(scope="module")
def profiled(source: ModelSource, text: Windows) -> dict[str, np.ndarray]:
    """The neuron table: {column: [layers, d_mlp]}."""
    request = ProfileRequest(
        step="profile",
        texts=text,
        skip_first=False,  # the attention sink at position 0 has the massive activations
        num_bins=1024,
        calibration_windows=2,
        pairs_per_block=256,
        block_windows=16,
        seed=0,
    )
    actor = ScoreActor(source)
    *_, result = actor.profile(request)
    actor.close()
    return {name: values.reshape(source.num_layers, source.d_mlp) for name, values in result.columns.items()}


@pytest.fixture(scope="module")
def windows(source: ModelSource, text: Windows) -> torch.Tensor:
    ids = AutoTokenizer.from_pretrained(source.path)(text.text)["input_ids"][:TOKENS]
    return torch.tensor(ids).reshape(-1, WINDOW)


@pytest.fixture(scope="module")
def plain(smollm2: Path) -> PreTrainedModel:
    return oracles.load(smollm2)


@pytest.fixture(scope="module")
def raw(plain: PreTrainedModel, windows: torch.Tensor) -> torch.Tensor:
    """[layers, tokens, d_mlp] raw pre-activations, by hooks that are not ours."""
    return torch.stack(oracles.pre_activations(plain, windows)[1])


@pytest.fixture(scope="module")
def scored(source: ModelSource, text: Windows, data_root: Path, profiled: dict[str, np.ndarray]) -> dict[str, Scored]:
    """All results of the engine, from one process: {name: Scored}."""
    top = top_neurons(profiled)
    pairs = blimp(data_root, 3, True)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(in_engine, source, text, pairs.texts, top).result(timeout=500)


def top_neurons(profiled: dict[str, np.ndarray]) -> dict[int, tuple[int, ...]]:
    ranked = np.argsort(-profiled["wasserstein_distance"], axis=1, kind="stable")
    return {layer: tuple(map(int, ranked[layer, :15])) for layer in range(len(ranked))}


def in_engine(
    source: ModelSource, text: Windows, sentences: tuple[str, ...], top: dict[int, tuple[int, ...]]
) -> dict[str, Scored]:
    from actors.ablation.actor import AblationActor

    actor = AblationActor(source)
    baseline, clamped = Intervention(), Intervention(clamp=NAMED_CLAMPS["negative"], neurons=top)
    requests = [
        EvaluateRequest(
            benchmark="perplexity",
            texts=text,
            interventions={"perplexity": baseline, "clamped perplexity": clamped, "perplexity again": baseline},
        ),
        EvaluateRequest(benchmark="blimp", texts=Sentences(texts=sentences), interventions={"blimp": baseline}),
    ]
    messages = [message for request in requests for message in actor.evaluate(request)]
    actor.close()
    return {message.step: message for message in messages if isinstance(message, Scored)}


def test_wasserstein_distance_is_exact_on_real_pre_activations(
    profiled: dict[str, np.ndarray], raw: torch.Tensor
) -> None:
    outliers = 0
    for layer in range(0, len(raw), 3):
        y = raw[layer].double()
        z = ((y - y.mean(0)) / y.std(0, correction=0)).sort(dim=0).values
        outliers += int((z.abs() > RANGE_STDS).sum())
        np.testing.assert_allclose(profiled["wasserstein_distance"][layer], exact_distance(z.numpy()), atol=1e-3)
    assert outliers > 100, "too few values beyond the histograms' range to prove anything about outliers"


def exact_distance(z: np.ndarray) -> np.ndarray:
    """W1 between every column's empirical distribution and N(0, 1): integral over levels of |z_(i) - Phi^-1(u)| du.

    Within the level i/n..(i+1)/n the integrand changes sign at Phi(z_i). G(u) = -phi(Phi^-1(u)) is an antiderivative of
    Phi^-1, so the integral has a closed form.
    """
    n = len(z)
    levels = np.arange(n + 1) / n
    antiderivative = -scipy.stats.norm.pdf(scipy.stats.norm.ppf(levels))
    crossing = np.clip(scipy.stats.norm.cdf(z), levels[:-1, None], levels[1:, None])
    at_crossing = -scipy.stats.norm.pdf(scipy.stats.norm.ppf(crossing))
    below = z * (crossing - levels[:-1, None]) - (at_crossing - antiderivative[:-1, None])
    above = (antiderivative[1:, None] - at_crossing) - z * (levels[1:, None] - crossing)
    return (below + above).sum(0)


def test_wasserstein_distance_agrees_with_scipy_within_its_sampling_noise(
    profiled: dict[str, np.ndarray], raw: torch.Tensor
) -> None:
    rng = np.random.default_rng(0)
    reference = rng.standard_normal(200_000)
    y = raw[10, :, :40].double().numpy()
    z = (y - y.mean(0)) / y.std(0)
    expected = [scipy.stats.wasserstein_distance(z[:, j], reference) for j in range(40)]
    np.testing.assert_allclose(profiled["wasserstein_distance"][10, :40], expected, atol=0.01)


def test_perplexity_equals_plain_transformers(
    scored: dict[str, Scored], plain: PreTrainedModel, windows: torch.Tensor
) -> None:
    losses = [-oracles.token_log_probabilities(plain, ids.tolist()).mean() for ids in windows]
    result = scored["perplexity"]
    assert perplexity(result.sums, result.counts) == pytest.approx(float(torch.stack(losses).mean().exp()), rel=1e-4)


def test_clamped_perplexity_equals_raw_hooks(
    scored: dict[str, Scored], plain: PreTrainedModel, windows: torch.Tensor, profiled: dict[str, np.ndarray]
) -> None:
    with oracles.RawIntervention(plain, top_neurons(profiled), floor=0.0):
        losses = [-oracles.token_log_probabilities(plain, ids.tolist()).mean() for ids in windows]
    clamped, baseline = scored["clamped perplexity"], scored["perplexity"]
    assert perplexity(clamped.sums, clamped.counts) == pytest.approx(float(torch.stack(losses).mean().exp()), rel=1e-3)
    assert perplexity(clamped.sums, clamped.counts) > 1.03 * perplexity(baseline.sums, baseline.counts)


def test_the_baseline_after_a_clamp_is_bit_identical_to_the_one_before(scored: dict[str, Scored]) -> None:
    np.testing.assert_array_equal(scored["perplexity again"].sums, scored["perplexity"].sums)


@pytest.mark.long
def test_blimp_decisions_equal_plain_transformers(
    scored: dict[str, Scored], plain: PreTrainedModel, source: ModelSource, data_root: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(source.path)
    pairs = blimp(data_root, 3, True)
    expected = np.array(
        [float(oracles.token_log_probabilities(plain, tokenizer(t)["input_ids"]).sum()) for t in pairs.texts]
    )
    margin = expected[0::2] - expected[1::2]
    sums = scored["blimp"].sums
    clear = np.abs(margin) > 0.01
    np.testing.assert_array_equal((sums[0::2] > sums[1::2])[clear], (margin > 0)[clear])
    assert clear.sum() > 190
    np.testing.assert_allclose(sums, expected, atol=0.01)
