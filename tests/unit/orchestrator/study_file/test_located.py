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
    changed,
    message,
    mistakes,
    parse,
)

NOT_ONE_LINE = "is not one printable line of at most 1000 characters"
NESTED_ALIASES = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
)
"""They would fill the memory."""

REFUSED = {
    "empty": ("", "f.yaml: the file is empty"),
    "only a comment": ("# nothing\n", "f.yaml: the file is empty"),
    "only dashes": ("---\n", "f.yaml: the file is empty"),
    "list at top": ("- a\n", "f.yaml:1: a study file is a mapping of keys to values; found a list"),
    "text at top": ("abc\n", "f.yaml:1: a study file is a mapping of keys to values; found 'abc'"),
    "tab": ("study: x\n\tmodels: y\n", "f.yaml:2: not valid YAML: found a tab; write spaces in its place"),
    "open bracket": ("a: [1, 2\n", "f.yaml:2: not valid YAML: expected ',' or ']'"),
    "open quote": ('a: "x\n\n', "f.yaml:3: not valid YAML: found unexpected end of stream"),
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
    "merge key": (changed(PROFILE, "profile: {<<: {tokens: 3}}"), "f.yaml:4: merge keys (<<) are not read; write "),
    "unknown alias": (changed("tiny", "*other"), "f.yaml:1: not valid YAML: found undefined alias"),
    "alias of itself": (changed(PROFILE, "profile: &a {tokens: *a}"), "f.yaml:4: an alias that contains itself"),
    "too deep": ("[" * 1000, "f.yaml: not a study file: brackets are nested too deeply"),
    "too many values": (NESTED_ALIASES, f"f.yaml:1: more than {MAX_NODES} values; put neurons into a "),
    "no word": (changed(PROFILE, "profile: {[a]: 2}"), "f.yaml:4: a key must be a plain word"),
    "mapping as key": (changed(PROFILE, "profile: {{a: b}: 2}"), "f.yaml:4: a key must be a plain word"),
    "null as key": (changed(PROFILE, "profile: {null: 2}"), "f.yaml:4: a key must be a plain word"),
    "line break in key": (changed(PROFILE, 'profile: {"a\\nb": 2}'), f"f.yaml:4: 'a\\nb' {NOT_ONE_LINE}"),
    "long key": (changed("study: tiny", f"{'k' * 1010}: tiny"), f"f.yaml:1: '{'k' * 44}...{'k' * 9}' {NOT_ONE_LINE}"),
    "endless tokens": (
        changed(PROFILE, "profile: {tokens: 9" + 5000 * "0" + "}"),
        "f.yaml:4: '90000000000000000000000000000000000000000000...000000000' cannot be read; quote it if it is text",
    ),
    "endless hex": (
        changed(PROFILE, "profile: {tokens: -0x" + 5000 * "f" + "}"),
        "f.yaml:4: '-0xfffffffffffffffffffffffffffffffffffffffff...fffffffff' cannot be read; quote it if it is text",
    ),
    "label on two lines": (changed(MODEL, '  - {name: a, label: "a\\nb"}\n'), f"f.yaml:3: 'a\\nb' {NOT_ONE_LINE}"),
    "null byte in a name": (changed("study: tiny", 'study: "a\\0b"'), f"f.yaml:1: 'a\\x00b' {NOT_ONE_LINE}"),
    "null byte in a path": (changed(MODEL, '  - {path: "./a\\0b"}\n'), f"f.yaml:3: './a\\x00b' {NOT_ONE_LINE}"),
    "line separator in a file": (
        changed(PERPLEXITY, PERPLEXITY + '  - pairs: "a\\u2028b.jsonl"\n'),
        f"f.yaml:11: 'a\\u2028b.jsonl' {NOT_ONE_LINE}",
    ),
    "long claims": (
        changed(LAST, f"claims: {'x' * 5000}\n"),
        f"f.yaml:12: '{'x' * 44}...{'x' * 9}' {NOT_ONE_LINE}",
    ),
    "long engine option": (
        changed(MODEL, f"  - {{name: a, engine: {{x: {'x' * 5000}}}}}\n"),
        f"f.yaml:3: '{'x' * 44}...{'x' * 9}' {NOT_ONE_LINE}",
    ),
    "block style": (
        changed(" " + TOP, "\n    select: top\n    fraction: 7\n    clamp: negative"),
        "f.yaml:8: conditions.w.fraction: must be below 1; found 7",
    ),
}  # fmt: skip
"""A NUL in a path would raise ValueError when it is opened; a line break would break a message that names it."""


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("text", "expected"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_one_line_with_place_value_and_remedy(text: str, expected: str) -> None:
    assert message(text).startswith(expected)


def test_a_yaml_tag_runs_nothing(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    for tag in ("python/object/apply:os.mkdir", "python/object/new:pathlib.Path.mkdir"):
        mistakes(f"study: !!{tag} [{witness}]\n")
        mistakes(f"!!{tag} ['{witness}']\n")
    assert not witness.exists()


def test_a_plain_alias_is_allowed() -> None:
    text = changed(TOP, "&top {select: top, fraction: 0.01, clamp: negative}") + "data: {}\n"
    text = text.replace("  m:", "  same: *top\n  m:")
    assert parse(text).conditions["same"] == parse().conditions["w"]


def test_on_and_yes_are_words_where_a_key_is_meant() -> None:
    assert "on" in parse(changed("  r:", "  on:")).conditions
