"""The matched control as claims see it: how well it matches, and its results at exactly the treated perplexity.

Owns what a claim "at matched perplexity" owes to the match: the realised difference in log-perplexity, on windows that
the search did not use, and, where the accepted fraction is too far from the target, results interpolated between it and
a neighbour on the other side. An item then counts (1 - t) c_low + t c_high, with t from the mean losses of the same
windows; that t is uncertain is a source of variance of its own. Knows no claim.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from studies.benchmarks.measures import PERPLEXITY
from studies.claims.evidence import Evidence
from studies.statistics.effects import Component, Direction, Effect, effect, mean_effect
from studies.statistics.items import BenchmarkItems, Items, paired_values

RESAMPLES = 2000


class Interpolation(NamedTuple):
    """Where the treated perplexity lies between the accepted fraction and its neighbour."""

    share: float
    """t: 0 at the accepted fraction, 1 at the neighbour."""
    variance: float
    num_windows: int

    @property
    def is_bracketed(self) -> bool:
        """Whether the treated perplexity lies between them."""
        return 0 <= self.share <= 1


class MatchedControl:
    """The matched control of one model; its `items` are interpolated where there is a neighbour."""

    def __init__(self, evidence: Evidence, accepted: BenchmarkItems) -> None:
        self._evidence, self._accepted = evidence, accepted
        self._neighbour = evidence.neighbour
        self._between = self._interpolation()
        self.items = self._interpolated() if self._between and self._between.is_bracketed else accepted
        """By benchmark."""

    def over(self, control: BenchmarkItems, benchmarks: tuple[str, ...]) -> Effect:
        """The matched control minus another condition, the mean over the benchmarks."""
        return self._difference(control, benchmarks, +1)

    def under(self, condition: BenchmarkItems, benchmarks: tuple[str, ...]) -> Effect:
        """Another condition minus the matched control, the mean over the benchmarks."""
        return self._difference(condition, benchmarks, -1)

    def _difference(self, other: BenchmarkItems, benchmarks: tuple[str, ...], sign: Direction) -> Effect:
        found = mean_effect([effect(self.items[name], other[name]) for name in benchmarks]).times(sign)
        between, neighbour = self._between, self._neighbour
        if self.items is self._accepted or between is None or neighbour is None:
            return found
        low, high = (
            sign * mean_effect([effect(end[name], other[name]) for name in benchmarks]).value
            for end in (self._accepted, neighbour)
        )
        spread = between.variance * (high - low) ** 2
        component = Component(spread, between.num_windows - 1, between.num_windows, "windows of the match")
        note = f"interpolated between {low:+.4f} at the matched fraction and {high:+.4f} at its neighbour"
        return Effect(found.value, (*found.components, component), (*found.notes, note))

    @property
    def quality(self) -> str:
        """How well perplexity was matched: `perplexity 17.74 matched, 17.68 treated: log-perplexity +0.0034 [...]`."""
        name = self._evidence.perplexity
        pair = [self._others(items.get(name)) for items in (self._accepted, self._evidence.treated)]
        baseline = self._others(self._evidence.baseline.get(name))
        matched, treated = pair
        if matched is None or treated is None or baseline is None:
            return "perplexity match not checked"
        levels = [PERPLEXITY.summary(items.values.mean()) for items in (matched, treated)]
        realised, rise = effect(matched, treated), effect(treated, baseline).value
        _, low, high = realised.interval()
        share = f", {100 * realised.value / rise:+.1f} % of the rise" if rise > 0 else ""
        seen = self._evidence.searched_windows is None
        windows = f"{len(treated)} windows that the search {'used' if seen else 'did not use'}"
        text = (
            f"perplexity {levels[0]:.4g} matched, {levels[1]:.4g} treated (log-perplexity {realised.value:+.4f}"
            f" [{low:.4f}, {high:.4f}]{share}, on {windows})"
        )
        between = self._between
        if between is not None and not between.is_bracketed:
            text += f", not bracketed by its neighbour (t = {between.share:.2f})"
        return text

    def _others(self, items: Items | None) -> Items | None:
        """The windows that the search for the match did not use; None where there is none, or a loss is not finite."""
        if items is None:
            return None
        table = items.table[~items.table["window"].isin(self._evidence.searched_windows or ())]
        is_usable = len(table) > 0 and np.isfinite(table[items.measure.value]).all()
        return Items(table, items.measure) if is_usable else None

    def _interpolation(self) -> Interpolation | None:
        """None without a neighbour, or where the three perplexities are not known."""
        name = self._evidence.perplexity
        if self._neighbour is None:
            return None
        conditions = (self._evidence.treated, self._accepted, self._neighbour)
        treated, accepted, neighbour = (self._others(items.get(name)) for items in conditions)
        if treated is None or accepted is None or neighbour is None:
            return None
        target_W, low_W = paired_values(treated, accepted)
        high_W = paired_values(neighbour, accepted)[0]
        distances_2W = np.stack([target_W - low_W, high_W - low_W])
        num = distances_2W.shape[1]
        weights_WR = np.random.default_rng(0).multinomial(num, np.full(num, 1 / num), size=RESAMPLES).T / num
        with np.errstate(divide="ignore", invalid="ignore"):  # equal losses at both ends
            share = distances_2W[0].mean() / distances_2W[1].mean()
            resampled_R = np.divide(*(distances_2W @ weights_WR))
        if not np.isfinite(share):
            return None
        # t is kept inside its range, where it is used; a resample outside would only say that it was not bracketed.
        return Interpolation(float(share), float(np.nanvar(np.clip(resampled_R, 0, 1), ddof=1)), num)

    def _interpolated(self) -> Mapping[str, Items]:
        assert self._between is not None and self._neighbour is not None
        share = self._between.share
        items = dict(self._accepted)
        for name, low in self._accepted.items():
            if name in self._neighbour:
                high, column = paired_values(self._neighbour[name], low)[0], low.measure.value
                table = low.table.assign(**{column: (1 - share) * low.values + share * high})
                items[name] = Items(table, low.measure)
        return items
