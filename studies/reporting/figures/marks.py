"""What is drawn in panels, the same in every figure: an estimate with its interval, a band of seeds, a curve.

Owns the form of each. An estimate whose interval is not known has a hollow marker. Takes numbers in the unit that is
shown; nan where there is none.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from studies.reporting.figures.style import Look, blended, is_number
from studies.statistics.intervals import Interval

BAND = 0.16
"""Opacity of an interval along a curve."""


def draw_estimate(panel: Any, y: float, of: Interval, look: Look, *, size: float = 5.0) -> None:
    """A marker at a height, with its interval."""
    if not is_number(of.estimate):
        return
    known = is_number(of.low) and is_number(of.high)
    if known:
        panel.plot([of.low, of.high], [y, y], color=look.colour, linewidth=1.6, solid_capstyle="butt", zorder=3)
    inside = look.colour if known else "white"
    panel.plot(of.estimate, y, look.marker, color=look.colour, markerfacecolor=inside, markersize=size, zorder=4)


def draw_seeds(panel: Any, y: float, values: Sequence[float], look: Look, *, width: float = 8) -> None:
    """The mean of several seeds, and the band from the lowest to the highest."""
    low, high = min(values), max(values)
    band = blended(look.colour, 0.45)
    panel.plot([low, high], [y, y], color=band, linewidth=width, solid_capstyle="butt", zorder=2)
    panel.plot(math.fsum(values) / len(values), y, look.marker, color=look.colour, markersize=5, zorder=4)


def draw_curve(panel: Any, x: Sequence[float], y: Sequence[float], look: Look, **band: Sequence[float]) -> None:
    """A curve with its points; low, high: the band around it."""
    if band:
        low, high = (np.asarray(band[side], dtype=np.float64) for side in ("low", "high"))
        panel.fill_between(x, low, high, color=look.colour, alpha=BAND, linewidth=0)
    panel.plot(x, y, color=look.colour, linestyle=look.line, marker=look.marker, markersize=4, zorder=3)
