"""What the paper's claims are judged on: the items and summaries of one model, and whether they suffice.

Owns the roles that conditions play in the claims (baseline, treated, random and matched controls). Knows no claim.
Callers rely on: a `Sample` without a problem holds every benchmark under every condition, with finite values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from studies.claims.scorecard import Margins
from studies.statistics.effects import Effect
from studies.statistics.items import BenchmarkItems
from studies.statistics.neuron_table import NegativeShare
from studies.statistics.random_controls import OverRandoms
from studies.statistics.scaffolding import Adjusted


class Scaffolding(NamedTuple):
    """Where the treated condition's excess surprisal sits, on one benchmark; nats, over documents."""

    contrast: Effect
    """Determiners, punctuation, auxiliaries and particles over nouns, verbs, adjectives and adverbs."""
    content: Effect
    """Mean excess on nouns, verbs, adjectives and adverbs."""
    over_randoms: OverRandoms | None
    """The contrast over those of the random controls; None without one."""
    over_matched: Effect | None
    """The contrast with the matched control in the baseline's place; None without one."""
    adjusted: Adjusted | None
    """The contrast between words of equal frequency, position and baseline surprisal; shown, decides nothing."""
    num_documents: int
    """Documents with both classes."""
    num_items: int
    """Tokens or words of both classes."""
    unscored: str = ""
    """The first random control that was not scored on it; empty where all were."""
    match: str = ""
    """How well the matched control matches."""
    match_problem: str = ""
    """Why it is no control at equal perplexity; empty where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything measured on one model."""

    model: str
    relu: bool
    """Whether the model's activation is ReLU."""
    baseline: BenchmarkItems
    treated: BenchmarkItems
    """Negative clamp of the top neurons."""
    randoms: Mapping[str, BenchmarkItems]
    """Negative clamp of as many random neurons, by condition name, one per seed."""
    matched: BenchmarkItems | None
    """Negative clamp of as many low-score neurons as raise perplexity by as much; None without a match."""
    matched_fraction: float | None
    treated_fraction: float | None
    match_losses: pd.DataFrame | None
    """Losses of the windows at every try of the search; None in a record of an earlier version.

    Columns role (baseline, treated, try), fraction, window, nll (nats)."""
    searched_windows: frozenset[int] | None = frozenset()
    """Windows of the perplexity benchmark that the search for the match used, because the text has no others; None =
    all of them."""
    neighbour: BenchmarkItems | None = None
    """The matched control at a fraction beyond the treated perplexity, where the match is not close enough."""
    why_no_neighbour: str = ""
    """Why there is none, as the search says it."""
    perplexity: str
    """Name of the perplexity benchmark; a study without one has no items of this name."""
    syntactic: tuple[str, ...]
    """Names of graded benchmarks, one syntax_loss verdict each."""
    non_syntactic: tuple[str, ...]
    """Names of graded benchmarks."""
    by_difficulty: BenchmarkItems | None = None
    """Negative clamp of as many neurons, those with the highest mapping difficulty."""
    difficulty_randoms: Mapping[str, BenchmarkItems] = field(default_factory=dict)
    """Random controls of as many neurons; the treated condition's own where the numbers agree."""
    correlation: float | None = None
    """Spearman correlation of the two scores over all neurons."""
    difficulty_reliability: float | None = None
    """Reliability of mapping difficulty, the median over layers; None where the neuron table has none."""
    signflip: BenchmarkItems | None = None
    """The treated neurons, their activation without its sign."""
    posrelu: BenchmarkItems | None = None
    """The treated neurons, linear where they are positive."""
    negative_share: NegativeShare | None = None
    scaffolding: Mapping[str, Scaffolding | None] = field(default_factory=dict)
    """By surprisal benchmark; None where the baseline or the treated condition was not scored on it."""
    margins: Margins = field(default_factory=Margins)


class Sample(NamedTuple):
    """The items that a test compares, and why they cannot decide it, if they cannot."""

    conditions: Mapping[str, BenchmarkItems]
    """{condition: its items}; those without items are left out."""
    num_items: int
    """Items of the first condition on the benchmarks of the test."""
    problem: str | None
    """The first reason why the conditions cannot be compared; None where they can."""


def sample(conditions: Mapping[str, BenchmarkItems | None], benchmarks: tuple[str, ...]) -> Sample:
    """The items of a test that compares `conditions` on `benchmarks`."""
    measured = {condition: items for condition, items in conditions.items() if items is not None}
    first = next(iter(conditions.values())) or {}
    num_items = sum(len(first[benchmark]) for benchmark in benchmarks if benchmark in first)
    return Sample(measured, num_items, _problem(conditions, benchmarks, num_items))


def _problem(
    conditions: Mapping[str, BenchmarkItems | None], benchmarks: tuple[str, ...], num_items: int
) -> str | None:
    if not benchmarks:
        return "no benchmark"
    for condition, items in conditions.items():
        if items is None:
            return f"no {condition} control"
        for benchmark in benchmarks:
            if benchmark not in items:
                return f"no {benchmark} items of {condition}"
            values = items[benchmark].table[items[benchmark].measure.value].to_numpy(np.float64)
            if num_broken := int((~np.isfinite(values)).sum()):
                return f"{num_broken} of {len(values)} {benchmark} items of {condition} not finite"
    measures = [items[benchmark].measure for items in conditions.values() if items for benchmark in benchmarks]
    strictest = max(measures, key=lambda measure: measure.fewest)
    return f"too few {strictest.noun}, at least {strictest.fewest} needed" if num_items < strictest.fewest else None
