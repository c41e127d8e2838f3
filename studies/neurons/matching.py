"""The perplexity-matched control: the search for the fraction of lowest-scored neurons, independent of any model.

Owns the search; the caller measures. The invariant: every evaluated point is kept, and a point is accepted only if it
meets both tolerances; nothing is interpolated into a result. A search without a match says how near it came and why it
stopped.
"""

import math
from collections.abc import Generator
from typing import NamedTuple

CONVERGENCE_TRIES = 3
"""A search converges while so many further tries at least halve the distance of its nearest point from the target, or
that between the perplexities of its bracket."""
MOST_TRIES = 3
"""Multiple of `max_evaluations` at which a search ends even though it converges."""


class SearchLimits(NamedTuple):
    """How close a match must be, and when the search gives up."""

    within: float = 0.01
    """Accepted if |perplexity - treated| <= within * treated, ..."""
    within_rise: float = 0.05
    """... and <= within_rise * (treated - baseline)."""
    max_evaluations: int = 12
    """After so many tries only a search that converges goes on, to `MOST_TRIES` times as many."""
    resolution: float = 1e-6
    """A bracket of fractions that is no wider is not searched further."""


DEFAULT_LIMITS = SearchLimits()


def tolerance(baseline: float, treated: float, limits: SearchLimits) -> float:
    """The largest accepted distance from the treated perplexity."""
    return min(limits.within * treated, limits.within_rise * (treated - baseline))


class SearchOutcome(NamedTuple):
    """The outcome of `match_perplexity`."""

    fraction: float | None
    """The accepted fraction; None when the search failed."""
    curve: tuple[tuple[float, float], ...]
    """Every evaluated (fraction, perplexity), in order."""
    reason: str
    """Why it failed, with the nearest point and the bracket; empty on success."""


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
        reason = f"the treated perplexity {treated:.5g} is not above the baseline's {baseline:.5g}"
        return SearchOutcome(None, (), reason)
    curve = _Curve(baseline, treated, limits)
    bracket = yield from _expand(curve, start, cap)
    if isinstance(bracket, SearchOutcome):
        return bracket
    return (yield from _close(curve, bracket))


class _Point(NamedTuple):
    """A fraction, its perplexity, and how far that lies from the target on the search's scale."""

    fraction: float
    perplexity: float
    gap: float
    """Positive beyond the target."""

    def __str__(self) -> str:
        return f"{_percent(self.fraction)} gives {self.perplexity:.5g}"


class _Curve:
    """The evaluated points, and how far each lies from the target."""

    def __init__(self, baseline: float, treated: float, limits: SearchLimits):
        self.baseline, self.limits = baseline, limits
        self.tolerance = tolerance(baseline, treated, limits)
        self._treated = treated
        self._points: list[_Point] = []

    def __len__(self) -> int:
        return len(self._points)

    @property
    def most_tries(self) -> int:
        """After which the search ends in any case."""
        return MOST_TRIES * self.limits.max_evaluations

    @property
    def wanted(self) -> str:
        """The target, in words."""
        return f"perplexity {self._treated:.5g} ± {self.tolerance:.2g} is wanted"

    @property
    def nearest(self) -> _Point:
        """The point with the perplexity nearest to the target's."""
        return min(self._points, key=self.distance)

    def distance(self, point: _Point) -> float:
        """How far its perplexity is from the target's."""
        return abs(point.perplexity - self._treated)

    def measure(self, fraction: float) -> Generator[float, float, _Point]:
        """Yield a fraction to measure; returns the point."""
        point = self.point(fraction, (yield fraction))
        self._points.append(point)
        return point

    def point(self, fraction: float, perplexity: float) -> _Point:
        """A point of the curve. The gap is the log of the rise of log-perplexity, minus the treated condition's."""
        return _Point(fraction, perplexity, self._log_rise(perplexity) - self._log_rise(self._treated))

    def accepts(self, point: _Point) -> bool:
        """Whether the point meets both tolerances."""
        return self.distance(point) <= self.tolerance

    def end(self, fraction: float | None, reason: str = "") -> SearchOutcome:
        return SearchOutcome(fraction, tuple((point.fraction, point.perplexity) for point in self._points), reason)

    def _log_rise(self, perplexity: float) -> float:
        return math.log(max(math.log(perplexity / self.baseline), 1e-6))


def _expand(curve: _Curve, start: float, cap: float) -> Generator[float, float, tuple[_Point, _Point] | SearchOutcome]:
    """Quadruple the fraction until it passes the target; returns the points on both sides of it."""
    low = None
    fraction = min(start, cap)
    while True:
        point = yield from curve.measure(fraction)
        if curve.accepts(point):
            return curve.end(fraction)
        if point.gap > 0:
            break
        low = point
        if fraction >= cap:
            return curve.end(None, f"{curve.wanted}; even {_percent(cap)} of the neurons give {point.perplexity:.5g}")
        if len(curve) >= curve.most_tries:
            return curve.end(None, f"{curve.wanted}; {point}; {_limit(curve)}")
        fraction = min(4 * fraction, cap)
    # Where the very first fraction is beyond the target, the other end is the baseline itself.
    return low or curve.point(start * 1e-3, curve.baseline), point


def _close(curve: _Curve, bracket: tuple[_Point, _Point]) -> Generator[float, float, SearchOutcome]:
    """Close the bracket by regula falsi; the gap of an end that stays twice is halved (Illinois)."""
    low, high = bracket
    low_gap, high_gap = low.gap, high.gap
    side = 0  # which end moved last: +1 the high one, -1 the low one
    distances = [(curve.distance(curve.nearest), high.perplexity - low.perplexity)]
    while not (reason := _why_stop(curve, low, high, distances)):
        step = low_gap / (low_gap - high_gap)
        fraction = math.exp(math.log(low.fraction) + step * (math.log(high.fraction) - math.log(low.fraction)))
        point = yield from curve.measure(fraction)
        if curve.accepts(point):
            return curve.end(fraction)
        if point.gap > 0:
            high, high_gap = point, point.gap
            low_gap = low_gap / 2 if side == 1 else low_gap
            side = 1
        else:
            low, low_gap = point, point.gap
            high_gap = high_gap / 2 if side == -1 else high_gap
            side = -1
        distances.append((curve.distance(curve.nearest), high.perplexity - low.perplexity))
    tried = f"the nearest of {len(curve)} fractions tried is {_percent(curve.nearest.fraction)}"
    return curve.end(None, f"{curve.wanted}; {tried} with {curve.nearest.perplexity:.5g}; {low}, {high}; {reason}")


def _why_stop(curve: _Curve, low: _Point, high: _Point, distances: list[tuple[float, float]]) -> str:
    """Why the search between two points ends here; empty where it goes on.

    distances: of the nearest point from the target, and between the bracket's perplexities, after every try.
    """
    if high.fraction - low.fraction <= curve.limits.resolution:
        return "no neuron lies between them"
    if len(curve) < curve.limits.max_evaluations:
        return ""
    before = distances[-1 - CONVERGENCE_TRIES] if len(distances) > CONVERGENCE_TRIES else (math.inf, math.inf)
    if not any(now <= then / 2 for now, then in zip(distances[-1], before, strict=True)):
        return f"{CONVERGENCE_TRIES} more tries hardly brought them closer"
    return _limit(curve) if len(curve) >= curve.most_tries else ""


def _limit(curve: _Curve) -> str:
    return f"{curve.most_tries} tries are the limit"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.4g} %"
