"""The matched control as claims see it: how well it matches, and its results at exactly the treated perplexity.

Owns what a claim "at matched perplexity" owes to the match: the realised difference in log-perplexity, on windows that
the search did not use, and, where the accepted fraction is too far from the target, results interpolated between it and
a neighbour on the other side. An item then counts (1 - t) c_low + t c_high, with t from the mean losses of the same
windows; that t is uncertain is a source of variance of its own. Knows no claim.
"""

from typing import NamedTuple

import numpy as np

from studies.benchmarks.measures import PERPLEXITY
from studies.claims.evidence import Evidence
from studies.neurons.neighbour import NEIGHBOUR_BEYOND
from studies.statistics.effects import Component, Direction, Effect, effect, mean_effect
from studies.statistics.items import BenchmarkItems, Items, paired_values

CLOSE = 1.01 * NEIGHBOUR_BEYOND
"""Share of the rise of log-perplexity within which a control matches without a neighbour: the search's, and a hundredth
for measuring it again."""


class Interpolation(NamedTuple):
    """Where the treated perplexity lies between the accepted fraction and its neighbour."""

    share: float
    """t: 0 at the accepted fraction, 1 at the neighbour."""
    variance: float
    """Of t, a ratio of two means over windows (the delta method; Cochran, Sampling Techniques, 1977, sec. 6.4)."""
    num_windows: int

    @property
    def is_bracketed(self) -> bool:
        """Whether the treated perplexity lies between them."""
        return 0 <= self.share <= 1


class Realised(NamedTuple):
    """The match on windows that the search did not use."""

    difference: Effect
    """Matched minus treated log-perplexity."""
    rise: float
    """Of the treated condition over the baseline, in log-perplexity."""
    matched: float
    treated: float
    """Perplexities."""
    num_windows: int

    @property
    def is_close(self) -> bool:
        """Whether the control matches as it is."""
        return abs(self.difference.value) <= CLOSE * self.rise


class MatchedControl:
    """The matched control of one model, at the treated perplexity where it has a neighbour."""

    def __init__(self, evidence: Evidence, accepted: BenchmarkItems) -> None:
        self._evidence, self._accepted = evidence, accepted
        self._neighbour = evidence.neighbour or {}
        self._realised = self._on_other_windows()
        self._between = self._interpolation()

    @property
    def problem(self) -> str:
        """Why claims at equal perplexity cannot be judged with it; empty where they can."""
        realised, between = self._realised, self._between
        if realised is None:
            return "the match of perplexity could not be checked"
        if between is not None:
            return "" if between.is_bracketed else f"the control does not match: {self.quality}"
        if realised.is_close:
            return ""
        why = self._evidence.why_no_neighbour
        return f"the control does not match: {self.quality}" + (f"; a neighbour was {why}" if why else "")

    def _items(self, name: str) -> Items:
        """The items on one benchmark, interpolated where there is a neighbour. KeyError where it was not scored."""
        low = self._accepted[name]
        if self._between is None:
            return low
        share, column = self._between.share, low.measure.value
        high = paired_values(self._neighbour[name], low)[0]
        return Items(low.table.assign(**{column: (1 - share) * low.values + share * high}), low.measure)

    def over(self, control: BenchmarkItems, benchmarks: tuple[str, ...]) -> Effect:
        """The matched control minus another condition, the mean over the benchmarks."""
        return self._difference(control, benchmarks, +1)

    def under(self, condition: BenchmarkItems, benchmarks: tuple[str, ...]) -> Effect:
        """Another condition minus the matched control, the mean over the benchmarks."""
        return self._difference(condition, benchmarks, -1)

    def _difference(self, other: BenchmarkItems, benchmarks: tuple[str, ...], sign: Direction) -> Effect:
        found = mean_effect([effect(self._items(name), other[name]) for name in benchmarks]).times(sign)
        between = self._between
        if between is None:
            return found
        low, high = (
            sign * mean_effect([effect(end[name], other[name]) for name in benchmarks]).value
            for end in (self._accepted, self._neighbour)
        )
        spread = between.variance * (high - low) ** 2
        component = Component(spread, between.num_windows - 1, between.num_windows, "windows of the match")
        note = f"interpolated between {low:+.4f} at the matched fraction and {high:+.4f} at its neighbour"
        return Effect(found.value, (*found.components, component), (*found.notes, note))

    @property
    def quality(self) -> str:
        """How well perplexity was matched: `perplexity 17.74 matched, 17.68 treated (log-perplexity +0.0034 [...])`."""
        realised = self._realised
        if realised is None:
            return "perplexity match not checked"
        _, low, high = realised.difference.interval()
        value, rise = realised.difference.value, realised.rise
        share = f", {100 * value / rise:+.1f} % of the rise" if rise > 0 else ""
        used = "used" if self._evidence.searched_windows is None else "did not use"
        text = (
            f"perplexity {realised.matched:.4g} matched, {realised.treated:.4g} treated (log-perplexity {value:+.4f}"
            f" [{low:.4f}, {high:.4f}]{share}, on {realised.num_windows} windows that the search {used})"
        )
        between = self._between
        if between is not None and not between.is_bracketed:
            text += f", not bracketed by its neighbour (t = {between.share:.2f})"
        return text

    def _on_other_windows(self) -> Realised | None:
        """None where a perplexity is not known."""
        evidence, name = self._evidence, self._evidence.perplexity
        conditions = (self._accepted, evidence.treated, evidence.baseline)
        matched, treated, baseline = (self._others(items.get(name)) for items in conditions)
        if matched is None or treated is None or baseline is None:
            return None
        rise = effect(treated, baseline).value
        own, target = (PERPLEXITY.summary(items.values.mean()) for items in (matched, treated))
        return Realised(effect(matched, treated), rise, own, target, len(treated))

    def _others(self, items: Items | None) -> Items | None:
        """The windows that the search for the match did not use; None where there is none, or a loss is not finite."""
        if items is None:
            return None
        table = items.table[~items.table["window"].isin(self._evidence.searched_windows or ())]
        is_usable = len(table) > 0 and np.isfinite(table[items.measure.value]).all()
        return Items(table, items.measure) if is_usable else None

    def _interpolation(self) -> Interpolation | None:
        """None without a neighbour, or where its perplexity is not known."""
        name = self._evidence.perplexity
        conditions = (self._evidence.treated, self._accepted, self._neighbour)
        treated, accepted, neighbour = (self._others(items.get(name)) for items in conditions)
        if self._realised is None or treated is None or accepted is None or neighbour is None:
            return None
        target_W, low_W = paired_values(treated, accepted)
        wanted_W, gap_W = target_W - low_W, paired_values(neighbour, accepted)[0] - low_W
        num, gap = len(gap_W), float(gap_W.mean())
        if gap == 0:
            return None
        share = float(wanted_W.mean()) / gap
        residual = np.var(wanted_W - share * gap_W, ddof=1) if num > 1 else np.nan
        return Interpolation(share, float(residual) / num / gap**2, num)
