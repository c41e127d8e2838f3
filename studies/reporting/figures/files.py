"""Finished drawings -> the files of the record: an SVG, a PNG, and the captions of all.

Owns the form of both. An SVG is self-contained and small, may stand beside others in one HTML page (its ids begin with
the digest of its own content), refers to nothing outside itself, and has its title as `aria-label` and its caption as
`desc`, which are not drawn: a page has them in its own type. A PNG has both drawn above and below. Both are
`style.WIDTH` CSS pixels wide.
"""

import hashlib
import io
import json
import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from studies.reporting.figures.sheet import Drawing
from studies.reporting.figures.style import BOLD, LARGE, PIXELS_AN_INCH, SMALL, WIDTH, settings, wrapped

FOLDER = "figures"
CAPTIONS = "captions.json"
RASTER_DPI = 120
"""Of what an SVG holds as pixels."""
LINE_HEIGHT = 1.35
NOTE = "#555555"
"""Colour of captions."""
MARGIN = 8
"""Pixels beside a title or caption."""

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def recorded(drawings: Mapping[str, Drawing], *, captions: str = CAPTIONS) -> dict[str, bytes]:
    """{artifact path: content} of several figures with their captions; nothing of none.

    captions: the name of their file, which must be another one where several steps record figures on one run.
    """
    files = captions_file(drawings, captions)
    for name, drawing in drawings.items():
        files |= figure_files(name, drawing)
    return files


def figure_files(name: str, drawing: Drawing) -> dict[str, bytes]:
    """`figures/<name>.svg` and `figures/<name>.png`."""
    return {f"{FOLDER}/{name}.svg": svg(drawing), f"{FOLDER}/{name}.png": png(drawing)}


def captions_file(drawings: Mapping[str, Drawing], captions: str = CAPTIONS) -> dict[str, bytes]:
    """The title and caption of every figure as one JSON file; no file of none."""
    if not drawings:
        return {}
    words = {name: {"title": drawing.title, "caption": drawing.caption} for name, drawing in drawings.items()}
    return {f"{FOLDER}/{captions}": json.dumps(words, indent=1, ensure_ascii=False).encode()}


def svg(drawing: Drawing) -> bytes:
    """The figure as an SVG element, in UTF-8, without XML declaration and doctype."""
    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with settings():
        drawing.figure.savefig(buffer, format="svg", dpi=RASTER_DPI, facecolor="none", metadata=nothing)
    root = ElementTree.fromstring(buffer.getvalue())
    _remove_styles(root)
    _name_ids(root, "f" + hashlib.sha256(buffer.getvalue()).hexdigest()[:8] + "-")
    height = drawing.figure.get_figheight() * PIXELS_AN_INCH
    root.attrib |= {"width": f"{WIDTH}", "height": f"{height:.0f}", "role": "img", "aria-label": drawing.title}
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")
    description = ElementTree.Element(f"{{{_SVG}}}desc")
    description.text = drawing.caption
    root.insert(0, description)
    ElementTree.register_namespace("", _SVG)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=False)


def _remove_styles(root: ElementTree.Element) -> None:
    """Remove matplotlib's style sheet, whose `*` would style a whole page; its two rules stand on the root."""
    for parent in root.iter():
        for child in list(parent):
            if child.tag == f"{{{_SVG}}}style":
                parent.remove(child)


def _name_ids(root: ElementTree.Element, prefix: str) -> None:
    """Begin all ids, and what refers to them, with the prefix."""
    for element in root.iter():
        for name, value in list(element.attrib.items()):
            if name == "id":
                element.set(name, prefix + value)
            elif name == f"{{{_XLINK}}}href":
                del element.attrib[name]
                element.set("href", f"#{prefix}{value[1:]}" if value.startswith("#") else value)
            elif "url(#" in value:
                element.set(name, _REFERENCE.sub(rf"url(#{prefix}\1)", value))


def png(drawing: Drawing) -> bytes:
    """The figure as PNG, with its title above and its caption below."""
    from matplotlib.transforms import Bbox

    figure, inch = drawing.figure, PIXELS_AN_INCH
    high, width = figure.get_figheight() * inch, WIDTH - 2 * MARGIN
    buffer = io.BytesIO()
    with settings():
        title, caption = (wrapped(drawing.title, width / BOLD, LARGE), wrapped(drawing.caption, width, SMALL))
        above, below = (
            len(lines) * size * LINE_HEIGHT * inch / 72 + MARGIN if lines[0] else 0.0
            for lines, size in ((title, LARGE), (caption, SMALL))
        )
        drawn = [
            _text(figure, "\n".join(title), 1 + (above - MARGIN / 2) / high, LARGE, fontweight="bold"),
            _text(figure, "\n".join(caption), 0.0, SMALL, color=NOTE),
        ]
        whole = Bbox.from_extents(0, -below / inch, WIDTH / inch, (high + above) / inch)
        figure.savefig(buffer, format="png", dpi=inch, facecolor="white", bbox_inches=whole)
        for text in drawn:
            text.remove()
    return buffer.getvalue()


def _text(figure: Any, text: str, top: float, size: float, **look: Any) -> Any:
    left = MARGIN / WIDTH
    return figure.text(left, top, text, size=size, va="top", parse_math=False, linespacing=LINE_HEIGHT, **look)
