"""What a condition costs, as claims estimate it."""

import math

import numpy as np
import pandas as pd
import pytest

from studies.benchmarks.measures import MINIMAL_PAIRS, PERPLEXITY, SURPRISAL
from studies.statistics.comparisons import delta
from studies.statistics.effects import effect
from studies.statistics.intervals import difference
from studies.statistics.items import Items

RNG = np.random.default_rng(3)


def windows(shift: float) -> Items:
    nll = np.linspace(2.0, 3.0, 8) + shift * np.linspace(0.5, 1.5, 8)
    return Items(pd.DataFrame({"window": range(8), "num_tokens": 9, "nll": nll}), PERPLEXITY)


def tokens(shift: float, documents: int = 4) -> Items:
    document = np.arange(40) % documents
    surprisal = 2.0 + shift * (1 + document)
    table = pd.DataFrame({"document": document, "start": range(40), "end": range(1, 41), "surprisal": surprisal})
    return Items(table, SURPRISAL)


def pairs(correct: np.ndarray) -> Items:
    uid = np.repeat([f"p{i}" for i in range(6)], 10)
    table = pd.DataFrame({"uid": uid, "pair": np.tile(range(10), 6), "phenomenon": np.where(uid < "p3", "a", "b")})
    return Items(table.assign(correct=correct.astype(float)), MINIMAL_PAIRS)


def test_it_is_the_effect_that_claims_judge() -> None:
    before, after = (pairs(RNG.random(60) < share) for share in (0.9, 0.6))
    found = delta(after, before)
    assert found.interval == effect(after, before).interval() and found.num_items == 60
    assert found.basis == "6 paradigms"
    assert delta(windows(0.1), windows(0.0)).interval.estimate == pytest.approx(0.1)


def test_the_tokens_of_a_document_are_resampled_together() -> None:
    found = delta(tokens(0.1), tokens(0.0))
    assert found.interval == difference(tokens(0.1), tokens(0.0)) and found.basis == "4 documents, bootstrapped"
    assert found.interval.low < found.interval.estimate < found.interval.high
    alone = delta(tokens(0.1, documents=1), tokens(0.0, documents=1))
    assert alone.basis == "1 document, bootstrapped" and math.isnan(alone.interval.low)


def test_other_items_have_no_difference() -> None:
    with pytest.raises(ValueError, match="differ"):
        delta(Items(windows(0.1).table.iloc[1:], PERPLEXITY), windows(0.0))
