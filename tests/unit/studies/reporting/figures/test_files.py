"""Drawings as files: an SVG that stands alone, a PNG with its words, the captions of all."""

import io
import json
from xml.etree import ElementTree

import matplotlib
import pytest
from PIL import Image

from studies.reporting.figures.costs import conditions
from studies.reporting.figures.files import captions_file, figure_files, png, recorded, svg
from studies.reporting.figures.sheet import Drawing
from studies.reporting.figures.style import plain, settings
from tests.hostile import HOSTILE
from tests.unit.studies.reporting.figures.made_up import model_part
from tests.unit.studies.reporting.figures.walker import faults

NAMES = "$x$ <script>alert(1)</script> & \x00\x1b[31m \u4f60"


def drawn(name: str = "m") -> Drawing:
    """A figure of one condition with this name."""
    drawing = conditions(model_part(name, [(name, "treated", None, "")]))
    assert drawing is not None
    return drawing


def test_a_figure_is_an_svg_and_a_png_of_one_width() -> None:
    files = figure_files("a/b c", drawn())
    assert list(files) == ["figures/a/b c.svg", "figures/a/b c.png"]
    root, image = ElementTree.fromstring(files["figures/a/b c.svg"]), Image.open(io.BytesIO(files["figures/a/b c.png"]))
    assert int(root.attrib["width"]) == image.width == 696
    assert image.height > int(root.attrib["height"]) + 40, "the PNG has its title and its caption, too"


def test_the_words_of_all_figures_are_one_file_with_a_name_of_ones_own() -> None:
    drawings = {"a": drawn("one"), "b": drawn("two")}
    files = recorded(drawings, captions="blimp-captions.json")
    assert sorted(files) == ["figures/a.png", "figures/a.svg", "figures/b.png", "figures/b.svg",
                             "figures/blimp-captions.json"]  # fmt: skip
    words = json.loads(files["figures/blimp-captions.json"])
    assert words == {name: {"title": d.title, "caption": d.caption} for name, d in drawings.items()}
    assert recorded({}) == captions_file({}) == {}


def test_names_are_text_in_an_svg_and_its_words_are_for_readers_that_see_no_picture() -> None:
    drawing = drawn(NAMES)
    root = ElementTree.fromstring(svg(drawing))
    texts = [element.text or "" for element in root.iter() if element.tag.endswith("}text")]
    assert any("<script>" in text and "$x$" in text for text in texts)
    assert root.attrib["aria-label"] == drawing.title and "<script>" in drawing.title
    assert next(element.text for element in root if element.tag.endswith("}desc")) == drawing.caption
    assert not any("\x00" in text or "\x1b" in text for text in (*texts, drawing.title, drawing.caption))


def test_equal_figures_are_equal_bytes_and_others_share_no_id() -> None:
    one, same, other = (svg(drawn(name)) for name in ("a", "a", "b"))
    assert one == same
    ids = [{e.attrib["id"] for e in ElementTree.fromstring(of).iter() if "id" in e.attrib} for of in (one, other)]
    assert ids[0] and not ids[0] & ids[1]


def test_drawing_a_png_leaves_the_figure_as_it_was() -> None:
    drawing = drawn()
    before = svg(drawing)
    assert png(drawing).startswith(b"\x89PNG") and svg(drawing) == before


def test_no_configuration_of_the_current_folder_runs_latex_or_changes_a_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = svg(drawn())
    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30.0)
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "path")
    monkeypatch.setenv("PATH", "")
    assert svg(drawn()) == expected and png(drawn()).startswith(b"\x89PNG")
    with settings():
        assert not matplotlib.rcParams["text.usetex"]
    assert matplotlib.rcParams["font.size"] == 30.0


def test_hostile_names_have_their_places() -> None:
    drawing = conditions(model_part("m", [(text, "treated", None, "") for text in HOSTILE]))
    assert drawing is not None and faults(drawing) == []
    texts = [element.text for element in ElementTree.fromstring(svg(drawing)).iter() if element.tag.endswith("}text")]
    assert {plain(text) for text in HOSTILE if len(text) < 20} <= set(texts)
