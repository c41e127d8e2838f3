"""jsonl rows: every error names file and line."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studies.benchmarks.choices import user_choices
from studies.benchmarks.minimal_pairs import user_pairs
from studies.benchmarks.rows import RowNames, data_files, evenly, optional_name, read_jsonl, required_texts
from tests.unit.studies.benchmarks.files import GOOD, QUESTION, study_error, write_jsonl

NOT_JSON = {
    "not JSON": ("{", "not JSON (Expecting property name"),
    "a number of 5000 digits": ('{"x": 9' + "0" * 5000 + "}", "not JSON (Exceeds the limit"),
    "too deep": ("[" * 100_000, "not JSON (maximum recursion depth"),
    "a key twice": ('{"uid": "a", "uid": "b"}', 'not JSON (the key "uid" occurs twice)'),
    "not a number": ('{"x": NaN}', "not JSON (NaN is no JSON value)"),
    "infinity": ('{"x": [-Infinity]}', "not JSON (-Infinity is no JSON value)"),
    "half a character": (
        '{"x": "\\ud83d"}',
        "not text: a \\ud800 to \\udfff is half of a character; write both halves",
    ),
    "a list": ("[1]", "every line must be a JSON object, found list"),
}


@pytest.mark.parametrize(("line", "expected"), NOT_JSON.values(), ids=NOT_JSON)
@pytest.mark.parametrize(("function", "row"), [(user_choices, QUESTION), (lambda path: user_pairs(path, True), GOOD)])
def test_bad_lines_are_named_by_file_and_line(
    tmp_path: Path, function: Callable[[Path], object], row: dict[str, Any], line: str, expected: str
) -> None:
    """The second object stands on line 4: blank lines count."""
    path = write_jsonl(tmp_path / "mine.jsonl", row, "", "  ", line)
    assert study_error(function, path).startswith(f"{path}:4: {expected}")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.jsonl").write_bytes(b'{"context": "\xff"}\n')
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    for function in (user_choices, lambda path: user_pairs(path, True)):
        for name, reason in (
            ("absent.jsonl", "No such file or directory"),
            ("folder", "Is a directory"),
            ("pipe.jsonl", "it is not an ordinary file"),
            ("latin.jsonl", "it is not UTF-8 text"),
        ):
            path = tmp_path / name
            assert study_error(function, path) == f"{path} cannot be read: {reason}"


def test_reading_stops_at_the_limit(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "mine.jsonl", {"a": 1}, {"a": 2}, "not JSON")
    assert read_jsonl(path, limit=2) == [(1, {"a": 1}), (2, {"a": 2})]


def test_required_texts_are_non_empty() -> None:
    row = {"a": "x", "b": " y ", "c": "  ", "d": 3}
    assert required_texts(row, "f:1", "b", "a") == [" y ", "x"]
    for field, value in (("c", 'found "  "'), ("d", "found 3"), ("e", 'it has none; its keys are "a", "b", "c", "d"')):
        message = study_error(required_texts, row, "f:1", "a", field)
        assert message == f"f:1: every line needs a non-empty text {field!r}; {value}"


def test_data_files_are_those_of_the_first_pattern_that_matches(tmp_path: Path) -> None:
    assert study_error(data_files, tmp_path / "absent", "*.a") == (
        f"there is no folder {tmp_path / 'absent'}, which should hold *.a"
    )
    assert study_error(data_files, tmp_path, "*.a", "*.b") == f"{tmp_path} holds no *.a or *.b"
    for name in ("2.b", "1.b"):
        (tmp_path / name).touch()
    assert data_files(tmp_path, "*.a", "*.b") == [tmp_path / "1.b", tmp_path / "2.b"]
    (tmp_path / "3.a").touch()
    assert data_files(tmp_path, "*.a", "*.b") == [tmp_path / "3.a"]


def test_rows_are_evenly_spaced_and_in_order() -> None:
    assert evenly(10, 4) == [0, 2, 5, 7]
    assert evenly(3, 3) == [0, 1, 2] and evenly(5, 1) == [0] and evenly(0, 0) == []


def test_a_row_is_named_by_a_text_or_a_whole_number() -> None:
    row = {"a": "x", "b": 3, "c": None, "d": True, "e": 1.5, "f": " ", "g": []}
    assert [optional_name(row, "f:1", *fields) for fields in (["a"], ["b"], ["z"], ["z", "b"])] == ["x", "3", None, "3"]
    for field, found in (("c", "null"), ("d", "true"), ("e", "1.5"), ("f", '" "'), ("g", "[]")):
        problem = f"{field!r} must be a non-empty text or a whole number; found {found}; leave it out for none"
        assert study_error(optional_name, row, "f:1", field) == f"f:1: {problem}"


def test_names_are_told_apart_within_their_group() -> None:
    names = RowNames()
    assert [
        names.add(given, i, f"f:{i}", group) for i, (given, group) in enumerate([("a", "g"), ("a", "h"), (None, "g")])
    ] == ["a", "a", "2"]
    assert study_error(names.add, "2", 9, "f:9", "g").startswith('f:9: the id "2" is that of f:2, as rows without')
