"""YAML that is no study file, values that no message can show, and the line of every value."""

from pathlib import Path

import pytest

from orchestrator.study_file.located import MAX_NODES
from tests.unit.orchestrator.study_file.tiny_study import (
    LAST,
    MODEL,
    PERPLEXITY,
    PROFILE,
    STUDY,
    TOP,
    assert_refused,
    changed,
    message,
    parse,
)

REFUSED = {
    "no word": (PROFILE, "profile: {[a]: 2}", ":4: a key must be a plain word"),
    "mapping as key": (PROFILE, "profile: {{a: b}: 2}", ":4: a key must be a plain word"),
    "null as key": (PROFILE, "profile: {null: 2}", ":4: a key must be a plain word"),
    "line break in key": (PROFILE, 'profile: {"a\\nb": 2}', ":4: a key must be a plain word"),
    "endless tokens": (
        PROFILE, "profile: {tokens: 9" + 5000 * "0" + "}",
        ":4: '90000000000000000000000000000000000000000000...000000000' cannot be read; quote it if it is text",
    ),
    "endless hex": (
        PROFILE, "profile: {tokens: -0x" + 5000 * "f" + "}",
        ":4: '-0xfffffffffffffffffffffffffffffffffffffffff...fffffffff' cannot be read; quote it if it is text",
    ),
    "label on two lines": (
        MODEL, '  - {name: a, label: "a\\nb"}\n',
        ":3: 'a\\nb' is not one printable line of at most 1000",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_one_line_with_place_value_and_remedy(old: str, new: str, expected: str) -> None:
    assert_refused(old, new, expected)


YAML = {
    "empty": ("", "f.yaml: the file is empty"),
    "only a comment": ("# nothing\n", "f.yaml: the file is empty"),
    "only dashes": ("---\n", "f.yaml: the file is empty"),
    "list at top": ("- a\n", "f.yaml:1: a study file is a mapping of keys to values; found a list"),
    "text at top": ("abc\n", "f.yaml:1: a study file is a mapping of keys to values; found 'abc'"),
    "tab": ("study: x\n\tmodels: y\n", "f.yaml:2: not valid YAML: "),
    "open bracket": ("a: [1, 2\n", "f.yaml:2: not valid YAML: expected ',' or ']'"),
    "open quote": ('a: "x\n\n', "not valid YAML: found unexpected end of stream"),
    "two documents": ("a: b\n---\nc: d\n", "f.yaml:2: not valid YAML: but found another document"),
    "control character": ("a: b\nc: \x07\n", "f.yaml:2: not valid YAML: unacceptable character #x0007"),
    "duplicate key": (STUDY + "study: again\n", "f.yaml:13: the key 'study' occurs twice"),
    "duplicate condition": (changed("  r:", "  w:"), "f.yaml:7: the key 'w' occurs twice"),
    "duplicate field": (changed("fraction: 0.01", "fraction: 0.01, fraction: 0.02"), "f.yaml:6: the key 'fraction'"),
    "tag of a value": (changed("tiny", "!!python/name:os.system x"), "f.yaml:1: 'x' cannot be read; quote it"),
    "tag that fails": (changed("tiny", "!!bool y"), "f.yaml:1: 'y' cannot be read"),
    "tag of nothing": (changed("tiny", '!!int ""'), "f.yaml:1: '' cannot be read"),
    "tag of a mapping": (changed(PROFILE, "profile: !!python/object:os.system {}"), "f.yaml:4: the tag '!!python"),
    "set": (changed(PROFILE, "profile: !!set {tokens}"), "f.yaml:4: the tag '!!set' is not allowed"),
    "date": (changed("tiny", "2024-01-01"), "f.yaml:1: '2024-01-01' cannot be read; quote it if it is text"),
    "no date": (changed("tiny", "2024-13-45"), "f.yaml:1: '2024-13-45' cannot be read"),
    "half a surrogate pair": (changed("tiny", '"\\ud800"'), "f.yaml:1: '\\ud800' cannot be read"),
    "merge key": (changed(PROFILE, "profile: {<<: {tokens: 3}}"), "f.yaml:4: '<<' cannot be read"),
    "unknown alias": (changed("tiny", "*other"), "f.yaml:1: not valid YAML: found undefined alias"),
    "alias of itself": (changed(PROFILE, "profile: &a {tokens: *a}"), "f.yaml:4: an alias that contains itself"),
    "too deep": ("[" * 1000, "f.yaml: not a study file: brackets are nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), YAML.values(), ids=YAML)
def test_yaml_that_is_no_study_is_one_line(text: str, expected: str) -> None:
    assert expected in message(text)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("study: tiny", 'study: "a\\0b"', ":1: 'a\\x00b'"),
        (MODEL, '  - {path: "./a\\0b"}\n', ":3: './a\\x00b'"),
        (PERPLEXITY, PERPLEXITY + '  - pairs: "a\\u2028b.jsonl"\n', ":11: 'a\\u2028b.jsonl'"),
        (LAST, f"claims: {'x' * 5000}\n", ":12: 'xxxx"),
        (MODEL, f"  - {{name: a, engine: {{x: {'x' * 5000}}}}}\n", ":3: 'xxxx"),
    ],
)
def test_a_value_that_no_message_can_show_is_refused(old: str, new: str, place: str) -> None:
    """A NUL in a path would raise ValueError when it is opened, a line break would break a message that names it."""
    line = message(changed(old, new))
    assert line.startswith(f"f.yaml{place}") and line.endswith("is not one printable line of at most 1000 characters")


def test_a_key_that_no_message_can_show_is_refused() -> None:
    assert message(changed("study: tiny", f"{'k' * 1010}: tiny")) == "f.yaml:1: a key must be a plain word"


def test_a_yaml_tag_runs_nothing(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    for tag in ("python/object/apply:os.mkdir", "python/object/new:pathlib.Path.mkdir"):
        message(f"study: !!{tag} [{witness}]\n")
        message(f"!!{tag} ['{witness}']\n")
    assert not witness.exists()


@pytest.mark.timeout(60)
def test_nested_aliases_do_not_fill_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert f"more than {MAX_NODES} values" in message("\n".join(lines))


def test_a_plain_alias_is_allowed() -> None:
    text = changed(TOP, "&top {select: top, fraction: 0.01, clamp: negative}") + "data: {}\n"
    text = text.replace("  m:", "  same: *top\n  m:")
    assert parse(text).conditions["same"] == parse().conditions["w"]


def test_on_and_yes_are_words_where_a_key_is_meant() -> None:
    assert "on" in parse(changed("  r:", "  on:")).conditions


def test_the_line_is_that_of_the_value_in_block_style() -> None:
    block = "\n    select: top\n    fraction: 7\n    clamp: negative"
    assert message(changed(" " + TOP, block)).startswith("f.yaml:8: conditions.w.fraction: must be below 1; found 7")
