"""How often claims are supported that are not true, and how often intervals hold the truth, on simulated models.

The units are those of BLiMP (67 paradigms in 13 phenomena, 50 pairs each) and TSE (22 templates in 3), of four tasks
and of 24 windows. An ablation changes the items of a unit with a probability, and each unit by an amount of its own, of
which the truth is the mean over all possible units. Estimates and verdicts come from the product's own code.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pytest

from studies.claims.scorecard import Denial, Part, Status, judge
from studies.statistics.effects import Component, Effect, contrast, mean_effect, stratified_mean
from studies.statistics.random_controls import over_random_effects

BLIMP, TSE = (4, 7, 6, 2, 7, 5, 8, 7, 7, 2, 2, 8, 2), (15, 4, 3)
"""Units in each phenomenon."""
PER_UNIT, PER_TASK, NUM_TASKS, NUM_WINDOWS, NUM_SETS = 50, 200, 4, 24, 3
MARGIN, NOMINAL = 0.02, 0.025
REPLICATES = [pytest.param(200, id="200"), pytest.param(2000, id="2000", marks=pytest.mark.long)]


class Truth(NamedTuple):
    """What an ablation does to the accuracy on a benchmark."""

    mean: float = 0.0
    spread: float = 0.0
    """Standard deviation of the change over units."""
    discordance: float = 0.06
    """Share of items that change."""


def at_most(num: int, rate: float = NOMINAL) -> float:
    """A rate plus two Monte-Carlo errors."""
    return rate + 2 * (rate * (1 - rate) / num) ** 0.5


def changes(truth: Truth, shape: tuple[int, ...], per_unit: int, rng: np.random.Generator) -> np.ndarray:
    """[shape] change of accuracy of each unit: of its items some are lost, some gained."""
    share = np.clip(0.5 + rng.normal(truth.mean, truth.spread, shape) / truth.discordance / 2, 0, 1)
    changed = rng.binomial(per_unit, truth.discordance, shape)
    return (2 * rng.binomial(changed, share) - changed) / per_unit


def clipped_mean(truth: Truth) -> float:
    """The truth that `changes` simulates: a unit cannot change by more than its discordance."""
    drawn = np.random.default_rng(0).normal(truth.mean, truth.spread, 10**6)
    return float(np.clip(drawn, -truth.discordance, truth.discordance).mean())


def effects(strata: list[np.ndarray], noun: str) -> list[Effect]:
    """One effect a replicate, of [replicates, units] in each stratum."""
    num_units = sum(values.shape[1] for values in strata)
    moments = np.transpose(stratified_mean(strata))
    return [Effect(v, (Component(variance, df, num_units, noun),)) for v, variance, df in moments.tolist()]


def by_stratum(values_RU: np.ndarray, sizes: tuple[int, ...]) -> list[np.ndarray]:
    """[replicates, units] cut into strata of these sizes."""
    return np.split(values_RU, np.cumsum(sizes)[:-1], axis=1)


class Models:
    """Simulated models: the effects of a treated condition and its matched control on each kind of benchmark."""

    def __init__(self, num: int, on_syntax: tuple[Truth, Truth], on_rest: tuple[Truth, Truth]) -> None:
        self.num, self._rng = num, np.random.default_rng(0)
        shape = {"blimp": (num, sum(BLIMP)), "tse": (num, sum(TSE))}
        self._units = {
            name: [changes(truth, shape[name], PER_UNIT, self._rng) for truth in on_syntax] for name in shape
        }
        self._tasks = [[changes(truth, (num, PER_TASK), 1, self._rng) for _ in range(NUM_TASKS)] for truth in on_rest]

    def on(self, name: str, *weights: float) -> list[Effect]:
        """Treated and matched changes on a syntactic benchmark, times these weights, summed."""
        values = sum(weight * unit for weight, unit in zip(weights, self._units[name], strict=True))
        return effects(by_stratum(values, BLIMP if name == "blimp" else TSE), "units")

    def on_syntax(self, *weights: float) -> list[Effect]:
        """The mean over both benchmarks."""
        return [mean_effect(pair) for pair in zip(self.on("blimp", *weights), self.on("tse", *weights), strict=True)]

    def on_rest(self, *weights: float) -> list[Effect]:
        """The mean over the tasks, whose items are the units."""
        (a, b), (treated, matched) = weights, self._tasks
        return effects([a * t + b * m for t, m in zip(treated, matched, strict=True)], "items")

    @cached_property
    def perplexity(self) -> Iterator[list[Part]]:
        """The treated neurons are one more random set: sets differ, each window scatters."""
        of_sets = self._rng.normal(0, 0.02, (self.num, NUM_SETS + 1, 1))
        losses = of_sets + 0.05 * self._rng.normal(size=(self.num, NUM_SETS + 1, NUM_WINDOWS))
        treated, randoms = losses[:, 0], losses[:, 1:]
        rises = effects([treated], "windows")
        over_mean = effects([treated - randoms.mean(axis=1)], "windows")
        over_each = [effects([treated - randoms[:, s]], "windows") for s in range(NUM_SETS)]
        for r in range(self.num):
            over = over_random_effects({str(s): over_each[s][r] for s in range(NUM_SETS)}, over_mean[r])
            yield [Part("rise", rises[r], +1), Part("over random", over.effect, +1, True, over.rank_p_value(+1))]


def syntax_loss(models: Models, name: str) -> Iterator[tuple[list[Part], list[Denial]]]:
    for effect, over in zip(models.on(name, 1, 0), models.on(name, 1, -1), strict=True):
        yield [Part("loss", effect, -1), Part("over matched", over, -1, True)], []


def knowledge_loss(models: Models) -> Iterator[tuple[list[Part], list[Denial]]]:
    for effect, over in zip(models.on_rest(0, 1), models.on_rest(-1, 1), strict=True):
        yield [Part("loss", effect, -1), Part("over treated", over, -1, True)], []


def double_dissociation(models: Models) -> Iterator[tuple[list[Part], list[Denial]]]:
    for syntax, rest in zip(models.on_syntax(1, -1), models.on_rest(-1, 1), strict=True):
        interaction = contrast(syntax, rest.times(-1))
        yield [Part("syntax", syntax, -1), Part("rest", rest, -1), Part("interaction", interaction, -1, True)], []


def spared(found: list[Effect]) -> Iterator[tuple[list[Part], list[Denial]]]:
    for effect in found:
        yield [], [Denial("spared", effect)]


CLAIMS: dict[str, Callable[[Models], Iterator[tuple[list[Part], list[Denial]]]]] = {
    "perplexity_cost": lambda models: ((parts, []) for parts in models.perplexity),
    "syntax_loss/blimp": lambda models: syntax_loss(models, "blimp"),
    "syntax_loss/tse": lambda models: syntax_loss(models, "tse"),
    "knowledge_loss": knowledge_loss,
    "double_dissociation": double_dissociation,
}
"""The parts of the claims that an effect exists, as in `studies.claims.dissociation`."""


def rate(cases: Iterator[tuple[list[Part], list[Denial]]], num: int, status: Status = Status.SUPPORTED) -> float:
    """The share of models on which a claim gets this verdict."""
    return Counter(judge(parts, denials, MARGIN)[0] for parts, denials in cases)[status] / num


@pytest.mark.parametrize("num", REPLICATES)
@pytest.mark.parametrize("spread", [0.0, 0.04], ids=["no effect", "uneven effects"])
@pytest.mark.parametrize("claim", CLAIMS)
def test_what_is_not_there_is_supported_no_more_often_than_by_chance(claim: str, spread: float, num: int) -> None:
    """Uneven effects differ from unit to unit, and are 0 over all of them."""
    nothing = Truth(spread=spread)
    models = Models(num, (nothing, nothing), (Truth(), Truth()))
    assert rate(CLAIMS[claim](models), num) <= at_most(num)


@pytest.mark.parametrize("num", REPLICATES)
def test_a_single_dissociation_is_not_taken_for_a_double_one(num: int) -> None:
    """Syntax suffers under the treatment alone, the rest under both alike: half of the claim is false."""
    losing, sparing, both = Truth(-0.05, 0.02, 0.15), Truth(0.0, 0.02), Truth(-0.03)
    models = Models(num, (losing, sparing), (both, both))
    assert rate(double_dissociation(models), num) <= at_most(num)
    assert rate(syntax_loss(models, "blimp"), num) > 0.9, "what is true is seen"


@pytest.mark.parametrize("num", REPLICATES)
def test_a_double_dissociation_is_seen(num: int) -> None:
    losing, sparing = Truth(-0.06, 0.02, 0.15), Truth(0.0, 0.02)
    models = Models(num, (losing, sparing), (Truth(0.0), Truth(-0.06, 0.0, 0.2)))
    assert rate(double_dissociation(models), num) > 0.8


@pytest.mark.parametrize("num", REPLICATES)
def test_a_change_as_large_as_the_margin_is_seldom_called_spared(num: int) -> None:
    """A claim of absence rests on two one-sided tests at 5 %."""
    at_margin = Truth(-MARGIN, 0.01)
    models = Models(num, (at_margin, at_margin), (at_margin, at_margin))
    for found in (models.on("blimp", 0, 1), models.on("tse", 0, 1), models.on_rest(1, 0)):
        assert rate(spared(found), num) <= at_most(num, 0.05)


@pytest.mark.parametrize("num", [pytest.param(500, id="500"), pytest.param(5000, id="5000", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "truth", [Truth(), Truth(-0.01, 0.01), Truth(-0.03, 0.05, 0.2)], ids=["none", "small", "uneven"]
)
@pytest.mark.parametrize("name", ["blimp", "tse"])
def test_intervals_hold_the_truth(name: str, truth: Truth, num: int) -> None:
    intervals = [effect.interval() for effect in Models(num, (truth, truth), (Truth(), Truth())).on(name, 1, 0)]
    mean = clipped_mean(truth)
    held = sum(low < mean < high for _, low, high in intervals) / num
    error = 2 * (0.95 * 0.05 / num) ** 0.5
    assert 0.93 - error < held < 0.97 + error
