"""A made-up model on which the paper's picture is seen, and changes to it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from studies.benchmarks.measures import MINIMAL_PAIRS
from studies.claims.evidence import Evidence, Scaffolding
from studies.claims.paper import DRAFTS
from studies.claims.scorecard import Verdict, verdicts
from studies.claims.wording import CLAIMS
from studies.statistics.effects import Component, Effect
from studies.statistics.intervals import Interval
from studies.statistics.items import Items
from studies.statistics.neuron_table import NegativeShare
from studies.statistics.random_controls import OverRandoms
from studies.statistics.scaffolding import Adjusted
from tests.unit.studies.statistics.frames import choices, windows

BASELINE = {"log_perplexity": 3.0, "blimp": 0.8, "tse": 0.8, "arc_easy": 0.6, "piqa": 0.7}
TREATED = {"log_perplexity": 3.2, "blimp": 0.6, "tse": 0.6, "arc_easy": 0.5975, "piqa": 0.6975}
MATCHED = {"log_perplexity": 3.201, "blimp": 0.7975, "tse": 0.7975, "arc_easy": 0.5, "piqa": 0.6}
RANDOM = {**BASELINE, "log_perplexity": 3.01}
SHARE = NegativeShare(Interval(0.8, 0.75, 0.85), Interval(0.5, 0.49, 0.51), Interval(0.3, 0.25, 0.35), 60, 5000)


def of_documents(value: float, error: float = 0.02) -> Effect:
    """An effect over 80 documents with this standard error."""
    return Effect(value, (Component(error**2, 79, 80, "documents"),))


SCAFFOLDING = Scaffolding(
    contrast=of_documents(0.2),
    content=of_documents(0.005, 0.005),
    over_randoms=OverRandoms(of_documents(0.1), {"random/seed=0": 0.1, "random/seed=1": 0.1}),
    over_matched=of_documents(0.1),
    adjusted=Adjusted(Interval(0.15, 0.1, 0.2), 0.4),
    num_documents=80,
    num_items=5000,
)


def graded(num_items: int, accuracy: float) -> np.ndarray:
    """The same items are right first, so that conditions are nested."""
    return (np.arange(num_items) < round(accuracy * num_items)).astype(float)


def items_of(
    *,
    log_perplexity: float,
    blimp: float,
    tse: float,
    arc_easy: float,
    piqa: float,
    num_items: int = 400,
    num_windows: int = 20,
) -> dict[str, Items]:
    """Items of one condition from the accuracy on each benchmark; all pairs are of one paradigm."""
    window = np.arange(num_windows)
    losses = log_perplexity + 0.2 * np.sin(window) + 0.01 * np.cos(10 * log_perplexity + window)
    by_benchmark = {"perplexity": windows(losses)}
    for name, accuracy in {"blimp": blimp, "tse": tse}.items():
        table = {"uid": "u", "phenomenon": "p", "pair": range(num_items), "correct": graded(num_items, accuracy)}
        by_benchmark[name] = Items(pd.DataFrame(table), MINIMAL_PAIRS)
    for name, accuracy in {"arc_easy": arc_easy, "piqa": piqa}.items():
        by_benchmark[name] = choices(graded(num_items, accuracy))
    return by_benchmark


def search(matched: float = 0.35, num_windows: int = 8) -> pd.DataFrame:
    """The losses of a search whose curve crosses the target at `matched`, on windows that scatter a little."""
    rng = np.random.default_rng(0)
    rises = {("baseline", 0.0): 0.0, ("treated", 0.01): 0.2}
    rises |= {("try", fraction): 0.2 * fraction / matched for fraction in (matched / 2, matched, 2 * matched)}
    rows = [
        (role, fraction, window, 3 + 0.1 * window + rise * (1 + 0.01 * rng.normal()))
        for (role, fraction), rise in rises.items()
        for window in range(num_windows)
    ]
    return pd.DataFrame(rows, columns=["role", "fraction", "window", "nll"])


def evidence(
    *,
    baseline: Mapping[str, float] = {},
    treated: Mapping[str, float] = {},
    matched: Mapping[str, float] = {},
    random: Mapping[str, float] = {},
    size: Mapping[str, int] = {},
    **fields: Any,
) -> Evidence:
    """The paper's picture, with changes: of conditions' results (of the first random control), and of other fields."""
    values = {
        "model": "tiny",
        "relu": False,
        "baseline": items_of(**{**BASELINE, **baseline}, **size),
        "treated": items_of(**{**TREATED, **treated}, **size),
        "matched": items_of(**{**MATCHED, **matched}, **size),
        "randoms": {
            "random/seed=0": items_of(**{**RANDOM, **random}, **size),
            "random/seed=1": items_of(**{**RANDOM, "log_perplexity": 3.012}, **size),
        },
        "treated_fraction": 0.01,
        "matched_fraction": 0.35,
        "match_losses": search(),
        "perplexity": "perplexity",
        "syntactic": ("blimp", "tse"),
        "non_syntactic": ("arc_easy", "piqa"),
    }
    return Evidence(**(values | fields))


MORE = {
    "by_difficulty": {"log_perplexity": 3.1},
    "signflip": {"blimp": 0.6, "tse": 0.6},
    "posrelu": {},
}


def whole(**changes: Any) -> Evidence:
    """The paper's picture with its other controls; None for a condition leaves it out."""
    fields: dict[str, Any] = {}
    for name, values in MORE.items():
        changed = changes.pop(name, {})
        fields[name] = None if changed is None else items_of(**{**BASELINE, **values, **changed})
    derived = {
        "difficulty_randoms": evidence().randoms,
        "negative_share": SHARE,
        "correlation": 0.4,
        "scaffolding": {"surprisal": SCAFFOLDING},
    }
    return evidence(**{**fields, **derived, **changes})


def scorecard(claims: str, given: Evidence) -> list[Verdict]:
    """The verdicts of one set of claims."""
    return verdicts(given.model, CLAIMS, DRAFTS[claims](given))
