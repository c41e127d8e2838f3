"""The perplexity-matched control: the search for the fraction of lowest-scored neurons, independent of any model.

Owns the search; the caller measures. The invariant: every evaluated point is kept, and a point is accepted only if it
meets both tolerances; nothing is interpolated into a result.
"""

import math
from collections.abc import Generator
from typing import NamedTuple


class SearchLimits(NamedTuple):
    """How close a match must be, and when the search gives up."""

    within: float = 0.01
    """Accepted if |perplexity - treated| <= within * treated, ..."""
    within_rise: float = 0.05
    """... and <= within_rise * (treated - baseline)."""
    max_evaluations: int = 12
    resolution: float = 1e-6
    """A bracket of fractions that is no wider is not searched further."""


DEFAULT_LIMITS = SearchLimits()


class SearchOutcome(NamedTuple):
    """The outcome of `match_perplexity`."""

    fraction: float | None
    """The accepted fraction; None when the search failed."""
    curve: tuple[tuple[float, float], ...]
    """Every evaluated (fraction, perplexity), in order."""
    reason: str
    """Why it failed; empty on success."""


def match_perplexity(
    *, baseline: float, treated: float, start: float, cap: float, limits: SearchLimits = DEFAULT_LIMITS
) -> Generator[float, float, SearchOutcome]:
    """A coroutine that yields the next fraction to measure, is sent its perplexity, and returns the outcome.

    The rise of log-perplexity over baseline is close to a power of the fraction, so the search runs on a log-log scale.

    First the fraction is quadrupled from `start` until the target is passed (or `cap` is reached), then the bracket is
    closed by the Illinois variant of regula falsi, which needs no derivative and keeps a bracket even where the curve
    is not monotone.
    """
    if treated <= baseline:
        reason = f"the treated perplexity {treated:.4g} is not above the baseline's {baseline:.4g}"
        return SearchOutcome(None, (), reason)
    curve = _Curve(baseline, treated, limits)
    bracket = yield from _expand(curve, start, cap)
    if isinstance(bracket, SearchOutcome):
        return bracket
    return (yield from _close(curve, bracket))


class _Curve:
    """The evaluated points, and how far each lies from the target on the search's scale."""

    def __init__(self, baseline: float, treated: float, limits: SearchLimits):
        self.baseline, self.limits = baseline, limits
        self.tolerance = min(limits.within * treated, limits.within_rise * (treated - baseline))
        self._treated = treated
        self._points: list[tuple[float, float]] = []

    def __len__(self) -> int:
        return len(self._points)

    @property
    def perplexity(self) -> float:
        """Of the last point."""
        return self._points[-1][1]

    @property
    def is_accepted(self) -> bool:
        """Whether the last point meets both tolerances."""
        return abs(self.perplexity - self._treated) <= self.tolerance

    def measure(self, fraction: float) -> Generator[float, float, float]:
        """Yield a fraction to measure; returns its `gap`."""
        self._points.append((fraction, (yield fraction)))
        return self.gap(self.perplexity)

    def gap(self, perplexity: float) -> float:
        """Log of the rise of log-perplexity, minus the treated condition's; positive beyond the target."""
        return self._log_rise(perplexity) - self._log_rise(self._treated)

    def end(self, fraction: float | None, reason: str = "") -> SearchOutcome:
        return SearchOutcome(fraction, tuple(self._points), reason)

    def _log_rise(self, perplexity: float) -> float:
        return math.log(max(math.log(perplexity / self.baseline), 1e-6))


class _Bracket(NamedTuple):
    """Two fractions with the target between them, and their gaps."""

    low: float
    low_gap: float
    high: float
    high_gap: float


def _expand(curve: _Curve, start: float, cap: float) -> Generator[float, float, _Bracket | SearchOutcome]:
    """Quadruple the fraction until it passes the target."""
    low, low_gap = None, 0.0
    fraction = min(start, cap)
    while True:
        gap = yield from curve.measure(fraction)
        if curve.is_accepted:
            return curve.end(fraction)
        if gap > 0:
            break
        low, low_gap = fraction, gap
        if fraction >= cap:
            return curve.end(None, f"even {cap:.4g} of the neurons reach only perplexity {curve.perplexity:.4g}")
        if len(curve) >= curve.limits.max_evaluations:
            return curve.end(None, f"no match within {curve.limits.max_evaluations} evaluations")
        fraction = min(4 * fraction, cap)
    if low is None:  # the very first fraction is beyond the target: the other end is the baseline itself
        low, low_gap = start * 1e-3, curve.gap(curve.baseline)
    return _Bracket(low, low_gap, fraction, gap)


def _close(curve: _Curve, bracket: _Bracket) -> Generator[float, float, SearchOutcome]:
    """Close the bracket by regula falsi; the gap of an end that stays twice is halved (Illinois)."""
    low, low_gap, high, high_gap = bracket
    side = 0  # which end moved last: +1 the high one, -1 the low one
    while len(curve) < curve.limits.max_evaluations and high - low > curve.limits.resolution:
        step = low_gap / (low_gap - high_gap)
        fraction = math.exp(math.log(low) + step * (math.log(high) - math.log(low)))
        gap = yield from curve.measure(fraction)
        if curve.is_accepted:
            return curve.end(fraction)
        if gap > 0:
            high, high_gap = fraction, gap
            low_gap = low_gap / 2 if side == 1 else low_gap
            side = 1
        else:
            low, low_gap = fraction, gap
            high_gap = high_gap / 2 if side == -1 else high_gap
            side = -1
    return curve.end(None, f"no match within {len(curve)} evaluations (tolerance {curve.tolerance:.3g})")
