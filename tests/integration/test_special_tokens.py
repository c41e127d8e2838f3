"""Special tokens, from the tokenizer's template to the numbers, against plain Transformers on ids written by hand."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from actors.messages.ablation import EvaluateRequest, Intervention, Scored
from actors.messages.model import ModelSource
from actors.messages.scoring import ProfileRequest
from studies.benchmarks.perplexity import perplexity
from studies.benchmarks.texts import Bos, Continuations, TextRequest, Windows
from tests import oracles
from tests.processes import one_process
from tests.sources import source_of

Call = Callable[..., Any]
"""call(function, *arguments) in another process."""
WINDOW = 32
TEXT = " ".join(["The keys to the cabinet are on the table, and nobody asked why."] * 8)


@pytest.fixture(scope="module")
def engines() -> Iterator[Call]:
    """One process for all engines of this module."""
    with one_process(timeout=300) as call:
        yield call


def evaluated(source: ModelSource, requests: dict[str, TextRequest]) -> dict[str, Scored]:
    """In the engine's process: the baseline on each request."""
    from actors.ablation.actor import AblationActor

    actor = AblationActor(source)
    results = {}
    for name, texts in requests.items():
        request = EvaluateRequest(benchmark=name, texts=texts, interventions={name: Intervention()})
        results |= {message.step: message for message in actor.evaluate(request) if isinstance(message, Scored)}
    actor.close()
    return results


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of Gemma 3's architecture, with a tokenizer that puts BOS in front of every text."""
    return oracles.make_model(tmp_path_factory.mktemp("models") / "gemma", "gemma3_text")


def cut(folder: Path, bos: Bos) -> list[list[int]]:
    """The windows of the text, cut by hand."""
    ids = AutoTokenizer.from_pretrained(folder)(TEXT, add_special_tokens=False)["input_ids"]
    start = [0] if bos in ("tokenizer", "every_window") else []
    room, ids = WINDOW - len(start), [0, *ids] if bos == "first" else ids
    return [[*start, *ids[i : i + room]] for i in range(0, len(ids) - room + 1, room)]


def test_perplexity_of_windows_with_and_without_bos(gemma: Path, engines: Call) -> None:
    modes: tuple[Bos, ...] = ("tokenizer", "every_window", "first", "none")
    requests = {bos: Windows(text=TEXT, window=WINDOW, stride=WINDOW, bos=bos) for bos in modes}
    scored, model = engines(evaluated, source_of(gemma), requests), oracles.load(gemma)
    found = {}
    for bos in modes:
        losses = [-oracles.token_log_probabilities(model, ids).double().mean() for ids in cut(gemma, bos)]
        found[bos] = perplexity(scored[bos].sums, scored[bos].counts)
        assert found[bos] == pytest.approx(float(torch.stack(losses).mean().exp()), rel=1e-5), bos
        assert scored[bos].counts.tolist() == [WINDOW - 1] * len(losses)
    assert found["tokenizer"] == found["every_window"] and len({*found.values()}) == 3
    added = {bos: (scored[bos].special_tokens.first, scored[bos].special_tokens.later) for bos in modes}
    assert added["first"] == (((0, "<s>"),), ()) and added["tokenizer"] == (((0, "<s>"),),) * 2


@pytest.mark.parametrize("bos", ["tokenizer", "first", "none"])
def test_scores_of_neurons_on_windows_with_and_without_bos(gemma: Path, bos: Bos) -> None:
    """Position 0 stays out of the statistics, and so does BOS, which stands there or nowhere."""
    from actors.scoring.actor import ScoreActor

    request = ProfileRequest(
        step="profile",
        texts=Windows(text=TEXT, window=WINDOW, stride=WINDOW, bos=bos),
        skip_first=True,
        num_bins=256,
        calibration_windows=4,
        pairs_per_block=8,
        block_windows=16,
        seed=0,
    )
    *_, profiled = ScoreActor(source_of(gemma)).profile(request)
    ids = torch.tensor(cut(gemma, bos))
    _, outputs = oracles.pre_activations(oracles.load(gemma), ids)
    raw = torch.stack(outputs).unflatten(1, ids.shape)[:, :, 1:].flatten(1, 2).double()
    assert profiled.num_tokens == raw.shape[1] == ids[:, 1:].numel()
    np.testing.assert_allclose(profiled.columns["mean"].reshape(3, -1), raw.mean(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(profiled.columns["std"].reshape(3, -1), raw.std(1, correction=0), rtol=1e-5)


QUESTIONS: list[dict[str, Any]] = [
    {"context": "The sky is", "choices": ["blue", "made of cheese"], "gold": 0},
    {"context": "Two and two is", "choices": ["four", "five", "six"], "gold": 0},
]
"""Of a tokenizer whose template appends `</s>`: the first token of every choice was not scored, and `</s>` was."""
RIGHT = (-32.022, -95.812, -30.630, -30.518, -25.022)


@pytest.mark.parametrize("template", ["<s> $A", "<s> $A </s>"])
def test_choices_are_scored_whole_and_without_eos(template: str, tmp_path: Path, engines: Call) -> None:
    folder = oracles.make_model(tmp_path / "llama", "llama")
    oracles.make_tokenizer(folder, template)
    pairs = [(row["context"], f" {choice}") for row in QUESTIONS for choice in row["choices"]]
    contexts, continuations = zip(*pairs, strict=True)
    request = Continuations(contexts=contexts, continuations=continuations)
    result = engines(evaluated, source_of(folder), {"choices": request})["choices"]
    plain, model = AutoTokenizer.from_pretrained(folder), oracles.load(folder)
    for (context, choice), total, count in zip(pairs, result.sums, result.counts, strict=True):
        before, own = (plain(text, add_special_tokens=False)["input_ids"] for text in (context, choice))
        logprobs = oracles.token_log_probabilities(model, [0, *before, *own])[-len(own) :]
        assert total == pytest.approx(float(logprobs.sum()), abs=1e-4) and count == len(own), choice
    np.testing.assert_allclose(result.sums, RIGHT, atol=1e-3)
