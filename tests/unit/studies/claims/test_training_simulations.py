"""How often trainings in which a claim is false support it by chance, and how often one in which it is true does.

A claim may be supported by chance in 2.5 % of the trainings in which it is false; the limits add two Monte-Carlo
errors. Each replicate is judged by the claim itself.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from studies.benchmarks.measures import MULTIPLE_CHOICE
from studies.claims.scorecard import Status
from studies.claims.training import MIN_CHECKPOINTS, TrainingEvidence, training_dynamics
from studies.neurons.selection import NeuronSet, top_like
from studies.statistics import cohorts
from studies.statistics.effects import Effect
from studies.statistics.items import Items

LAYERS, WIDTH, CHOSEN = 6, 60, 6
"""Layers, neurons in each, and how many of them are treated."""
KEYS = pd.DataFrame({"layer": np.repeat(range(LAYERS), WIDTH), "neuron": np.tile(range(WIDTH), LAYERS)})
COHORT = NeuronSet.of({layer: range(CHOSEN) for layer in range(LAYERS)})
IN_COHORT = (KEYS["neuron"] < CHOSEN).to_numpy()
COUNTS = dict.fromkeys(range(LAYERS), CHOSEN)
WD = "wasserstein_distance"
Rng = np.random.Generator


@pytest.fixture(autouse=True)
def no_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """statsmodels collects garbage with every Holm correction, which takes 0.1 seconds."""
    monkeypatch.setattr("gc.collect", lambda *_: 0)


FEW, MANY = 200, 2000
replicates = pytest.mark.parametrize("num", [FEW, pytest.param(MANY, marks=pytest.mark.long)])
many_replicates = pytest.mark.parametrize("num", [pytest.param(MANY, marks=pytest.mark.long)])


def trainings(*kinds: Callable[[Rng], Any], more: tuple[Callable[[Rng], Any], ...] = ()) -> pytest.MarkDecorator:
    """Every kind of training, few replicates of each but of those in `more` in `make test`."""
    few = [pytest.param(kind, FEW) for kind in kinds]
    many = [pytest.param(kind, MANY, marks=pytest.mark.long) for kind in (*kinds, *more)]
    return pytest.mark.parametrize(("draw", "num"), few + many)


def at_most(num: int, rate: float = 0.025) -> float:
    """A rate plus two Monte-Carlo errors: 3.2 % of 2,000 replicates."""
    return rate + 2 * (rate * (1 - rate) / num) ** 0.5


def evidence(**fields: Any) -> TrainingEvidence:
    nothing: dict[str, Any] = {"neurons": {}, "weights": {}, "before": {}, "baseline": {}, "syntactic": ()}
    rest = {"series": "m", "relu": True, "selected_at": 10, "treated": {}, "random_items": {}, "perplexity": ""}
    return TrainingEvidence(**{"cohort": COHORT} | nothing | rest | fields)


def share_of(status: Status, claim: str, draw: Callable[[Rng], dict[str, Any]], num: int, seed: int = 0) -> float:
    """In how many of `num` trainings the claim has this verdict."""
    found = 0
    for rng in np.random.default_rng(seed).spawn(num):
        (verdict,) = [v for v in training_dynamics(evidence(**draw(rng))) if v.claim == claim]
        found += verdict.status is status
    return found / num


def tables(wd_SN: np.ndarray) -> dict[str, Any]:
    """wd_SN: [checkpoints, neurons]; the first checkpoint is untrained."""
    return {"neurons": {10 * step: KEYS.assign(**{WD: wd}) for step, wd in enumerate(wd_SN)}}


def noise_around_a_fixed_level(rng: Rng) -> np.ndarray:
    return 0.1 + 0.02 * rng.normal(size=len(KEYS)) + 0.01 * rng.normal(size=(3, len(KEYS)))


def all_rise_alike(rng: Rng) -> np.ndarray:
    return noise_around_a_fixed_level(rng) + 0.1 * np.arange(3)[:, None] + of_layers(0.01 * rng.normal(size=LAYERS))


def random_walk(rng: Rng) -> np.ndarray:
    """With steps that the neurons of a layer share in part."""
    steps = 0.01 * rng.normal(size=(3, len(KEYS))) + np.stack([of_layers(rng.normal(size=LAYERS)) for _ in range(3)])
    return 10 + steps.cumsum(axis=0)


def all_drift_upwards(rng: Rng) -> np.ndarray:
    """What comes after an early cohort is chosen does not depend on the choice: no lead, and no regression."""
    return random_walk(rng) + 10.0 * np.arange(3)[:, None]


def cohort_rises(rng: Rng) -> np.ndarray:
    return noise_around_a_fixed_level(rng) + np.array([0.0, 0.1, 0.2])[:, None] * IN_COHORT


def of_layers(values_L: np.ndarray) -> np.ndarray:
    """A value of each layer, for its neurons."""
    return values_L[KEYS["layer"]]


@trainings(noise_around_a_fixed_level, all_drift_upwards, more=(all_rise_alike,))
def test_wd_does_not_rise_by_chance(draw: Callable[[Rng], np.ndarray], num: int) -> None:
    assert share_of(Status.SUPPORTED, "wd_rises", lambda rng: tables(draw(rng)), num) <= at_most(num)


@many_replicates
def test_regression_to_the_mean_contradicts_no_rise(num: int) -> None:
    rate = share_of(Status.CONTRADICTED, "wd_rises", lambda rng: tables(noise_around_a_fixed_level(rng)), num)
    assert rate <= at_most(num)


@replicates
def test_a_rising_cohort_is_seen(num: int) -> None:
    assert share_of(Status.SUPPORTED, "wd_rises", lambda rng: tables(cohort_rises(rng)), num) > 0.9


@replicates
def test_the_interval_of_a_rise_covers_it(num: int) -> None:
    """The rise from where a cohort is chosen, in trainings in which what comes after does not depend on the choice."""

    def covered(rng: Rng) -> list[bool]:
        _, before, after = (KEYS.assign(**{WD: wd}) for wd in random_walk(rng) + np.outer(range(3), 0.5 * IN_COHORT))
        cohort = top_like(before, score=WD, counts=COUNTS)
        share = cohorts.is_member(before, cohort)[IN_COHORT].mean()  # of the cohort that rises by 0.5
        found = cohorts.rise(before, after, cohort, WD)
        others = 0.5 * (1 - share) * CHOSEN / (WIDTH - CHOSEN)
        return [covers(found.own, 0.5 * share), covers(found.lead, 0.5 * share - others)]

    assert np.mean([covered(rng) for rng in np.random.default_rng(1).spawn(num)], axis=0).min() >= 0.93


def covers(effect: Effect, truth: float) -> bool:
    _, low, high = effect.interval()
    return bool(low <= truth <= high)


BEFORE = {1000: 0, 2000: 1000, 4000: 2000, 8000: 4000, 16000: 8000, 31000: 16000, 32000: 31000}
"""Checkpoints get sparser, as in the paper; one was added near the end."""
ENDS = (0, 1000, 31000, 32000)
DIMENSIONS = 12


def turned(weights_SND: np.ndarray) -> dict[str, Any]:
    """weights_SND: [checkpoints `ENDS`, neurons, dimensions]."""
    unit = weights_SND / np.linalg.norm(weights_SND, axis=2, keepdims=True)
    turns = {late: 1 - (unit[s] * unit[s + 1]).sum(axis=1) for s, late in ((0, 1000), (2, 32000))}
    tables = {late: KEYS.assign(pre_activation=of_neurons) for late, of_neurons in turns.items()}
    return {"before": BEFORE, "weights": tables}


def at_rest(rng: Rng, sizes: tuple[float, ...] = (1, 1, 1, 1)) -> np.ndarray:
    """Weights around a fixed point, whose noise has these sizes."""
    shape = (len(ENDS), len(KEYS), DIMENSIONS)
    return 3 + rng.normal(size=shape[1:]) + 0.3 * np.array(sizes)[:, None, None] * rng.normal(size=shape)


def diffusing(rng: Rng, rates: tuple[float, float] = (1, 1), cohort: float = 1) -> np.ndarray:
    """A random walk with these variances a step at the beginning and at the end, there `cohort` times in the cohort."""
    variances = 2e-6 * np.diff(ENDS, prepend=0) * np.array([1, rates[0], 1, rates[1]])
    scale = np.ones((len(ENDS), len(KEYS)))
    scale[3, IN_COHORT] = cohort
    steps = np.sqrt(variances[:, None] * scale)[..., None] * rng.normal(size=(*scale.shape, DIMENSIONS))
    return 3 + rng.normal(size=(len(KEYS), DIMENSIONS)) + steps.cumsum(axis=0)


def all_slow_down(rng: Rng) -> np.ndarray:
    """As a decaying learning rate makes them."""
    return diffusing(rng, (4, 1))


def restless_checkpoints(rng: Rng) -> np.ndarray:
    """Around a fixed point, with noise that is larger at some checkpoints, for all neurons alike."""
    return at_rest(rng, tuple(np.exp(0.3 * rng.normal(size=len(ENDS)))))


@trainings(at_rest, diffusing, more=(all_slow_down, restless_checkpoints))
def test_weights_do_not_settle_by_chance(draw: Callable[[Rng], np.ndarray], num: int) -> None:
    assert share_of(Status.SUPPORTED, "weights_settle", lambda rng: turned(draw(rng)), num) <= at_most(num)


@replicates
def test_a_settling_cohort_is_seen(num: int) -> None:
    draw = lambda rng: turned(diffusing(rng, (4, 1), cohort=0.5))  # noqa: E731
    assert share_of(Status.SUPPORTED, "weights_settle", draw, num) > 0.9


@trainings(at_rest, diffusing)
def test_the_interval_of_settling_covers_none(draw: Callable[[Rng], np.ndarray], num: int) -> None:
    def covered(rng: Rng) -> list[bool]:
        early, late = turned(draw(rng))["weights"].values()
        found = cohorts.settling(early, late, COHORT, "pre_activation")
        return [covers(found.own, 0), covers(found.lead, 0)]

    assert np.mean([covered(rng) for rng in np.random.default_rng(2).spawn(num)], axis=0).min() >= 0.93


FEW_LAYERS = KEYS["layer"].to_numpy() < 2


class Course(NamedTuple):
    """[checkpoints] a training."""

    cohort: np.ndarray
    others: np.ndarray
    accuracy: np.ndarray


def followed(rng: Rng, course: Course) -> dict[str, Any]:
    """Neuron tables and accuracies of a course."""
    is_cohort, keys = IN_COHORT[FEW_LAYERS], KEYS[FEW_LAYERS]
    around = np.where(is_cohort, course.cohort[:, None], course.others[:, None])
    wd_SN = around + 0.01 * rng.normal(size=around.shape)
    baseline = {
        step: {"tse": Items(pd.DataFrame({"id": [0], "correct": [accuracy]}), MULTIPLE_CHOICE)}
        for step, accuracy in enumerate(course.accuracy)
    }
    neurons = {step: keys.assign(**{WD: wd}) for step, wd in enumerate(wd_SN)}
    cohort = NeuronSet.of({layer: range(CHOSEN) for layer in range(2)})
    return {"neurons": neurons, "baseline": baseline, "syntactic": ("tse",), "cohort": cohort}


def curve(speed: float) -> np.ndarray:
    return 1 - np.exp(-speed * np.linspace(0, 1, MIN_CHECKPOINTS))


def noise(rng: Rng, size: float) -> np.ndarray:
    return size * rng.normal(size=MIN_CHECKPOINTS)


def unrelated_noise(rng: Rng) -> Course:
    return Course(noise(rng, 0.1), noise(rng, 0.01), noise(rng, 0.1))


def unrelated_walks(rng: Rng) -> Course:
    return Course(noise(rng, 0.1).cumsum(), noise(rng, 0.01), noise(rng, 0.1).cumsum())


def both_rise_and_level_off(rng: Rng) -> Course:
    return Course(curve(5) + noise(rng, 0.1), 0.1 * curve(5), curve(3) + noise(rng, 0.1))


def all_neurons_follow_accuracy(rng: Rng) -> Course:
    common = curve(4) + noise(rng, 0.1)
    return Course(common + noise(rng, 0.05), common, common + noise(rng, 0.05))


def cohort_follows_accuracy(rng: Rng) -> Course:
    common = curve(4) + noise(rng, 0.1)
    return Course(common, 0.1 * curve(4) + noise(rng, 0.01), common + noise(rng, 0.02))


@trainings(unrelated_noise, all_neurons_follow_accuracy, more=(unrelated_walks, both_rise_and_level_off))
def test_wd_does_not_track_syntax_by_chance(draw: Callable[[Rng], Course], num: int) -> None:
    rate = share_of(Status.SUPPORTED, "wd_tracks_syntax/tse", lambda rng: followed(rng, draw(rng)), num)
    assert rate <= at_most(num)


@many_replicates
def test_a_cohort_that_tracks_syntax_is_seen(num: int) -> None:
    draw = lambda rng: followed(rng, cohort_follows_accuracy(rng))  # noqa: E731
    assert share_of(Status.SUPPORTED, "wd_tracks_syntax/tse", draw, num) > 0.9


@trainings(unrelated_noise, unrelated_walks)
def test_the_interval_of_a_correlation_covers_none(draw: Callable[[Rng], Course], num: int) -> None:
    courses = [draw(rng) for rng in np.random.default_rng(3).spawn(num)]
    assert np.mean([covers(cohorts.tracking(one.cohort, one.accuracy), 0) for one in courses]) >= 0.93
