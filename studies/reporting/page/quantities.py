"""Numbers as the page shows them: each in its unit, with a sign, an interval and as many digits as help.

Owns the units of a reader: accuracies in percentage points (pp), perplexities in per cent of the baseline's, surprisal
in nats. Knows neither claims nor HTML.
"""

import math
from collections.abc import Mapping
from typing import Any

from studies.claims.scorecard import Unit

MINUS = "\N{MINUS SIGN}"
NOTHING = "–"


def unit_of(verdict: Mapping[str, Any], benchmarks: list[Mapping[str, Any]]) -> str:
    """The unit of a verdict's effect; that of its benchmark where the claim says so. NUMBER where it is not known."""
    unit = verdict.get("unit", str(Unit.NUMBER))  # reports before version 9 do not say it
    if unit != Unit.OF_BENCHMARK:
        return str(unit)
    name = verdict["claim"].partition("/")[2]
    return next((unit_of_benchmark(b) for b in benchmarks if b["name"] == name), str(Unit.NUMBER))


def unit_of_benchmark(benchmark: Mapping[str, Any]) -> str:
    """The unit in which a difference on a benchmark is counted."""
    if benchmark["measure"]["logarithmic"]:
        return str(Unit.LOG_PERPLEXITY)
    return str(Unit.ACCURACY if benchmark["higher_is_better"] else Unit.SURPRISAL)


def scaled(value: float, unit: str) -> float:
    """A value in the unit that people read: percentage points, per cent, else as it is."""
    if unit == Unit.LOG_PERPLEXITY:
        return 100 * math.expm1(min(value, 700.0))
    return 100 * value if unit in (Unit.ACCURACY, Unit.FRACTION) else value


def suffix(unit: str) -> str:
    """` pp`, ` %`, ` nats` or nothing."""
    return {Unit.LOG_PERPLEXITY: " %", Unit.ACCURACY: " pp", Unit.FRACTION: " pp", Unit.SURPRISAL: " nats"}.get(
        Unit(unit), ""
    )


def digits_of(unit: str) -> int:
    """Decimal places."""
    return 1 if unit in (Unit.LOG_PERPLEXITY, Unit.ACCURACY, Unit.FRACTION) else 3


def number(value: float | None, unit: str, *, sign: bool = True) -> str:
    """`+11.2`, `−0.2`; a dash for none."""
    if value is None or math.isnan(value):
        return NOTHING
    return signed(scaled(value, unit), digits_of(unit), "+" if sign else "")


def signed(value: float, digits: int, sign: str = "+") -> str:
    """`+0.25`, `−0.25`, `0.00`: a zero has no side."""
    text = f"{value:{sign}.{digits}f}"
    return (text.lstrip("+-") if float(text) == 0 else text).replace("-", MINUS)


def interval(found: Mapping[str, Any] | None, unit: str) -> str:
    """`−0.2 pp [−2.5, +2.0]`; without bounds where there are none, a dash where there is nothing."""
    if found is None or found["estimate"] is None:
        return NOTHING
    whole = number(found["estimate"], unit) + suffix(unit)
    if found["low"] is None or found["high"] is None:
        return whole
    return f"{whole} [{number(found['low'], unit)}, {number(found['high'], unit)}]"


def margin(value: float | None, unit: str) -> str:
    """`±2.0 pp`; a dash where there is none."""
    return NOTHING if value is None else f"±{number(value, unit, sign=False)}{suffix(unit)}"


def share(fraction: float | None) -> str:
    """`1 %`, `34.8 %`; a dash for none."""
    return NOTHING if fraction is None else f"{100 * fraction:.3g} %"


def p_value(value: float | None) -> str:
    """`0.0031`, `< 1e-12`."""
    if value is None:
        return NOTHING
    return "< 1e-12" if value <= 1e-12 else f"{value:.2g}"
