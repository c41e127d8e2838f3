"""The page as HTML: whole without anything else, every text a text."""

from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest

from studies.reporting.page.content import Cell, Link, Picture
from studies.reporting.page.render import page, visible
from tests.hostile import HOSTILE
from tests.unit.studies.reporting.page.examples import comparisons, content, flips, model, passages, report, verdict

VOID = {"meta", "br", "img", "input", "hr", "link"}


class Reader(HTMLParser):
    """Tags that are closed in order, what they load, and the text that shows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.targets: list[str] = []
        self.tags: set[str] = set()
        self.handlers: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            self.handlers += [name] if name.startswith("on") else []
            self.ids += [value or ""] if name == "id" else []
            self.loads += (
                [value or ""] if name in ("src", "srcset", "data") or (tag == "link" and name == "href") else []
            )
            self.targets += [(value or "")[1:]] if name == "href" and (value or "").startswith("#") else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing that is open"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


def read(**more: Any) -> Reader:
    return Reader(page(content(**more)).html)


def test_it_is_well_formed_and_loads_nothing() -> None:
    made = page(content(links=(Link("All runs", "http://127.0.0.1:5000/#/experiments/1"),)))
    for html in (made.html, *made.beside.values()):
        found = Reader(html)
        assert found.open == [] and len(found.ids) == len(set(found.ids)) and not found.handlers
        assert all(load.startswith("data:") for load in found.loads)
        assert "url(" not in html and "@import" not in html
        assert found.tags.isdisjoint({"link", "iframe", "object", "embed", "base", "form"})
    assert "default-src 'none'" in made.html


def test_every_link_within_the_page_has_its_target() -> None:
    found = read()
    assert found.targets and set(found.targets) <= set(found.ids)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_a_text_everywhere(text: str) -> None:
    part = model(text, [verdict("undecided", claim=text, statement=text, detail=text, published=text)])
    part["rows"][1]["remark"] = part["noise"] = text
    part["benchmarks"][1]["label"] = text
    table = flips().assign(good=text, bad=text, phenomenon=text)
    found = page(
        content(
            study=text,
            report={**report(part), "unfinished": [text]},
            comparisons=comparisons(text).replace({"npi": text}),
            flips={Cell(text, "wasserstein", "blimp"): table},
            pictures={"x": Picture(None, b"png", text, text)},
            passages=(passages(f"The cat sat on {text} the mat and so on and on."),),
            definition=text,
            command=text,
            links=(Link(text, "http://127.0.0.1:5000"),),
        )
    )
    for html in (found.html, *found.beside.values()):
        read_back = Reader(html)
        assert read_back.open == [] and not read_back.handlers
        assert visible(text) in read_back.text
        assert html.count("<script>") <= 1, "our own"
        assert not any(c for c in html if not c.isprintable() and c not in "\n\t\u00a0\u2002")


def test_a_page_of_three_models_and_sixty_conditions_stays_small() -> None:
    models = []
    for label in "abc":
        part = model(label)
        rows = [{**part["rows"][1], "condition": f"c{i}", "of": f"c{i}"} for i in range(60)]
        models.append({**part, "rows": [part["rows"][0], *rows]})
    cells = {Cell(label, f"c{i}", "blimp"): flips(300) for label in "abc" for i in range(60)}
    everything = [comparisons(label).assign(condition=f"c{i}") for label in "abc" for i in range(60)]
    made = page(content(report=report(*models), flips=cells, comparisons=pd.concat(everything)))
    assert len(made.html.encode()) < 5_000_000
    assert len(made.beside) == 180 and all(html.count('class="flip ') == 300 for html in made.beside.values())


def test_what_a_study_does_not_have_has_no_section() -> None:
    part = {**model(verdicts=[]), "rows": []}
    found = read(report=report(part), comparisons=comparisons().iloc[:0], flips={}, passages=(), pictures={}, proofs=())
    assert set(found.ids) == {"trust", "methods"} and "nothing has been measured yet" in found.text


def test_figures_stand_in_the_order_of_the_models() -> None:
    models = [model(f"m@step{step}") for step in (5, 512, 50)]
    pictures = {f"m_step{step}-conditions": Picture(None, b"x", f"m@step{step}: costs", "") for step in (5, 50, 512)}
    text = read(report=report(*models), pictures={**pictures, "a-conditions": Picture(None, b"x", "all", "")}).text
    places = [text.index(title) for title in ("all.", "m@step5: costs", "m@step512: costs", "m@step50: costs")]
    assert places == sorted(places)


def test_a_later_run_is_said_and_conditions_lead_to_their_runs() -> None:
    found = page(content(run_since="2026-12-02T10:00", run_links={("m", "matched"): "http://127.0.0.1:5000/#/r"})).html
    assert "was run again at 2026-12-02T10:00" in found and '<a href="http://127.0.0.1:5000/#/r">matched</a>' in found
    assert "was run again" not in page(content()).html


def test_what_failed_is_on_the_page() -> None:
    found = read(report={**report(), "unfinished": ["evaluate blimp: failed (out of memory)"]})
    assert "What failed or was not finished" in found.text and "out of memory" in found.text
    assert "Every step of the study finished" in read().text


def test_items_that_are_not_on_the_page_are_beside_it() -> None:
    many = flips(200)
    made = page(content(flips={Cell("m", "wasserstein", "blimp"): many}))
    (name,) = made.beside
    assert name in made.html and made.beside[name].count('class="flip ') == 200
    assert "199 lost, 1 gained" in made.html
