"""Numbers as the page shows them: each in its unit, with a sign, an interval and as many digits as help.

Owns how a number is written, and how a change is painted; `units` has the units. Knows neither claims nor HTML.
"""

import math
from collections.abc import Mapping
from typing import Any

from studies.reporting.figures.style import percent
from studies.reporting.units import Unit

MINUS = "\N{MINUS SIGN}"
NOTHING = "–"
HUGE = 1e6
"""From here on a number is written with its power of ten."""


def number(value: float | None, unit: Unit, *, sign: bool = True) -> str:
    """`+11.2`, `−0.2`; a dash for none."""
    if value is None or math.isnan(value):
        return NOTHING
    return signed(unit.read(value), unit.digits, "+" if sign else "")


def signed(value: float, digits: int, sign: str = "+") -> str:
    """`+0.25`, `−0.25`, `0.00`: a zero has no side."""
    text = f"{value:{sign}.{digits}f}" if abs(value) < HUGE else f"{value:{sign}.1e}"
    return (text.lstrip("+-") if float(text) == 0 else text).replace("-", MINUS)


def estimate(found: Mapping[str, Any] | None, unit: Unit) -> str:
    """`−0.2 pp`; a dash where there is nothing."""
    if found is None or found["estimate"] is None:
        return NOTHING
    return number(found["estimate"], unit) + unit.suffix


def interval(found: Mapping[str, Any] | None, unit: Unit) -> str:
    """`−0.2 pp [−2.5, +2.0]`; without bounds where there are none, a dash where there is nothing."""
    whole = estimate(found, unit)
    if found is None or None in (found["estimate"], found["low"], found["high"]):
        return whole
    return f"{whole} [{number(found['low'], unit)}, {number(found['high'], unit)}]"


def margin(value: float | None, unit: Unit) -> str:
    """`±2.0 pp`; a dash where there is none."""
    return NOTHING if value is None else f"±{number(value, unit, sign=False)}{unit.suffix}"


def share(fraction: float | None) -> str:
    """`1 %`, `34.8 %`; a dash for none."""
    return NOTHING if fraction is None else percent(fraction)


def p_value(value: float | None) -> str:
    """`0.0031`, `< 1e-12`."""
    if value is None:
        return NOTHING
    return "< 1e-12" if value <= 1e-12 else f"{value:.2g}"


def tint(is_worse: bool, strength: float) -> str:
    """The CSS colour of a change: orange for worse, blue for better; strength from 0 to 1."""
    red, green, blue = (213, 94, 0) if is_worse else (0, 114, 178)
    return f"rgba({red},{green},{blue},{0.75 * min(1.0, strength):.2f})"
