"""The reference of the study file: the committed page and schema are those of the code, and say what it says."""

import re
import shutil
from pathlib import Path
from typing import get_args

import pytest
import yaml

from orchestrator.study_file import reference
from orchestrator.study_file.clamps import clamp_words
from orchestrator.study_file.references import claim_sets
from studies.benchmarks.texts import Bos
from studies.errors import StudyError
from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGE = (DOCS / reference.PAGE).read_text(encoding="utf-8")


def rows(table: str) -> dict[str, list[str]]:
    """{key: the other cells} of a table of the page."""
    text = PAGE.split(f"<!-- keys: {table} -->\n")[1].split("<!-- end of keys -->")[0]
    cells = [re.split(r"(?<!\\) \| ", line.strip("| \n")) for line in text.strip().splitlines()[2:]]
    return {key.strip("`"): others for key, *others in cells}


def test_the_committed_page_and_schema_are_up_to_date() -> None:
    remedy = "run python -m orchestrator.study_file.reference"
    assert reference.with_tables(PAGE) == PAGE, remedy
    assert reference.schema_text() == (DOCS / reference.SCHEMA).read_text(encoding="utf-8"), remedy


def test_a_table_says_name_type_default_and_meaning() -> None:
    assert rows("margins")["perplexity"] == ["number above 0, at most 10", "`0.02`", "Nats of log-perplexity."]
    condition = rows("condition")
    assert condition["select"][:2] == ["`top`, `bottom`, `random` or `explicit`", "**required**"]
    assert condition["seeds"][:2] == ["[whole number at least 0, ...]", "`[0, 1, 2]`"]
    assert condition["match"][:2] == ["[match](#match)", "none"]
    assert rows("surprisal")["name"][:2] == ["name that begins with `surprisal`", "`surprisal`"]
    assert "engine" not in rows("model") and "dtype" not in rows("engine")


def test_defaults_are_those_of_the_presets() -> None:
    profile = rows("profile")
    assert profile["stride"][1] == "`2048`; `paper`: `1024`" and profile["pairs"][1] == "`4096`; `paper`: `256`"
    assert profile["window"][1] == "`2048`" and profile["skip_first"][1] == "`true`; `paper`: `false`"


def test_both_are_written(tmp_path: Path) -> None:
    shutil.copy(DOCS / reference.PAGE, tmp_path)
    page = tmp_path / reference.PAGE
    page.write_text(re.sub(r"\| `preset` .*\n", "", PAGE))
    reference.write(tmp_path)
    assert page.read_text() == PAGE
    assert (tmp_path / reference.SCHEMA).read_text() == (DOCS / reference.SCHEMA).read_text()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("<!-- keys: match -->", "<!-- -->", "match"),
        ("<!-- keys: match -->", "<!-- keys: matches -->", "match, matches"),
        ("## margins\n", "<!-- keys: match -->\n<!-- end of keys -->\n## margins\n", "match"),
    ],
)
def test_a_page_without_one_place_for_every_table_is_refused(old: str, new: str, named: str) -> None:
    assert PAGE.count(old) == 1
    with pytest.raises(StudyError, match=f"wrong are {named}$"):
        reference.with_tables(PAGE.replace(old, new))


def test_without_a_page_it_says_where_to_start(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="start this at the top of the repository"):
        reference.write(tmp_path)


def test_every_word_has_a_row() -> None:
    """Of the tables that are written by hand: clamps, scorecards, places of BOS."""
    for word in (*clamp_words(), *claim_sets(), *get_args(Bos)):
        assert re.search(rf"^\| `{word}`", PAGE, re.MULTILINE), word


def test_every_key_has_an_example_in_its_section() -> None:
    sections = re.split(r"^###? ", PAGE, flags=re.MULTILINE)[1:]
    tables = {section: table[1] for section in sections if (table := re.search("<!-- keys: ([a-z_]+) -->", section))}
    assert len(tables) == len(re.findall("<!-- keys:", PAGE))
    for section, table in tables.items():
        blocks = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
        used = {key for block in blocks for key in keys_of(yaml.safe_load(block))}
        if table == "evaluations":
            used |= set(re.findall(r"\w+", PAGE.split("## evaluations")[1]))  # a section for each word
        if table != "engine":  # whose options vLLM documents
            assert set(rows(table)) <= used, table


def keys_of(value: object) -> list[str]:
    """Every key of a document."""
    if isinstance(value, dict):
        return [str(key) for key in value] + [key for part in value.values() for key in keys_of(part)]
    return [key for part in value for key in keys_of(part)] if isinstance(value, list) else []
