"""Where the curve of a search crosses its target, and how certain that is."""

import numpy as np
import pytest

from studies.statistics.crossing import crossing

BASELINE = np.full(40, 3.0)


def power_law(fractions: np.ndarray, noise: float = 0.0, exponent: float = 0.8) -> np.ndarray:
    """[K, W] losses whose rise is a power of the fraction: 0.2 nats at 0.3."""
    rises = 0.2 * (fractions / 0.3) ** exponent
    scatter = noise * np.random.default_rng(0).normal(size=(len(fractions), len(BASELINE)))
    return BASELINE + rises[:, None] * (1 + scatter)


@pytest.mark.parametrize(
    "tries",
    [[0.1, 0.2, 0.5], [0.5, 0.1, 0.2], [0.3], [0.1, 0.2], [0.5, 0.9]],
    ids=["in", "shuffled", "hit", "up", "down"],
)
def test_a_power_law_is_crossed_where_it_is(tries: list[float]) -> None:
    fractions = np.array(tries)
    found = crossing(BASELINE, BASELINE + 0.2, fractions, power_law(fractions))
    assert found.value == pytest.approx(0.3, rel=1e-9)


def test_the_interval_is_that_of_the_windows() -> None:
    """Checked against the delta method: the fraction moves by 1 / (exponent * rise) for every nat."""
    rng = np.random.default_rng(1)
    fractions = np.array([0.2, 0.3, 0.4])
    treated = BASELINE + 0.2 + 0.02 * rng.normal(size=40)
    found = crossing(BASELINE, treated, fractions, power_law(fractions))
    error = treated.std(ddof=1) / np.sqrt(40)
    assert np.sqrt(found.variance) == pytest.approx(0.3 * error / (0.8 * 0.2), rel=0.1)
    assert found.df == 39 and found.basis == "40 windows of the search"


def test_one_window_has_no_interval_and_a_flat_curve_an_end() -> None:
    alone = crossing(BASELINE[:1], BASELINE[:1] + 0.2, np.array([0.3]), power_law(np.array([0.3]))[:, :1])
    assert alone.value == pytest.approx(0.3) and np.isnan(alone.variance)
    flat = crossing(BASELINE, BASELINE + 0.2, np.array([0.1, 0.2]), np.tile(BASELINE + 0.1, (2, 1)))
    assert np.isfinite(flat.value) and flat.value > 0.2
