"""A sheet: panels in a grid with a key below, laid out in pixels; and the drawing that a sheet becomes.

Owns where everything stands: the space of names, titles, axis labels and keys is set aside before anything is drawn, so
that no text is cut, nothing lies over data and no figure is wider than `style.WIDTH`. Owns the ticks of every axis of
numbers: at least three, none over another. Knows no data. Callers rely on: `finished` is the last call for a sheet.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from studies.reporting.figures.style import (
    BOLD,
    FAINT,
    INK,
    MEDIUM,
    PIXELS_AN_INCH,
    SMALL,
    WIDTH,
    Look,
    fitted,
    numbers,
    plain,
    scale_numbers,
    width_of,
)

TITLE, TICKS, LABEL, LINE = 20, 18, 15, 15
"""Heights: of a panel's title, of tick labels, of a line of an axis label, of a line of the key."""
GAP, EDGE = 26, 22
"""Between panels that share their names, and to the right of the last one: half a tick label fits."""
NUMBERS = 84
"""Width of the tick labels and the label of a vertical axis of numbers."""
SIDE_BAR = 106
"""Width of a scale of colours with its numbers and its label."""
MARK = "mark"
"""Label of a text that is data, and may lie where other data lie."""
MIN_GAP = 7
"""Between two tick labels."""
HANDLE = 24
"""Width of a line or marker in the key."""


class Entry(NamedTuple):
    """One entry of a key."""

    label: str
    look: Look
    kind: str = "both"
    """`line`, `point`, `both`, `patch`, or `number`, which the marker of the look then is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A finished figure."""

    figure: Any
    """A `matplotlib.figure.Figure`, `style.WIDTH` wide."""
    title: str
    caption: str
    """What is shown, how many of what, and how the intervals were made."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A figure with its panels."""

    figure: Any
    axes: list[Any]
    """The panels, row by row."""
    wide: float
    """Width of a panel, in pixels."""
    signed: set[int] = field(default_factory=set)
    """ids of axes whose numbers have a sign."""
    whole: set[int] = field(default_factory=set)
    """ids of axes of whole numbers, which have no ticks between them where there are three."""
    inner: set[int] = field(default_factory=set)
    """ids of panels that show the names or numbers of the first one in their row."""
    title_lines: int = 1

    def high_of(self, panel: Any) -> float:
        """The height of a panel, in pixels."""
        return float(panel.get_position().height * self.figure.get_figheight() * PIXELS_AN_INCH)

    def finished(self, title: str, caption: str) -> Drawing:
        """The drawing, with ticks on every axis of numbers."""
        from matplotlib.text import Text
        from matplotlib.ticker import FixedLocator, NullLocator

        for panel in self.axes:
            for axis, length in ((panel.xaxis, self.wide), (panel.yaxis, self.high_of(panel))):
                if panel.axison and not isinstance(axis.get_major_locator(), FixedLocator | NullLocator):
                    set_ticks(axis, length, signed=id(axis) in self.signed, whole=id(axis) in self.whole)
        for text in self.figure.findobj(Text):
            text.set_usetex(False)
            text.set_parse_math(False)
        return Drawing(figure=self.figure, title=plain(title), caption=plain(caption))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The measures of a sheet, in pixels."""

    height: float | Sequence[float]
    """Of a panel, or of the panels of each row."""
    across: int = 3
    """Most panels in a row."""
    names: float = NUMBERS
    """Width to the left of a panel, for names or numbers."""
    shared: bool = False
    """Whether only the first panel of a row has names."""
    title_lines: int = 1
    """Of the titles of panels."""
    label_lines: int = 1
    """Lines of the labels of horizontal axes."""
    right: float = EDGE
    """Width to the right of a panel."""
    key: Sequence[Entry] = ()


def sheet(count: int, layout: Layout) -> Sheet:
    """An empty sheet of `count` panels."""
    from matplotlib.figure import Figure

    names, right = layout.names, layout.right
    columns = max(1, min(count, layout.across))
    rows = math.ceil(count / columns)
    top, bottom = (
        (TITLE + LABEL * (layout.title_lines - 1) if layout.title_lines else 8),
        TICKS + LABEL * layout.label_lines + 4,
    )
    if layout.shared:
        wide = (WIDTH - names - right - GAP * (columns - 1)) / columns
        lefts = [names + column * (wide + GAP) for column in range(columns)]
    else:
        wide = WIDTH / columns - names - right
        lefts = [column * WIDTH / columns + names for column in range(columns)]
    lines = _flow(layout.key)
    foot = LINE * len(lines) + (8 if lines else 2)
    heights = [layout.height] * rows if isinstance(layout.height, int | float) else list(layout.height)
    total = sum(top + of_row + bottom for of_row in heights) + foot
    figure = Figure(figsize=(WIDTH / PIXELS_AN_INCH, total / PIXELS_AN_INCH), dpi=PIXELS_AN_INCH, facecolor="none")
    axes: list[Any] = []
    inner = set[int]()
    for number in range(count):
        row, column = divmod(number, columns)
        floor = total - sum(top + of_row + bottom for of_row in heights[: row + 1]) + bottom
        place = (lefts[column] / WIDTH, floor / total, wide / WIDTH, heights[row] / total)
        panel = figure.add_axes(place)
        panel.tick_params(length=3, color=INK, pad=3)
        if layout.shared and column:
            panel.tick_params(axis="y", labelleft=False)
            inner.add(id(panel))
        axes.append(panel)
    if lines:
        _draw_key(figure, lines, foot / total, foot)
    return Sheet(figure, axes, wide, inner=inner, title_lines=layout.title_lines)


def set_title(of: Sheet, panel: Any, title: str) -> None:
    """The title of a panel, on as many lines as the sheet has for it."""
    shown = fitted(title, (of.wide + EDGE / 2) / BOLD, size=MEDIUM, lines=of.title_lines)
    panel.set_title(shown, fontweight="bold")


def set_labels(of: Sheet, panel: Any, *, x: str = "", y: str = "") -> None:
    """The labels of the axes, on up to two lines."""
    if x:
        panel.set_xlabel(fitted(x, of.wide + EDGE, size=MEDIUM, lines=2), labelpad=2)
    if y and id(panel) not in of.inner:
        label = fitted(y, of.high_of(panel) + TITLE, size=MEDIUM, lines=2)
        panel.yaxis.set_label_text(label)
        panel.yaxis.set_label_coords(-(NUMBERS - 2 - LABEL * len(label.split("\n"))) / of.wide, 0.5)


def set_names(panel: Any, names: Sequence[str], width: float, *, lines: int = 1, size: float = SMALL) -> None:
    """Names instead of numbers on the vertical axis, the first one at the top."""
    panel.set_yticks(range(len(names)), [fitted(name, width - 10, size=size, lines=lines) for name in names])
    panel.tick_params(axis="y", length=0, labelsize=size)
    panel.set_ylim(len(names) - 0.4, -0.6)


def names_width(names: Sequence[str], *, most: float = 220, size: float = SMALL) -> float:
    """The width that these names need, at most `most` pixels."""
    return min(most, 14 + max((width_of(plain(name), size) for name in names), default=0.0))


def side_bar(of: Sheet, panel: Any, colours: Any, label: str) -> None:
    """The scale of colours to the right of a panel, whose sheet left `SIDE_BAR` pixels there."""
    place = panel.get_position()
    bar = of.figure.add_axes((place.x1 + 14 / WIDTH, place.y0, 12 / WIDTH, place.height), label="colours")
    of.figure.colorbar(colours, cax=bar)
    shown = fitted(label, of.high_of(panel) + TITLE, size=MEDIUM, lines=2)
    bar.set_ylabel(shown)
    bar.yaxis.set_label_coords((SIDE_BAR - 16 - LABEL * len(shown.split("\n"))) / 12, 0.5)
    bar.tick_params(length=2, pad=2)
    set_ticks(bar.yaxis, of.high_of(panel), signed=True)


def zero_line(panel: Any, *, vertical: bool = True, at: float = 0.0) -> None:
    """The line of no change."""
    (panel.axvline if vertical else panel.axhline)(at, color=INK, linewidth=0.8, zorder=1)


def grid(panel: Any, axis: str = "x") -> None:
    """Faint lines at the ticks."""
    panel.grid(axis=axis, color=FAINT, linewidth=0.5)
    panel.set_axisbelow(True)


# ---- ticks


def set_ticks(axis: Any, length: float, *, signed: bool = False, whole: bool = False) -> None:
    """At least three ticks of which no label lies over another, on an axis of this length in pixels."""
    from matplotlib.ticker import NullLocator

    panel, is_x = axis.axes, axis.axis_name == "x"
    scale = axis.get_scale()
    _widen(axis, scale)
    low, high = sorted(axis.get_view_interval())
    least = axis.get_transform().linthresh if scale == "symlog" else low
    most = max(3, int(length / (48 if is_x else 26)))
    candidates = _candidates(scale, (low, high), least, most=most)
    if whole:
        candidates = [of for of in candidates if all(value.is_integer() for value in of)] or candidates
    for values in candidates:
        labels = scale_numbers(values) if scale != "linear" else numbers(values, signed=signed)
        places = _places(panel, values, is_x)
        if len(values) <= 3 or _are_apart(places, labels, is_x):
            break
    axis.set_ticks(values, labels)
    axis.set_minor_locator(NullLocator())


def _widen(axis: Any, scale: str) -> None:
    """Give an axis that shows next to one value some width."""
    low, high = axis.get_view_interval()
    if scale == "log":
        if low > 0 and abs(math.log(high / low)) < 0.02:
            axis.axes.set(**{f"{axis.axis_name}lim": (low / 1.02, high * 1.02)})
        return
    least = max(1e-4 * max(abs(low), abs(high)), 1e-6)
    if abs(high - low) < least:
        middle, half = (low + high) / 2, math.copysign(least / 2, high - low or 1.0)
        axis.axes.set(**{f"{axis.axis_name}lim": (middle - half, middle + half)})


def _candidates(scale: str, limits: tuple[float, float], least: float, *, most: int) -> Sequence[list[float]]:
    """Lists of ticks within the limits, the fullest first; the last one has three. least: the lowest one over 0."""
    low, high = limits
    if scale == "linear":
        found = [_linear(low, high, number) for number in range(most, 2, -1)]
    else:
        found = [
            [value for value in values if low <= value <= high]
            for values in (_decades(least, high, digits) for digits in ((1, 2, 3, 5), (1, 2, 5), (1,)))
        ]
        every, fewer = found[2], math.ceil(len(found[2]) / most)
        found += [every[::step] for step in range(max(2, fewer), fewer + 5)]
        if scale == "symlog":
            found = [[0.0, *values] if low <= 0 else values for values in found]
        found = [values for values in found if 3 <= len(values) <= 2 * most] or [_linear(low, high, 3)]
    return [values for values in found if len(values) >= 3] or [list(np.linspace(low, high, 3))]


def _linear(low: float, high: float, number: int) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    values = MaxNLocator(nbins=number, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3).tick_values(low, high)
    dust = 1e-9 * (high - low)
    return [float(value) + 0.0 for value in values if low - dust <= value <= high + dust]


def _decades(low: float, high: float, digits: Sequence[int]) -> list[float]:
    """digit x 10^k within the limits, positive."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [float(f"{digit}e{power}") for power in powers for digit in digits]


def _places(panel: Any, values: Sequence[float], is_x: bool) -> list[float]:
    """Where the values lie, in pixels."""
    points = [(value, panel.get_ylim()[0]) if is_x else (panel.get_xlim()[0], value) for value in values]
    return [float(point[0 if is_x else 1]) for point in panel.transData.transform(points)]


def _are_apart(places: Sequence[float], labels: Sequence[str], is_x: bool) -> bool:
    halves = [width_of(label) / 2 if is_x else 6.0 for label in labels]
    ordered = sorted(zip(places, halves, strict=True))
    gaps = (b - a - half_a - half_b for (a, half_a), (b, half_b) in pairwise(ordered))
    return all(gap >= (MIN_GAP if is_x else 2) for gap in gaps)


# ---- the key


def _flow(key: Sequence[Entry]) -> list[list[tuple[float, Entry, str]]]:
    """Lines of (left edge, entry, its label as far as it fits)."""
    lines: list[list[tuple[float, Entry, str]]] = []
    left = math.inf
    for entry in key:
        label = fitted(entry.label, WIDTH / 2, size=SMALL)
        wide = HANDLE + 6 + width_of(label) + 18
        if left + wide > WIDTH:
            lines.append([])
            left = 8.0
        lines[-1].append((left, entry, label))
        left += wide
    return lines


def _draw_key(figure: Any, lines: list[list[tuple[float, Entry, str]]], share: float, foot: float) -> None:
    """The key, in axes of its own whose unit is the pixel."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    axes = figure.add_axes((0, 0, 1, share), label="key", xlim=(0, WIDTH), ylim=(0, foot))
    axes.axis("off")
    for number, entries in enumerate(lines):
        y = foot - LINE * (number + 0.5) - 1
        for left, (_, look, kind), label in entries:
            if kind == "number":
                axes.text(left + HANDLE, y, look.marker, ha="right", va="center", fontsize=SMALL, fontweight="bold")
            elif kind == "patch":
                axes.add_patch(Rectangle((left, y - 4), HANDLE, 8, facecolor=look.colour, edgecolor="none"))
            else:
                marker = look.marker if kind != "line" else ""
                line: Any = look.line if kind != "point" else ""
                handle = Line2D([left, left + HANDLE / 2, left + HANDLE], [y, y, y], color=look.colour, linestyle=line)
                handle.set(marker=marker, markevery=[1], markersize=5)
                axes.add_line(handle)
            axes.text(left + HANDLE + 6, y, label, va="center", fontsize=SMALL)
