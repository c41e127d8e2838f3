"""Names, data and errors in a report's Markdown, rendered as MLflow and code hosts do: they are text everywhere."""

from html.parser import HTMLParser
from typing import Any

import pytest
from markdown_it import MarkdownIt

from studies.errors import printable
from studies.reporting.markdown import markdown, plain
from tests.hostile import HOSTILE

TAGS = {"h1", "h2", "p", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "strong", "em"}


class Rendered(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(text: str) -> Rendered:
    page = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)
    return Rendered(page)


def report(text: str) -> dict[str, Any]:
    """A report with this text in every place that names, data and errors can reach."""
    cell = {"estimate": 1.0, "low": None, "high": None}
    rows = [
        {"condition": text, "neurons": text, "remark": "", "cells": {"b": cell}},
        {"condition": "top", "neurons": "top", "remark": text, "cells": {}},
    ]
    verdict = {"claim": text, "statement": text, "status": "absent", "effect": None, "detail": text, "published": text}
    verdict |= {"contrast": None, "margin": 0.02, "p_value": None, "survives_holm": None}
    model = {
        "label": text,
        "display": text,
        "benchmarks": [{"name": "b", "label": text}],
        "rows": rows,
        "schedules": [],
        "doubling": [],
        "noise": text,
        "unmatched": {text: text},
        "left_out": {text: {"items": 1, "of": 2, "first": [text]}},
        "verdicts": [verdict],
    }
    return {"study": text, "models": [model, {**model, "label": "other"}], "unfinished": [text]}


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_hostile_text_is_text_in_the_whole_report(text: str) -> None:
    harmless, page = rendered(markdown(report("word"))), rendered(markdown(report(text)))
    assert page.tags == harmless.tags and set(page.tags) <= TAGS
    shown = " ".join(printable(text).split())
    assert " ".join(page.text.split()).count(shown) >= 17, page.text


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
@pytest.mark.parametrize("frame", ["{}", "x {} y", "## {}", "| {} |\n| --- |\n| {} |", "**{}**"])
def test_a_hostile_text_is_text_in_every_frame(text: str, frame: str) -> None:
    harmless, page = rendered(frame.format("word", "word")), rendered(frame.format(plain(text), plain(text)))
    starts_block = text[:1] in "#>-1" and frame == "{}"  # `markdown` begins no paragraph with a name
    assert starts_block or page.tags == harmless.tags, page.tags


@pytest.mark.parametrize(
    "text",
    [
        "SmolLM2-135M-Instruct@step_1000 (weights dequantised from GGUF Q4_1)",
        "matched/layers=0-3,8",
        "40.20 [38.10, 42.50]",
        "p < 0.05; 95 % of a & b",
        "evaluate.blimp tiny top: failed (no memory)",
        "ΔNLL ä 中",
    ],
)
def test_ordinary_names_and_numbers_stay_as_they_are(text: str) -> None:
    assert plain(text) == text
