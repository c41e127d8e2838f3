"""What makes two steps equal: canonical JSON that raises, stable ids, and differences that a reader understands."""

import hashlib
import subprocess
import sys
from collections import deque
from datetime import date
from enum import Enum, StrEnum
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.steps.identity import ID_DIGITS, canonical, difference, identify
from tests.conftest import ROOT

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)
payloads = st.dictionaries(st.text(max_size=4), plain, max_size=4)


class Colour(Enum):
    RED = 1


class Word(StrEnum):
    TREE = "tree"


NOT_JSON = [
        {1, 2}, b"x", bytearray(b"x"), memoryview(b"x"), Path("x"), date(2024, 1, 1), Colour.RED, 1j, Fraction(1, 2),
        np.int64(1), np.float32(1.0), np.array([1, 2]), range(3), deque([1]), MappingProxyType({"a": 1}), len,
]  # fmt: skip
NOT_FINITE = [float("nan"), float("inf"), float("-inf"), np.float64("nan")]
NOT_TEXT = [1, None, True, 0.5, ("a",), b"a"]
REFUSED = {
    **{
        f"a value of type {type(value).__name__}": (
            {"params": {"x": [0, value]}},
            TypeError,
            f"payload.params.x[1] is of type {type(value).__name__}; convert it to plain JSON types first",
        )
        for value in NOT_JSON
    },
    **{
        f"the number {value!r}": (
            {"clamp": {"floor": value}},
            ValueError,
            f"payload.clamp.floor is {value}; leave out what has no finite value",
        )
        for value in NOT_FINITE
    },
    **{
        f"the key {key!r}": (
            {"layers": {key: 1}},
            TypeError,
            f"payload.layers has the key {key!r}; keys must be text",
        )
        for key in NOT_TEXT
    },
}


@pytest.mark.parametrize(("payload", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_what_canonical_json_cannot_hold_is_refused_with_its_place(payload, kind, message):
    with pytest.raises(kind) as error:
        canonical(payload)
    assert str(error.value) == message


def test_the_encoding_is_exact():
    value = {"b": [1, -0.5, 1e-7, True, None], "a": {"é": "ü\n", "c": ()}, "z": Word.TREE, "n": 0.1 + 0.2}
    assert canonical(value) == (
        '{"a":{"c":[],"é":"ü\\n"},"b":[1,-0.5,1e-07,true,null],"n":0.30000000000000004,"z":"tree"}'
    )


def test_types_that_are_equal_in_python_are_not_equal_here():
    texts = {canonical({"x": value}) for value in (1, 1.0, True, "1", [1], None)}
    assert len(texts) == 6
    assert canonical({"x": (1, 2)}) == canonical({"x": [1, 2]})


@settings(max_examples=40, deadline=None)
@given(payloads, st.randoms())
def test_the_order_of_keys_is_irrelevant(payload, generator):
    def shuffled(value):
        if isinstance(value, dict):
            items = list(value.items())
            generator.shuffle(items)
            return {key: shuffled(item) for key, item in items}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    assert identify(shuffled(payload)) == identify(payload)


@settings(max_examples=40, deadline=None)
@given(payloads, payloads)
def test_ids_are_equal_exactly_where_the_encodings_are(one, other):
    assert (identify(one) == identify(other)) == (canonical(one) == canonical(other))
    assert (not difference(one, other)) == (canonical(one) == canonical(other))


@pytest.mark.parametrize(
    ("payload", "golden"),
    [
        ({}, "44136fa355b3678a1146"),
        ({"kind": "profile", "version": 1}, "582c72d567ced2aac41b"),
        ({"b": 2, "a": [0.01, None, "é"]}, "408be2d1a3c5c6eccdb4"),
    ],
)
def test_golden_ids(payload, golden):
    """They stand in users' stores: a change of the encoder orphans every recorded step."""
    assert identify(payload) == golden
    assert len(golden) == ID_DIGITS == 20


def test_an_id_is_the_sha256_of_the_encoding():
    payload = {"kind": "select", "params": {"fraction": 0.01}}
    assert identify(payload) == hashlib.sha256(b'{"kind":"select","params":{"fraction":0.01}}').hexdigest()[:20]


def test_ids_do_not_depend_on_the_process():
    program = "from orchestrator.steps.identity import identify; print(identify({'b': {'x': 1, 'a': 2}, 'a': ['s']}))"
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {identify({"a": ["s"], "b": {"a": 2, "x": 1}})}


def test_difference_is_one_line_a_leaf():
    old = {"kind": "select", "params": {"fraction": 0.01, "seed": 0, "gone": None}, "inputs": {"profile": "a"}}
    new = {"kind": "select", "params": {"fraction": 0.02, "seed": 0, "new": [1]}, "inputs": {"profile": "b"}}
    assert difference(new, old) == [
        'inputs.profile: "a" -> "b"',
        "params.fraction: 0.01 -> 0.02",
        "params.gone: removed null",
        "params.new: added [1]",
    ]


def test_difference_sees_what_the_id_sees():
    """A recorded payload comes back from JSON: tuples are lists there, and 1 is not 1.0."""
    assert difference({"layers": (0, 1)}, {"layers": [0, 1]}) == []
    assert difference({"floor": 0.0}, {"floor": 0}) == ["floor: 0 -> 0.0"]
    assert difference({"on": True}, {"on": 1}) == ["on: 1 -> true"]


def test_difference_of_a_mapping_and_a_value_and_of_long_values():
    assert difference({"clamp": None}, {"clamp": {"floor": 0.0}}) == ['clamp: {"floor":0.0} -> null']
    (line,) = difference({"digest": "a" * 64}, {"digest": "b" * 64})
    assert line == f'digest: "{"b" * 27}...{"b" * 7}" -> "{"a" * 27}...{"a" * 7}"'


def test_no_difference_is_no_line():
    payload = {"a": {"b": [1, {"c": None}]}}
    assert difference(payload, {"a": {"b": [1, {"c": None}]}}) == []
