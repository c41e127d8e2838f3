"""Multiple choice: what is predicted, a user's jsonl, and the embedded knowledge items."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studies.benchmarks.choices import ChoiceBenchmark, Item, embedded_knowledge, user_choices
from tests.unit.studies.benchmarks.files import QUESTION, study_error, write_jsonl


def test_choices_by_sum_and_by_sum_per_character() -> None:
    """The second item: the longer choice has the lower sum but the higher one per character."""
    items = (Item("a", "c", ("xx", "y"), 0), Item("b", "c", ("x", "yyyy"), 1))
    benchmark = ChoiceBenchmark(name="know", label="know", items=items)
    assert benchmark.contexts == ("c",) * 4 and benchmark.continuations == (" xx", " y", " x", " yyyy")
    results = benchmark.results(np.array([-1.0, -2.0, -3.0, -4.0]), np.array([1, 1, 1, 1]))
    assert results["predicted"].tolist() == [0, 0] and results["gold"].tolist() == [0, 1]
    assert results["correct"].tolist() == [1.0, 0.0] and results["correct_norm"].tolist() == [1.0, 1.0]
    assert results["logprobs"].tolist() == [[-1.0, -2.0], [-3.0, -4.0]] and results["id"].tolist() == ["a", "b"]
    assert benchmark.metrics(results) == {"know/accuracy": 0.5, "know/accuracy_norm": 1.0}


def test_items_of_different_sizes_keep_to_their_own_choices() -> None:
    items = (Item("a", "c", ("p", "q"), 1), Item("b", "c", ("p", "q", "r"), 2), Item("d", "c", ("p", "q"), 0))
    benchmark = ChoiceBenchmark(name="know", label="know", items=items)
    sums = np.array([-9.0, -1.0, -9.0, -8.0, -1.0, -1.0, -9.0])
    results = benchmark.results(sums, np.ones(7))
    assert results["correct"].tolist() == [1.0, 1.0, 1.0]
    assert [len(row) for row in results["logprobs"]] == [2, 3, 2]


def test_a_tie_of_choices_goes_to_the_first() -> None:
    benchmark = ChoiceBenchmark(name="know", label="know", items=(Item("a", "c", ("p", "q"), 1),))
    assert benchmark.results(np.array([-1.0, -1.0]), np.ones(2))["predicted"].tolist() == [0]


def test_choices_may_have_contexts_of_their_own() -> None:
    shared, own = Item("a", "c", ("p", "q"), 1), Item("b", "", ("r", "r"), 0, ("c1", "c2"))
    benchmark = ChoiceBenchmark(name="know", label="know", items=(shared, own))
    assert benchmark.contexts == ("c", "c", "c1", "c2") and benchmark.continuations == (" p", " q", " r", " r")
    variants = (own, own._replace(contexts=()))
    assert len({ChoiceBenchmark(name="n", label="n", items=(item,)).digest for item in variants}) == 2


# ---- a user's jsonl


def test_user_choices(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "mine.jsonl", QUESTION, QUESTION | {"id": "q7", "gold": 1})
    benchmark = user_choices(path)
    assert benchmark.name == "mine" and [item.id for item in benchmark.items] == ["0", "q7"]
    assert benchmark.items[1] == Item("q7", "The sky is", ("blue", "square"), 1, place=f"{path}:2")


NEEDS_TEXT = "every line needs a non-empty text 'context'"
NEEDS_CHOICES = "'choices' must be a list of at least 2 non-empty texts"
NEEDS_GOLD = "'gold' must be an index from 0 to 1"
BAD_CHOICES = {
    "no context": ({"choices": ["a", "b"], "gold": 0}, f'{NEEDS_TEXT}; it has none; its keys are "choices", "gold"'),
    "empty context": (QUESTION | {"context": " "}, f'{NEEDS_TEXT}; found " "'),
    "one choice": (QUESTION | {"choices": ["a"]}, f'{NEEDS_CHOICES}; found ["a"]'),
    "empty choice": (QUESTION | {"choices": ["a", ""]}, f'{NEEDS_CHOICES}; found ["a", ""]'),
    "no list": (QUESTION | {"choices": "ab"}, f'{NEEDS_CHOICES}; found "ab"'),
    "gold too large": (QUESTION | {"gold": 2}, f"{NEEDS_GOLD}; found 2"),
    "gold negative": (QUESTION | {"gold": -1}, f"{NEEDS_GOLD}; found -1"),
    "gold is a truth value": (QUESTION | {"gold": True}, f"{NEEDS_GOLD}; found true"),
    "gold is a letter": (QUESTION | {"gold": "A"}, f'{NEEDS_GOLD}; found "A"'),
    "no gold": ({"context": "c", "choices": ["a", "b"]}, f"{NEEDS_GOLD}; found null"),
    "id is null": (
        QUESTION | {"id": None},
        "'id' must be a non-empty text or a whole number; found null; leave it out for none",
    ),
}


@pytest.mark.parametrize(("row", "expected"), BAD_CHOICES.values(), ids=BAD_CHOICES)
def test_bad_choices_are_named_by_file_and_line(tmp_path: Path, row: dict[str, Any], expected: str) -> None:
    path = write_jsonl(tmp_path / "mine.jsonl", QUESTION, "", row)
    assert study_error(user_choices, path) == f"{path}:3: {expected}"


def test_a_file_without_items_is_refused(tmp_path: Path) -> None:
    empty = write_jsonl(tmp_path / "empty.jsonl", "", "")
    assert study_error(user_choices, empty) == f"{empty} holds no items"


NUMBERED = "as rows without an id are numbered from 0; give all rows an id, or none"
CLASHES = {
    "given twice": (["x", "x"], 'the id "x" is that of {path}:1; give each row an id of its own'),
    "a number and its text": ([7, "7"], 'the id "7" is that of {path}:1; give each row an id of its own'),
    "a number that is given before": (["1", ...], 'the id "1" is that of {path}:1, ' + NUMBERED),
    "a number that is given behind": ([..., 0], 'the id "0" is that of {path}:1, ' + NUMBERED),
}
"""{what clashes: (ids of two rows, `...` for none, the message)}."""


@pytest.mark.parametrize(("ids", "expected"), CLASHES.values(), ids=CLASHES)
def test_an_id_that_two_rows_have_is_refused(tmp_path: Path, ids: list[Any], expected: str) -> None:
    path = write_jsonl(tmp_path / "mine.jsonl", *(QUESTION if i is ... else QUESTION | {"id": i} for i in ids))
    assert study_error(user_choices, path) == f"{path}:2: {expected.format(path=path)}"


# ---- the embedded items


def test_embedded_knowledge_is_large_and_balanced() -> None:
    benchmark = embedded_knowledge()
    assert "embedded" in benchmark.label and len(benchmark.items) >= 250
    assert benchmark.digest == "5ef3efe2f7fe4147b5e125020a85b297d0bde7c26f318011463be438ebfe878f"
    for size in {len(item.choices) for item in benchmark.items}:
        golds = Counter(item.gold for item in benchmark.items if len(item.choices) == size)
        assert set(golds) == set(range(size)) and max(golds.values()) - min(golds.values()) <= 1
    assert len({(item.context, item.choices[item.gold]) for item in benchmark.items}) == len(benchmark.items)
    assert all(len(set(item.choices)) == len(item.choices) for item in benchmark.items)


def test_length_does_not_give_embedded_knowledge_away() -> None:
    """Always taking the longest or the shortest choice must not beat chance (25 %) by much."""
    items = embedded_knowledge().items
    for pick in (max, min):
        hits = sum(item.choices.index(pick(item.choices, key=len)) == item.gold for item in items)
        assert hits / len(items) < 0.35
