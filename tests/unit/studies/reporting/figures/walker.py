"""What may be wrong with a drawing, found from the places of its texts once it is laid out."""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from studies.reporting.figures.sheet import MARK, Drawing
from studies.reporting.figures.style import settings

MOST_PIXELS = 700
TOLERANCE = 1.0
"""Pixels by which texts may touch."""
NUMBER = re.compile(r"[+−]?[\d,]*\.?\d+(e[+−-]?\d+)?")


def faults(drawing: Drawing) -> list[str]:
    """One line for everything that is wrong; empty for a good figure."""
    with settings():
        return list(_faults(drawing))


def _faults(drawing: Drawing) -> Iterator[str]:
    figure = drawing.figure
    figure.set_dpi(96)
    figure.draw_without_rendering()
    if figure.get_figwidth() * 96 > MOST_PIXELS:
        yield "wider than 700 pixels"
    if not (drawing.title and drawing.caption.endswith(".")):
        yield "without title or caption"
    for axes in figure.axes:
        yield from _axes_faults(axes)
    yield from _key_faults(figure)
    texts = _visible_texts(figure)
    for text, box in texts:
        if not _is_inside(box, figure.bbox):
            yield f"clipped: {text.get_text()!r} at {box.x0:.0f}, {box.y0:.0f} to {box.x1:.0f}, {box.y1:.0f}"
        if text.get_parse_math() or text.get_usetex():
            yield f"a formula: {text.get_text()!r}"
    for (one, box), (other, other_box) in itertools.combinations(texts, 2):
        if _overlap(box, other_box) and not one.get_label() == other.get_label() == MARK:
            yield f"{one.get_text()!r} lies over {other.get_text()!r}"


def _axes_faults(axes: Any) -> Iterator[str]:
    if not axes.axison:
        return
    for axis in (axes.xaxis, axes.yaxis):
        labels = _shown_labels(axis)
        if not labels or not axis.get_tick_params().get("labelleft", True):
            continue
        is_numeric = all(NUMBER.fullmatch(label) for label in labels)
        if is_numeric and len(labels) < 3:
            yield f"{axis.axis_name} axis has only the ticks {labels}"
        if is_numeric and not axis.get_label_text():
            yield f"{axis.axis_name} axis has no label"
        if len(set(labels)) < len(labels) and is_numeric:
            yield f"{axis.axis_name} axis has equal ticks {labels}"


def _shown_labels(axis: Any) -> list[str]:
    low, high = sorted(axis.get_view_interval())
    room = 1e-6 * (high - low)
    ticks = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=False)
    inside = [label for place, label in ticks if low - room <= place <= high + room]
    return [label.get_text() for label in inside if label.get_visible() and label.get_text()]


def _key_faults(figure: Any) -> Iterator[str]:
    if figure.findobj(Legend):
        yield "a legend, which may lie over data"
    keys = [axes for axes in figure.axes if axes.get_label() == "key"]
    panels = [axes for axes in figure.axes if axes.get_label() != "key"]
    for key, panel in itertools.product(keys, panels):
        if _overlap(key.get_window_extent(), panel.get_tightbbox()):
            yield "the key lies over a panel"


def _visible_texts(figure: Any) -> Sequence[tuple[Text, Bbox]]:
    ticks = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.majorTicks[len(axis.get_ticklocs()) :]  # matplotlib keeps more than it draws
        for label in (tick.label1, tick.label2)
    }
    texts = []
    for text in figure.findobj(Text):
        is_off = text.axes is not None and not text.axes.axison and text in _axis_texts(text.axes)
        if text.get_visible() and text.get_text().strip() and id(text) not in ticks and not is_off:
            texts.append((text, text.get_window_extent()))
    return texts


def _axis_texts(axes: Any) -> list[Text]:
    return [text for axis in (axes.xaxis, axes.yaxis) for text in axis.findobj(Text)]


def _is_inside(box: Bbox, of: Bbox) -> bool:
    room = TOLERANCE
    return bool(box.x0 >= of.x0 - room and box.x1 <= of.x1 + room and box.y0 >= of.y0 - room and box.y1 <= of.y1 + room)


def _overlap(one: Bbox, other: Bbox) -> bool:
    across = min(one.x1, other.x1) - max(one.x0, other.x0)
    along = min(one.y1, other.y1) - max(one.y0, other.y0)
    return bool(across > TOLERANCE and along > TOLERANCE)
