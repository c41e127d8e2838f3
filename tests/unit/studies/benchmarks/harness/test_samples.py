"""A document's samples as the harness returns them, without the harness."""

from typing import Any

import numpy as np
import pytest

from studies.benchmarks.harness.samples import gold, readable


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        ([("a question", " yes"), ("a question", " no")], ("a question", ["yes", "no"])),
        ([("", "alone")], ("", ["alone"])),
        ([("the dog", " ran"), ("the cat", " ran")], ("", ["the dog ran", "the cat ran"])),
        ([("q", " a"), ("q", " b"), ("", " a"), ("", " b")], ("q", ["a", "b"])),
        ([("q", " a"), ("q", " b"), ("", " a"), ("", " c")], ("", ["q a", "q b", " a", " c"])),
    ],
    ids=["one context", "a single request", "contexts that differ", "mutual information", "other choices alone"],
)
def test_requests_as_people_read_them(requests: list[tuple[str, str]], expected: tuple[str, list[str]]) -> None:
    assert readable(requests) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [(1, 1), (np.int64(0), 0), (2, None), (-1, None), ("b", None), (True, None), ([0, 1], None), (1.0, None)],
)
def test_gold_is_the_number_of_one_choice(target: Any, expected: int | None) -> None:
    assert gold(target, 2) == expected
