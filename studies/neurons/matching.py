"""The perplexity-matched control: the search for m, apart from any model.

Owns the search over the fraction of lowest-scored neurons; the caller measures. The invariant: every evaluated point
is kept, and a point is accepted only if it meets both tolerances; nothing is interpolated into a result.
"""

import math
from collections.abc import Generator
from typing import NamedTuple


class Search(NamedTuple):
    """The outcome of `match_perplexity`."""

    fraction: float | None
    """The accepted fraction; None when the search failed."""
    curve: tuple[tuple[float, float], ...]
    """Every evaluated (fraction, perplexity), in order."""
    reason: str
    """Why it failed; empty on success."""


def match_perplexity(
    *,
    baseline: float,
    treated: float,
    start: float,
    cap: float,
    within: float = 0.01,
    within_rise: float = 0.05,
    max_evaluations: int = 12,
    resolution: float = 1e-6,
) -> Generator[float, float, Search]:
    """A coroutine that yields the next fraction to measure, is sent its perplexity, and returns the outcome.

    The rise of log-perplexity over baseline is close to a power of the fraction, so the search runs on a log-log scale.

    First the fraction is quadrupled from `start` until the target is passed (or `cap` is reached), then the bracket is
    closed by the Illinois variant of regula falsi, which needs no derivative and keeps a bracket even where the curve
    is not monotone. Accepted: |p - treated| <= within * treated AND <= within_rise * (treated - baseline).
    """
    if treated <= baseline:
        return Search(None, (), f"the treated perplexity {treated:.4g} is not above the baseline's {baseline:.4g}")
    tolerance = min(within * treated, within_rise * (treated - baseline))
    curve: list[tuple[float, float]] = []

    def log_rise(perplexity: float) -> float:
        return math.log(max(math.log(perplexity / baseline), 1e-6))

    def measured(fraction: float) -> Generator[float, float, float]:
        curve.append((fraction, (yield fraction)))
        return log_rise(curve[-1][1]) - log_rise(treated)

    def accepted() -> bool:
        return abs(curve[-1][1] - treated) <= tolerance

    low, low_gap = None, 0.0
    fraction = min(start, cap)
    while True:
        gap = yield from measured(fraction)
        if accepted():
            return Search(fraction, tuple(curve), "")
        if gap > 0:
            break
        low, low_gap = fraction, gap
        if fraction >= cap:
            return Search(None, tuple(curve), f"even {cap:.4g} of the neurons reach only perplexity {curve[-1][1]:.4g}")
        if len(curve) >= max_evaluations:
            return Search(None, tuple(curve), f"no match within {max_evaluations} evaluations")
        fraction = min(4 * fraction, cap)
    high, high_gap = fraction, gap
    if low is None:  # the very first fraction was too many: the baseline itself is the other end
        low, low_gap = start * 1e-3, log_rise(baseline) - log_rise(treated)

    side = 0
    while len(curve) < max_evaluations and high - low > resolution:
        step = low_gap / (low_gap - high_gap)
        fraction = math.exp(math.log(low) + step * (math.log(high) - math.log(low)))
        gap = yield from measured(fraction)
        if accepted():
            return Search(fraction, tuple(curve), "")
        if gap > 0:
            high, high_gap = fraction, gap
            low_gap = low_gap / 2 if side == 1 else low_gap
            side = 1
        else:
            low, low_gap = fraction, gap
            high_gap = high_gap / 2 if side == -1 else high_gap
            side = -1
    return Search(None, tuple(curve), f"no match within {len(curve)} evaluations (tolerance {tolerance:.3g})")
