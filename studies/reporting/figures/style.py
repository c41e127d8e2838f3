"""The style sheet of all figures: colours by role, sizes, and how names and numbers are written.

Owns what a role looks like: a colour of Okabe and Ito's palette, which colour-blind readers tell apart, with a marker
and a line style, which print in grey. Sizes are CSS pixels, 96 an inch. Knows no data and draws nothing. Callers rely
on: every name passes `fitted`, so that no text is wider than its place, and is a text, never a formula. matplotlib is
imported inside functions and without pyplot: no backend, no global state.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

from studies.errors import printable

PIXELS_AN_INCH = 96
"""Of CSS, and of the PNGs."""
WIDTH = 696
"""Of every figure."""
SMALL, MEDIUM, LARGE = 8.0, 8.5, 9.5
"""Font sizes in points: numbers and names, labels of axes, titles."""
BOLD = 1.14
"""How much wider bold letters are."""
INK, PALE, FAINT = "#222222", "#777777", "#d0d0d0"
"""Of text, of reference lines, of grids."""
LONG_NUMBER = 6
"""Characters of a number beyond which it is written as a power of ten where that is shorter."""
PAPER = "#8a8a8a"
"""Of published values."""
WIDE = 0x2E80
"""Characters from here on are about as wide as high, and the PNGs' font lacks them."""

SETTINGS: Mapping[str, Any] = {
    "font.family": "sans-serif",
    "font.size": SMALL,
    "font.enable_last_resort": False,  # its boxes for what the font lacks are wider than the letters
    "text.color": INK,
    "text.usetex": False,
    "text.hinting": "no_hinting",  # widths are those that `width_of` measures
    "text.parse_math": False,
    "axes.edgecolor": PALE,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.labelsize": MEDIUM,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": MEDIUM,
    "axes.titlepad": 5,
    "axes.unicode_minus": True,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "svg.fonttype": "none",
    "svg.hashsalt": "halfwave",
}


class Look(NamedTuple):
    """How a condition is drawn."""

    colour: str
    marker: str
    line: Any
    """A line style of matplotlib's."""


LOOKS: Mapping[str, Look] = {
    "baseline": Look("#555555", "|", (0, (1, 1.5))),
    "treated": Look("#d55e00", "o", "-"),
    "matched": Look("#0072b2", "s", (0, (5, 1.5))),
    "neighbour": Look("#56b4e9", "p", (0, (5, 1.5))),
    "random": Look("#8c8c8c", "D", (0, (2, 1.5))),
    "sign": Look("#009e73", "^", (0, (6, 1.5, 1, 1.5))),
    "other": Look("#cc79a7", "v", (0, (6, 1.5, 1, 1.5, 1, 1.5))),
}
"""{part of a row of the report: how it is drawn}, in the order in which parts are listed."""
MORE_MARKERS = "PX<>p*hd"
"""Of further conditions of one role."""

TEAL, MINT, SKY = "#117777", "#44aa99", "#88ccee"
PAIRS = ("#882255", "#117733", "#332288", "#aa4400")
"""Colours of what has no role (Tol's muted ones)."""

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def settings() -> Iterator[None]:
    """The style sheet alone, whatever a matplotlibrc in the current folder says."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(dict[Any, Any](SETTINGS))
        yield


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """A function that draws under the style sheet."""

    @wraps(draw)
    def wrapped(*args: P.args, **named: P.kwargs) -> R:
        with settings():
            return draw(*args, **named)

    return wrapped


def looks(parts: Mapping[str, str]) -> dict[str, Look]:
    """{condition: its look}, from {condition: its part}. The second of a role is paler and has another marker."""
    seen: dict[str, int] = {}
    found = {}
    for name, part in parts.items():
        look, number = LOOKS.get(part, LOOKS["other"]), seen.get(part, 0)
        seen[part] = number + 1
        if number:
            marker = MORE_MARKERS[(number - 1) % len(MORE_MARKERS)]
            look = look._replace(colour=blended(look.colour, 1 - 0.6 * number / (number + 1)), marker=marker)
        found[name] = look
    return found


def by_part(conditions: Iterable[str], parts: Mapping[str, str]) -> list[str]:
    """The conditions, treated ones first; otherwise in the order given."""
    order = [part for part in LOOKS if part != "baseline"]
    return sorted(conditions, key=lambda name: order.index(p) if (p := parts.get(name, "other")) in order else -1)


def blended(colour: Any, strength: float) -> str:
    """A colour on white; strength 1 is the colour itself, 0 white."""
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = (1 - strength * (1 - channel) for channel in to_rgb(colour))
    return str(to_hex((red, green, blue)))


def ink_on(colour: Any) -> str:
    """Black or white, whichever is read on this colour (relative luminance, WCAG 2.1)."""
    from matplotlib.colors import to_rgb

    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"


# ---- names


def spoken(name: str) -> str:
    """The name of a condition as words: `random/seed=0` becomes `random, seed 0`."""
    return ", ".join(part.replace("=", " ", 1) for part in name.split("/")) if "=" in name else name


def words(identifier: str) -> str:
    """A phenomenon or claim as words: `filler_gap_dependency` becomes `filler gap dependency`."""
    return identifier.replace("_", " ").strip() or identifier


@cache
def _measured(text: str, size: float) -> float:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    known = "".join(character for character in text if ord(character) < WIDE)
    width, _, _ = text_to_path.get_text_width_height_descent(known, FontProperties("DejaVu Sans", size=size), False)
    return float(width + (len(text) - len(known)) * size) * PIXELS_AN_INCH / 72


def width_of(text: str, size: float = SMALL) -> float:
    """The width of a line of text in pixels."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        return _measured(text if text.isprintable() else plain(text), size)


def plain(text: str) -> str:
    """A text on one line, without what cannot be printed and without white space at its ends."""
    return " ".join(printable(text.replace("\n", " ")).split())


def fitted(text: str, width: float, *, size: float = SMALL, lines: int = 1) -> str:
    """The text on at most so many lines of this width in pixels; what does not fit ends in `…`."""
    found: list[str] = []
    rest = plain(text)
    while rest and len(found) < lines:
        end = _fits(rest, width, size)
        if end < len(rest) and len(found) == lines - 1:
            return "\n".join([*found, rest[: _fits(rest + "…", width, size, tail="…")].rstrip() + "…"])
        if end < len(rest):
            space = rest.rfind(" ", 0, end + 1)
            end = space if space > end / 2 else end
        found.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return "\n".join(found)


def _fits(text: str, width: float, size: float, tail: str = "") -> int:
    """How many characters fit, at least one."""
    if width_of(text + tail, size) <= width:
        return len(text)
    low, high = 1, len(text)
    while high - low > 1:
        middle = (low + high) // 2
        if width_of(text[:middle] + tail, size) <= width:
            low = middle
        else:
            high = middle
    return low


def wrapped(text: str, width: float, size: float) -> list[str]:
    """All lines of a text, none of them wider than this."""
    return fitted(text, width, size=size, lines=len(text) + 1).split("\n")


# ---- numbers


def numbers(values: Sequence[float], *, signed: bool = False) -> list[str]:
    """The values with as many decimal places as tell them apart, all with the same; as powers of ten where shorter."""
    largest, width = max(map(abs, values), default=0.0), (max(values) - min(values)) if values else 0.0
    tolerance = 1e-6 * (width or largest or 1.0)
    places = next((p for p in range(9) if all(abs(round(v, p) - v) <= tolerance for v in values)), 9)
    sign = "+" if signed else ""
    rounded = [round(v, places) + 0.0 for v in values]  # + 0.0: a negative zero has no sign
    plainly = [_minus(format(v, f"{sign if v else ''},.{places}f")) for v in rounded]
    shortly = [_short(format(v, f"{sign}.2e")) if v else "0" for v in values]
    is_odd = largest >= 1e6 or 0 < largest < 1e-3 or max(map(len, plainly), default=0) > LONG_NUMBER
    return shortly if is_odd and len(set(shortly)) == len(values) else plainly


def scale_numbers(values: Sequence[float]) -> list[str]:
    """Values over decades, each with its own decimal places: 0.05, 2, 3,000."""
    return [_short(f"{value:,.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:g}") for value in values]


def span(counts: Sequence[int]) -> str:
    """`400`, or `10 to 7,000` of several."""
    fewest, most = min(counts, default=0), max(counts, default=0)
    return f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"


def counted(counts: Mapping[str, int]) -> str:
    """`400 (BLiMP), 16 (perplexity)`."""
    return ", ".join(f"{count:,} ({name})" for name, count in counts.items())


def percent(fraction: float) -> str:
    """`1 %`, `34.8 %`."""
    return f"{100 * fraction:.3g} %"


def _short(number: str) -> str:
    """`2.5e−6` for 2.50e-06, `3e9` for 3e+09; others as they are."""
    mantissa, _, exponent = number.partition("e")
    if not exponent:
        return _minus(number)
    return _minus(f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}")


def _minus(number: str) -> str:
    return number.replace("-", "−")


def is_number(value: float | None) -> bool:
    """Whether there is a finite number."""
    return value is not None and math.isfinite(value)
