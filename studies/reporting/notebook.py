"""A study and its figures as a notebook shows them: HTML without scripts or anything that is loaded.

Owns the layout. Names, sentences and captions are shown as text, whatever they hold, and an SVG as an image, so that
nothing in one runs. Knows nothing of where a figure lies: it is read when it is shown.
"""

import base64
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

from studies.errors import printable
from studies.reporting.page.quantities import interval
from studies.reporting.units import of_verdict

FOLDER, FORMATS = "figures", ("svg", "png")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A recorded figure."""

    name: str
    title: str
    """Empty where the study was recorded by an earlier version, and so is the caption."""
    caption: str
    """What is drawn, of how many items, and which intervals."""
    read: Mapping[str, Callable[[], bytes]] = field(repr=False)
    """{format: reads it}, of the formats that are recorded. Raises DamagedArtifact as the record does."""

    @property
    def svg(self) -> bytes | None:
        """The SVG; None where only a PNG is recorded."""
        return self.read["svg"]() if "svg" in self.read else None

    @property
    def png(self) -> bytes | None:
        """The PNG; None where there is none."""
        return self.read["png"]() if "png" in self.read else None

    def _repr_html_(self) -> str:
        kind, content = ("svg+xml", self.svg) if "svg" in self.read else ("png", self.png)
        data = base64.b64encode(content or b"").decode()
        words = ". ".join(filter(None, (self.title.rstrip("."), self.caption)))
        image = (
            f'<img alt="{shown(self.title or self.name)}" src="data:image/{kind};base64,{data}" style="max-width:100%">'
        )
        return f"<figure>{image}<figcaption>{shown(words or self.name)}</figcaption></figure>"


def figures(files: Mapping[str, Callable[[], bytes]], captions: Any, prefix: str = "") -> dict[str, Figure]:
    """{name: figure} of the artifacts of one step.

    files: {artifact path: reads it}. captions: the recorded {name: {"title", "caption"}}. prefix: is put before names.
    """
    read: dict[str, dict[str, Callable[[], bytes]]] = {}
    for path, content in files.items():
        folder, file = posixpath.split(path)
        name, _, ending = file.rpartition(".")
        if folder == FOLDER and ending in FORMATS:
            read.setdefault(name, {})[ending] = content
    words = captions if isinstance(captions, dict) else {}
    return {
        prefix + name: Figure(name=prefix + name, read=formats, **_words(words.get(name)))
        for name, formats in sorted(read.items())
    }


def _words(caption: Any) -> dict[str, str]:
    """Title and caption, as texts, of whatever is recorded."""
    known = caption if isinstance(caption, dict) else {}
    return {name: str(known.get(name, "")) for name in ("title", "caption")}


def headline(study: str, report: Mapping[str, Any]) -> str:
    """A study as its claims over models and series of checkpoints, with status and effect of each, in the units of the
    page."""
    judged = [part for part in (*report["models"], *report.get("series", ())) if part.get("verdicts")]
    benchmarks = report["models"][0]["benchmarks"] if report["models"] else []  # a series has those of its checkpoints
    by_claim: dict[str, dict[str, str]] = {}
    sentences: dict[str, str] = {}
    for part in judged:
        for verdict in part["verdicts"]:
            sentences.setdefault(verdict["claim"], verdict["statement"])
            by_claim.setdefault(verdict["claim"], {})[part["label"]] = _cell(
                verdict, part.get("benchmarks", benchmarks)
            )
    lines = [_row("th", ["claim", *(shown(part["label"]) for part in judged)])]
    for claim, cells in by_claim.items():
        sentence = f"<b>{shown(claim)}</b><br><small>{shown(sentences[claim])}</small>"
        lines.append(_row("td", [sentence, *(cells.get(part["label"], "-") for part in judged)]))
    table = f"<table>{''.join(lines)}</table>" if by_claim else "<p>The study judges no claims.</p>"
    unfinished = f"<p>Steps not finished: {len(report['unfinished'])}</p>" if report.get("unfinished") else ""
    return f"<h3>{shown(study)}</h3>{table}{unfinished}"


def _cell(verdict: Mapping[str, Any], benchmarks: list[Mapping[str, Any]]) -> str:
    effect = interval(verdict.get("effect"), of_verdict(verdict, {b["name"]: b["measure"] for b in benchmarks}))
    return f'<b>{shown(verdict["status"])}</b><br><span style="white-space:nowrap">{shown(effect)}</span>'


def _row(cell: str, contents: list[str]) -> str:
    return "<tr>" + "".join(f'<{cell} style="text-align:left">{content}</{cell}>' for content in contents) + "</tr>"


def shown(text: str) -> str:
    """A text as HTML that says just that."""
    return escape(printable(text))
