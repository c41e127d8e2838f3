"""Errors that a user can fix, the hint at their end, and any error on one line."""

import pickle
from pathlib import Path

import pytest

from studies.errors import (
    ERROR_LENGTH,
    InterventionError,
    StudyError,
    did_you_mean,
    first_line,
    is_utf8,
    one_line,
    shown,
    why_unreadable,
)


@pytest.mark.parametrize("error", [StudyError("a: b is wrong"), InterventionError("not applied")])
def test_errors_survive_a_pickle_round_trip(error: StudyError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and isinstance(again, StudyError)


def test_the_hint_is_a_near_miss_or_the_allowed_values_or_what_lists_them() -> None:
    assert did_you_mean("bilmp", ["tse", "blimp"]) == "; did you mean 'blimp'?"
    assert did_you_mean("x", ["tse", "blimp"]) == "; allowed: blimp, tse"
    assert did_you_mean("x", ["tse", "blimp"], listed="`halfwave ls`") == "; `halfwave ls` lists them"
    assert did_you_mean("x", []) == ""


@pytest.mark.parametrize(
    ("error", "whole", "first"),
    [
        (ValueError("no route"), "no route", "no route"),
        (ValueError("\n no\t route \n\nto host\n"), "no route to host", "no route"),
        ("a\x00b\u2028\udcfc", "a\\x00b \\udcfc", "a\\x00b"),
        ("as text\nof two lines", "as text of two lines", "as text"),
        (MemoryError(), "MemoryError", "MemoryError"),
        (MemoryError(" \n"), "MemoryError", "MemoryError"),
        ("", "", ""),
    ],
)
def test_an_error_on_one_line_is_its_whole_text_or_its_first_line(
    error: Exception | str, whole: str, first: str
) -> None:
    assert (one_line(error), first_line(error)) == (whole, first)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ("ü\n", '"ü\\n"'),
        ("ü\u2028", '"\\u00fc\\u2028"'),
        ("\ud800", '"\\ud800"'),
        ("ü", '"ü"'),
        ([1, {"a": "b"}], '[1, {"a": "b"}]'),
        ("x" * 100, f'"{"x" * 44}...{"x" * 9}"'),
        (float("nan"), "NaN"),
        (b"x", "a value of type bytes"),
        (10**5000, "a value of type int"),
        ({(1, 2): 3}, "a value of type dict"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_shown_short_and_in_json(value: object, text: str) -> None:
    assert shown(value) == text and shown(value).isprintable()


def test_names_that_are_utf8() -> None:
    assert is_utf8("für") and is_utf8(Path("a/ü")) and not is_utf8("b\udcfcro") and not is_utf8(Path("\ud800"))


def test_a_long_error_ends_after_a_whole_word() -> None:
    assert (
        one_line("one two-three four", 14) == "one ..." and one_line("one two-three four", 18) == "one two-three four"
    )
    error = ValueError("word " * 1000)
    assert one_line(error) == first_line(error) and one_line(error).endswith("word ...")
    assert ERROR_LENGTH - len("word ") < len(one_line(error)) <= ERROR_LENGTH
    assert one_line(OSError("x" * 1000)) == "OSError ..." and one_line("x" * 1000) == "..."


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(2, "No such file or directory", "/a/path"), "No such file or directory"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "it is not UTF-8 text"),
        (OSError("Not a\nparquet file"), "Not a parquet file"),
        (ValueError(), "ValueError"),
    ],
    ids=["of the system", "not text", "of a library", "without a text"],
)
def test_the_reason_of_an_unreadable_file_leaves_out_its_path(error: OSError | ValueError, reason: str) -> None:
    assert why_unreadable(error) == reason
