"""The neighbour of a matched control: a fraction whose perplexity lies beyond the target, where the control's does not.

A search is stopped by its tolerance, on windows of its own; on the windows of the evidence the accepted point is some
distance from the treated condition. Between it and a neighbour on the other side, what a benchmark would give at the
target itself can be interpolated. Owns the search for it; the caller measures. Invariant: what is returned was
measured, lies beyond the target, and differs from the accepted point by at least one neuron a layer.
"""

import math
from collections.abc import Generator, Sequence
from typing import NamedTuple

NEIGHBOUR_BEYOND = 0.02
"""An accepted point that is no further than this share of the rise from the target needs no neighbour."""
TRIES = 4
"""Perplexities that the search for a neighbour may take."""
NEAR = 0.05
"""A neighbour is near enough at this share of the rise beyond the target, or as near as the accepted point is."""
POWERS = (0.25, 4.0)
"""Bounds of the local power of the rise in the fraction, so that no odd pair of points sends a try far away."""
BLIND_STEP = math.log(1.25)
"""Change of the log-fraction where no power says how far to go."""


class Neighbour(NamedTuple):
    """The outcome of `seek_neighbour`."""

    fraction: float | None
    """None where there is none."""
    why: str
    """Why there is none; empty where there is one."""


class Levels(NamedTuple):
    """Perplexities on one set of windows."""

    baseline: float
    treated: float

    @property
    def rise(self) -> float:
        """Of the treated condition's log-perplexity over the baseline's."""
        return math.log(self.treated / self.baseline)


def seek_neighbour(
    levels: Levels, accepted: tuple[float, float], *, power: float | None, width: int, cap: float, beyond: float
) -> Generator[float, float, Neighbour]:
    """A coroutine that yields the next fraction to measure, is sent its perplexity, and returns the outcome.

    levels, accepted: perplexities on windows of the evidence, and (fraction, perplexity) of the accepted point there.
    power: of the rise in the fraction near that point, see `local_power`; None = unknown. width: neurons a layer; cap:
    the largest fraction; beyond: share of the rise, see `NEIGHBOUR_BEYOND`.
    """
    gap = math.log(accepted[1] / levels.treated)
    if levels.rise <= 0:
        wrong = f"the treated perplexity {levels.treated:.5g} is not above the baseline's {levels.baseline:.5g}"
        return Neighbour(None, f"none found: on the windows of the evidence {wrong}")
    if abs(gap) <= beyond * levels.rise:
        return Neighbour(None, f"not needed: within {100 * beyond:g} % of the rise")
    return (yield from _Way(levels, accepted, gap, width, cap).walk(power))


class _Way:
    """The way from the accepted point to the other side of the target, in neurons a layer."""

    def __init__(self, levels: Levels, accepted: tuple[float, float], gap: float, width: int, cap: float) -> None:
        self._levels, self._width, self._gap = levels, width, gap
        self._log_rise = math.log(accepted[1] / levels.baseline)
        self._start = round(accepted[0] * width)
        self._sign = -1 if gap > 0 else 1
        """The way goes to fewer neurons, or to more."""
        self._last = 1 if gap > 0 else int(cap * width + 1e-9)
        self._near = max(abs(gap), NEAR * levels.rise)
        self._inner = self._start
        """The furthest count on the side of the accepted point."""
        self._outer: int | None = None
        """The nearest count beyond the target."""

    def walk(self, power: float | None) -> Generator[float, float, Neighbour]:
        """Steps that grow until the target is passed; then the nearest point beyond it."""
        step, tried = self._first_step(power), list[str]()
        while len(tried) < TRIES and (count := self._count(step)) is not None:
            level = yield count / self._width
            tried.append(f"{100 * count / self._width:.4g} % gives {level:.5g}")
            past = self._sign * math.log(level / self._levels.treated)
            if past >= 0:
                self._outer = count
                if past <= self._near:
                    break
            else:
                self._inner = count
            step = 2 * step if self._outer is None else self._between()
        if self._outer is not None:
            return Neighbour(self._outer / self._width, "")
        wanted = f"perplexity {'below' if self._sign < 0 else 'above'} {self._levels.treated:.5g} is wanted"
        return Neighbour(None, f"none found: {wanted}; {', '.join(tried) or 'no neuron is left to add or take away'}")

    def _first_step(self, power: float | None) -> float:
        """Change of the log-fraction by which a local power law lies half of the gap beyond the target."""
        goal = self._levels.rise + self._sign * max(abs(self._gap) / 2, NEAR / 5 * self._levels.rise)
        if power is None or self._log_rise <= 0 or goal <= 0:
            return self._sign * BLIND_STEP
        return math.log(goal / self._log_rise) / power

    def _count(self, step: float) -> int | None:
        """The count after a step from the start, of those between the two ends that were measured; None = none left."""
        count, sign = round(self._start * math.exp(step)), self._sign
        nearest, furthest = self._inner + sign, self._last if self._outer is None else self._outer - sign
        if sign * (furthest - nearest) < 0:
            return None
        return min(max(count, min(nearest, furthest)), max(nearest, furthest))

    def _between(self) -> float:
        """The step to the middle, on the log scale, of the two ends."""
        assert self._outer is not None
        return (math.log(self._inner / self._start) + math.log(self._outer / self._start)) / 2


def local_power(curve: Sequence[tuple[float, float]], baseline: float, fraction: float) -> float | None:
    """The power of the rise of log-perplexity in the fraction, through the curve's two points nearest to a fraction.

    curve: every (fraction, perplexity) of a search; baseline: perplexity on its windows. None where fewer than two
    points lie above the baseline, or where the rise falls between them.
    """
    rises = {f: math.log(level / baseline) for f, level in curve if level > baseline and f > 0}
    points = sorted(rises, key=lambda f: abs(math.log(f / fraction)))[:2]
    if len(points) < 2:
        return None
    low, high = sorted(points)
    power = math.log(rises[high] / rises[low]) / math.log(high / low)
    return min(max(power, POWERS[0]), POWERS[1]) if power > 0 else None
