"""The random-effects summary against computations by hand."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from studies.statistics.across_models import ModelEffect, random_effects, summarise


def by_hand(values: np.ndarray, variances: np.ndarray) -> tuple[float, float, float]:
    """(mean, its standard error, tau^2): Paule and Mandel's equation solved by bisection."""

    def excess(tau2: float) -> float:
        weights = 1 / (variances + tau2)
        mean = (weights * values).sum() / weights.sum()
        return float((weights * (values - mean) ** 2).sum() - (len(values) - 1))

    tau2 = 0.0 if excess(0.0) <= 0 else optimize.brentq(excess, 0.0, 10 * np.ptp(values) ** 2, xtol=1e-15)
    weights = 1 / (variances + tau2)
    mean = (weights * values).sum() / weights.sum()
    scale = (weights * (values - mean) ** 2).sum() / (len(values) - 1)
    return float(mean), float((max(1.0, scale) / weights.sum()) ** 0.5), tau2


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("tau", [0.0, 0.01, 0.3, 50.0])
def test_a_summary_is_that_by_hand(seed: int, tau: float) -> None:
    rng = np.random.default_rng(seed)
    k = int(rng.integers(3, 9))
    variances = rng.uniform(0.005, 0.05, k) ** 2
    values = rng.normal(-0.1, np.sqrt(tau**2 + variances))
    mean, error, tau2 = by_hand(values, variances)
    interval, prediction, found_tau = random_effects(values, variances)
    assert interval.estimate == pytest.approx(mean, rel=1e-4, abs=1e-6)
    assert found_tau**2 == pytest.approx(tau2, rel=1e-4, abs=1e-9)
    assert interval.high - interval.low == pytest.approx(2 * stats.t.isf(0.025, k - 1) * error, rel=1e-4)
    half = stats.t.isf(0.025, k - 2) * math.sqrt(tau2 + error**2)
    assert (prediction.low, prediction.high) == (
        pytest.approx(mean - half, rel=1e-4, abs=1e-6),
        pytest.approx(mean + half, rel=1e-4, abs=1e-6),
    )


def test_effects_that_agree_do_not_shrink_the_interval() -> None:
    """Unmodified, Hartung and Knapp's variance of equal effects would be 0."""
    interval, _, tau = random_effects(np.full(5, 0.1), np.full(5, 0.02**2))
    half = stats.t.isf(0.025, 4) * 0.02 / 5**0.5
    assert tau == 0.0 and interval == pytest.approx((0.1, 0.1 - half, 0.1 + half))


def effect(model: str, family: str, value: float, error: float = 0.01, df: float = 20.0) -> ModelEffect:
    return ModelEffect(model, family, value, error, df)


def test_a_family_enters_as_one() -> None:
    sizes = [effect("pythia-0", "pythia", -0.1, 0.01), effect("pythia-1", "pythia", -0.2, 0.03)]
    others = [effect("a", "a", -0.1), effect("b", "b", -0.3), effect("c", "c", -0.05)]
    summary = summarise([*sizes, *others])
    assert summary is not None and summary.num_models == 5
    pythia, *_ = summary.families
    assert (pythia.name, pythia.models) == ("pythia", ("pythia-0", "pythia-1"))
    assert pythia.mean.estimate == pytest.approx(-0.15) and pythia.standard_error == pytest.approx(0.02)
    assert pythia.mean.high == pytest.approx(-0.15 + stats.t.isf(0.025, 20) * 0.02)
    of_four = random_effects(np.array([-0.15, -0.1, -0.3, -0.05]), np.array([0.02, 0.01, 0.01, 0.01]) ** 2)
    for found, expected in zip((summary.mean, summary.prediction, summary.tau), of_four, strict=True):
        assert found == pytest.approx(expected)


def test_many_sizes_of_one_family_say_no_more_of_others_than_one() -> None:
    def spread(num: int) -> float:
        sizes = [effect(f"p{i}", "p", -0.1) for i in range(num)]
        summary = summarise([*sizes, effect("a", "a", -0.1), effect("b", "b", -0.3), effect("c", "c", 0.0)])
        assert summary is not None
        return summary.mean.high - summary.mean.low

    assert spread(2) == pytest.approx(spread(20))


def test_what_few_models_and_few_families_do_not_say() -> None:
    assert summarise([effect(str(i), str(i), 0.1) for i in range(4)]) is None
    one = summarise([effect(str(i), "p", 0.1) for i in range(5)])
    assert one is not None and one.mean.estimate == pytest.approx(0.1)
    assert all(map(math.isnan, (one.mean.low, one.mean.high, one.prediction.low, one.tau)))
    two = summarise([effect(str(i), "p" if i else "q", 0.1) for i in range(5)])
    assert two is not None and two.mean.low < 0.1 < two.mean.high
    assert math.isnan(two.prediction.low) and math.isnan(two.prediction.high)


@pytest.mark.parametrize(("value", "error"), [(math.nan, 0.1), (0.1, 0.0), (0.1, math.nan), (0.1, math.inf)])
def test_an_effect_without_an_error_is_refused(value: float, error: float) -> None:
    with pytest.raises(ValueError, match="m has effect"):
        summarise([effect("m", "m", value, error), *(effect(str(i), str(i), 0.1) for i in range(4))])
