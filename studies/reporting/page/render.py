"""The page as HTML, and the pages beside it.

Owns the templates' environment. Callers rely on: the page is whole without any other file and without JavaScript, it
loads nothing, and every text in it is escaped; figures stand in it as images, in which no script runs.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from studies.reporting.figures.style import LOOKS
from studies.reporting.page import costs, downloads, forgotten, methods, quantities, scorecard, tokens, trust
from studies.reporting.page.content import Content, Picture
from studies.reporting.page.headline import MANY, headline
from studies.reporting.text import across_models_lines, finding_lines, margin_lines, series_lines

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE = "report.html"
MAX_BESIDE = 20_000
"""Flipped items on a page beside the report."""
_SECTIONS = (
    ("dissociation", ("double-dissociation",)),
    ("models", ("effects-across-models", "negative-share")),
    ("neurons", ("-scores", "-wasserstein-distance", "-entangled-neurons")),
    ("costs", ("-conditions",)),
    ("", ("-forgotten",)),  # the page has a table of it, whose cells open their items
    ("matching", ("-curve",)),
    ("scorecard", ("-claims",)),
    ("tokens", ("-excess",)),
    ("", ("-upos", "-relation")),  # of one condition each; the section on tokens has all conditions on one axis
)
"""(section, endings of the names of its figures); figures without a section are left out."""
_OTHER_SECTION = "curves"
_CONTENTS = {
    "scorecard": "Scorecard",
    "costs": "Costs",
    "dissociation": "Double dissociation",
    "forgotten": "What was forgotten",
    "tokens": "Tokens",
    "neurons": "Neurons",
    "curves": "Layers, doses, training",
    "models": "Across models",
    "trust": "Trust",
    "methods": "Methods",
}
"""{id of a section: its name}, in the order of the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page and what lies beside it."""

    html: str
    beside: Mapping[str, str]
    """{file name: HTML}: all flipped items of each condition, of which the page shows some."""


def page(content: Content) -> Page:
    """The page of a study."""
    report = content.report
    shown: dict[str, Any] = {
        "scorecard": scorecard.rows(report),
        "costs": costs.tables(report),
        "grids": forgotten.grids(content),
        "passages": tokens.all_shown(content.passages),
        "series": [(series["label"], series_lines(series)) for series in report.get("series", ())],
        "across": across_models_lines(report),
        "pictures": _by_section(content.pictures, [model["display"] for model in report["models"]]),
    }
    html = _template("report.html").render(
        **shown,
        study=content.study,
        subtitle=_subtitle(content),
        headline=headline(report),
        counts=scorecard.counts(report),
        several=any(len({one.model for one in row.judged}) > 1 for row in shown["scorecard"])
        or len(report["models"]) > 1,
        contents=[(anchor, name) for anchor, name in _CONTENTS.items() if _has(anchor, shown)],
        many=len(report["models"]) > MANY,
        margins=margin_lines(report),
        findings=[(model["label"], finding_lines(model)) for model in report["models"]],
        overlaps=[(m["label"], (m.get("structure") or {}).get("overlaps", [])) for m in report["models"]],
        engines=trust.engines(content),
        matches=trust.matches(content),
        noise=trust.noise(content),
        remarks=trust.remarks(content),
        unfinished=report["unfinished"],
        methods=methods.paragraphs(content),
        paper=methods.PAPER,
        product=methods.product(content.environment),
        definition=content.definition,
        downloads=downloads.downloads(report),
        links=content.links,
        run_links=content.run_links,
        run_since=content.run_since,
        roles=scorecard.roles(report),
        store=content.store,
        command=content.command,
        page_name=PAGE,
    )
    return Page(html=html, beside=_beside(content))


def _has(section: str, shown: Mapping[str, Any]) -> bool:
    """Whether a section of the page has something to show."""
    parts = {"forgotten": ("grids",), "tokens": ("passages",), "curves": ("series",), "models": ("across",)}
    if section in ("trust", "methods"):
        return True
    return bool(shown["pictures"].get(section)) or any(shown.get(part) for part in parts.get(section, (section,)))


def _subtitle(content: Content) -> str:
    """`SmolLM2-135M-Instruct · 1 model × 6 conditions · 2026-12-01 · halfwave dda2f39`."""
    models = content.report["models"]
    labels = ", ".join(model["label"] for model in models[:3]) + (", …" if len(models) > 3 else "")
    conditions = max((len(model["rows"]) for model in models), default=0)
    commit = str(content.environment.get("git_commit", ""))[:7]
    sizes = f"{len(models)} model{'s' * (len(models) != 1)} × {conditions} conditions"
    return " · ".join(filter(None, [labels, sizes, content.finished, f"halfwave {commit}" if commit else ""]))


def _by_section(pictures: Mapping[str, Picture], models: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    """{section: its figures, in the order of the models}, with an entry for every section; models: displayed names."""

    def order(picture: Picture) -> int:
        named = [name for name in models if picture.title.startswith(name)]
        return models.index(max(named, key=len)) if named else -1

    sections: dict[str, list[dict[str, str]]] = {section: [] for section in (*_CONTENTS, "matching")}
    for name, picture in sorted(pictures.items(), key=lambda named: order(named[1])):
        if (section := section_of(name)) and (source := _source(picture)):
            title = picture.title or name
            sections[section].append({"source": source, "title": title, "caption": picture.caption})
    return sections


def section_of(figure: str) -> str:
    """The section in which a figure of the record stands, by its name; empty where it is on no page."""
    return next((section for section, endings in _SECTIONS if figure.endswith(endings)), _OTHER_SECTION)


def _source(picture: Picture) -> str:
    """The figure as a data URI: SVG, else PNG; empty where there is neither."""
    for kind, data in (("svg+xml", picture.svg), ("png", picture.png)):
        if data:
            return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return ""


def _beside(content: Content) -> dict[str, str]:
    template = _template("flipped.html")
    return {
        forgotten.page_name(cell): template.render(
            study=content.study,
            cell=cell,
            total=len(flips),
            flips=[(_item(row), forgotten.flip(row)) for row in flips.head(MAX_BESIDE).to_dict("records")],
        )
        for cell, flips in content.flips.items()
        if len(flips)
    }


def _item(row: Mapping[str, Any]) -> str:
    """Which item a row is: `island adjunct_island 12`."""
    return " ".join(str(row[name]) for name in ("phenomenon", "uid", "pair", "id") if name in row)


def _template(name: str) -> Any:
    return _environment().get_template(name)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    made = Environment(
        loader=PackageLoader("studies.reporting.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    style, script = (_shipped(name) for name in ("style.css", "script.js"))
    style += "".join(f".part-{part} {{ background: {look.colour}; }}\n" for part, look in LOOKS.items())
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    shipped = {"style": Markup(style), "script": Markup(script), "script_hash": f"sha256-{digest}"}
    made.globals.update(shipped, NOTHING=quantities.NOTHING)
    return made


def _shipped(name: str) -> str:
    return (files("studies.reporting.page") / "templates" / name).read_text(encoding="utf-8")


def visible(value: Any) -> Any:
    """A text in which every mark shows: one that controls the terminal or the direction of what stands around it is
    written as its escape."""
    if type(value) is not str or value.isprintable():
        return value
    return "".join(c if c.isprintable() or c in "\n\t " else ascii(c)[1:-1] for c in value)
