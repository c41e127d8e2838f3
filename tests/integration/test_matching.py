"""The search for a matched control on real engines: its windows are those of a longer evaluation, by both routes."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from actors.messages.ablation import (
    EvaluateRequest,
    Intervention,
    Matched,
    MatchRequest,
    Scored,
    WindowLosses,
)
from actors.messages.model import ModelSource
from studies.benchmarks.texts import Windows
from studies.neurons.clamps import NAMED_CLAMPS
from tests import oracles
from tests.processes import one_process
from tests.sources import source_of
from tests.tiers import first_tier

Call = Callable[..., Any]
"""call(function, *arguments) in another process."""
WINDOW, NUM_EVIDENCE = 32, 6
TEXT = " ".join(["The keys to the cabinet are on the table, and nobody asked why."] * 12)
ZERO = NAMED_CLAMPS["zero"]


@pytest.fixture(scope="module")
def engines() -> Iterator[Call]:
    """One process for all engines of this module."""
    with one_process(timeout=300) as call:
        yield call


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of Gemma 3's architecture, with a tokenizer that puts BOS in front of every text."""
    return oracles.make_model(tmp_path_factory.mktemp("models") / "gemma", "gemma3_text")


def searched_and_evaluated(
    source: ModelSource, texts: Windows, treated: Intervention
) -> tuple[Matched, dict[str, Any]]:
    """In the engine's process: the outcome of a search, and {condition: its scores on the whole text}."""
    from actors.ablation.actor import AblationActor

    actor = AblationActor(source)
    recorded: list[WindowLosses] = []
    conditions = {"baseline": Intervention(), "treated": treated}
    evaluated = EvaluateRequest(benchmark="perplexity", texts=texts, interventions=conditions)
    for message in actor.evaluate(evaluated):
        if isinstance(message, Scored):
            recorded.append(
                WindowLosses(
                    role="baseline" if message.step == "baseline" else "treated",
                    fraction=0.0,
                    windows="evidence",
                    numbers=tuple(range(NUM_EVIDENCE)),
                    nll=-message.sums / message.counts,
                    num_tokens=message.counts,
                )
            )
    request = MatchRequest(
        step="m",
        benchmark="perplexity",
        texts=texts,
        ranking={
            layer: tuple(j for j in range(source.d_mlp) if j not in treated.neurons[layer])
            for layer in range(source.num_layers)
        },
        clamp=ZERO,
        treated=treated,
        treated_fraction=len(treated.neurons[0]) / source.d_mlp,
        evidence=(recorded[0], recorded[1]),
        within=0.9,
        within_rise=0.5,
        max_evaluations=12,
        neighbour_beyond=0.02,
    )
    *_, outcome = actor.match(request)
    assert isinstance(outcome, Matched), outcome
    conditions = {
        **conditions,
        "accepted": Intervention(clamp=ZERO, neurons=outcome.neurons),
        "neighbour": Intervention(clamp=ZERO, neurons=outcome.neighbour_neurons),
    }
    longer = dataclasses.replace(texts, num_tokens=None)
    asked = EvaluateRequest(benchmark="longer", texts=longer, interventions=conditions)
    scored = {message.step: message for message in actor.evaluate(asked) if isinstance(message, Scored)}
    actor.close()
    return outcome, scored


@pytest.mark.parametrize("route", first_tier(["tree", "flat"], ["flat"]))
def test_what_a_search_measures_is_what_a_longer_evaluation_finds_in_the_same_windows(
    route: str, gemma: Path, engines: Call
) -> None:
    """With `bos: first` none of the searched windows has a BOS of its own; plain Transformers agrees."""
    source = source_of(gemma, route=route)
    treated = Intervention(
        clamp=ZERO, neurons={layer: tuple(range(0, source.d_mlp, 7)) for layer in range(source.num_layers)}
    )
    texts = Windows(text=TEXT, window=WINDOW, stride=WINDOW, num_tokens=NUM_EVIDENCE * WINDOW, bos="first")
    outcome, scored = engines(searched_and_evaluated, source, texts, treated)
    assert outcome.windows == (range(NUM_EVIDENCE, 2 * NUM_EVIDENCE), range(NUM_EVIDENCE), True)
    assert outcome.matched and outcome.neighbour.fraction is not None
    compared = set()
    for losses in outcome.losses:
        is_accepted = losses.role == "try" and losses.windows == "search" and losses.fraction == outcome.fraction
        role = "accepted" if is_accepted else losses.role
        assert losses.num_tokens.tolist() == [WINDOW - 1] * NUM_EVIDENCE
        if role in scored:
            compared.add((role, losses.windows))
            nll = -scored[role].sums / scored[role].counts
            np.testing.assert_allclose(losses.nll, nll[list(losses.numbers)], atol=2e-5)
    on_both = {(role, part) for role in ("baseline", "treated", "accepted") for part in ("search", "evidence")}
    assert compared == on_both | {("neighbour", "evidence")}
    model, plain = oracles.load(gemma), AutoTokenizer.from_pretrained(gemma)
    ids = [0, *plain(TEXT, add_special_tokens=False)["input_ids"]]
    for number, nll in zip(outcome.losses[0].numbers, outcome.losses[0].nll, strict=True):
        window = ids[number * WINDOW : (number + 1) * WINDOW]
        assert nll == pytest.approx(-float(oracles.token_log_probabilities(model, window).double().mean()), abs=1e-4)
