"""Items that a condition loses or gains, against made-up answers."""

import numpy as np
import pandas as pd
import pytest

from studies.benchmarks.measures import MINIMAL_PAIRS, MULTIPLE_CHOICE, TASKS
from studies.statistics.flips import flips
from studies.statistics.items import Items
from tests.unit.studies.statistics.frames import windows


def pairs(good: list[float], bad: list[float]) -> Items:
    """Pairs with these log-probabilities; a tie is half right."""
    margin = np.subtract(good, bad)
    table = {
        "uid": "u",
        "phenomenon": [f"p{i % 2}" for i in range(len(good))],
        "pair": [str(i) for i in range(len(good))],
        "logprob_good": good,
        "logprob_bad": bad,
        "correct": np.where(margin > 0, 1.0, np.where(margin == 0, 0.5, 0.0)),
    }
    return Items(pd.DataFrame(table), MINIMAL_PAIRS)


def questions(logprobs: list[list[float]], gold: int = 0) -> Items:
    predicted = [int(np.argmax(of_item)) for of_item in logprobs]
    table = {"id": [f"q{i}" for i in range(len(logprobs))], "logprobs": logprobs, "gold": gold, "predicted": predicted}
    return Items(pd.DataFrame(table).assign(correct=[float(p == gold) for p in predicted]), MULTIPLE_CHOICE)


def test_pairs_that_flipped_come_with_both_log_probabilities_furthest_first() -> None:
    control = pairs([-1.0, -1.0, -3.0, -1.0, -2.0], [-2.0, -2.0, -2.0, -2.0, -2.0])
    treated = pairs([-3.0, -9.0, -1.0, -1.5, -1.0], [-2.0, -2.0, -2.0, -2.0, -2.0])
    found = flips(treated, control)
    assert list(found.columns) == [
        "uid", "pair", "phenomenon", "change",
        "logprob_good_before", "logprob_good_after", "logprob_bad_before", "logprob_bad_after",
    ]  # fmt: skip
    assert found[["pair", "phenomenon", "change"]].values.tolist() == [
        ["1", "p1", "lost"], ["0", "p0", "lost"], ["2", "p0", "gained"], ["4", "p0", "gained"],
    ]  # fmt: skip
    assert found.loc[0, ["logprob_good_before", "logprob_good_after"]].tolist() == [-1.0, -9.0]


def test_flips_do_not_depend_on_the_order_of_rows_and_are_mirrored() -> None:
    rng = np.random.default_rng(0)
    control, treated = (pairs(*rng.normal(size=(2, 200)).tolist()) for _ in range(2))
    found = flips(treated, control)
    shuffled = Items(treated.table.sample(frac=1, random_state=1), MINIMAL_PAIRS)
    pd.testing.assert_frame_equal(flips(shuffled, control), found)
    mirrored = flips(control, treated)
    assert (len(found) > 50) and dict(zip(found["pair"], found["change"], strict=True)) == {
        pair: {"lost": "gained", "gained": "lost"}[change]
        for pair, change in zip(mirrored["pair"], mirrored["change"], strict=True)
    }
    net = (found["change"] == "gained").sum() - (found["change"] == "lost").sum()
    assert net == (treated.values - control.values).sum()  # there are no ties


def test_questions_are_sorted_by_the_two_answers_that_changed_places() -> None:
    """An answer that nobody chose may move by any amount."""
    control = questions([[-1.0, -2.0, -3.0], [-1.0, -2.0, -3.0], [-1.0, -2.0, -3.0]])
    treated = questions([[-2.5, -2.0, -90.0], [-9.0, -2.0, -3.0], [-1.0, -2.0, -1.5]])
    found = flips(treated, control)
    assert found["id"].tolist() == ["q1", "q0"]
    assert found[["predicted_before", "predicted_after"]].values.tolist() == [[0, 1], [0, 1]]
    assert found.loc[0, "logprobs_after"] == [-9.0, -2.0, -3.0]


def test_a_task_with_a_single_request_moves_by_its_log_probability() -> None:
    def single(values: list[float], correct: list[float]) -> Items:
        table = {"uid": "t", "pair": range(len(values)), "logprobs": [[v] for v in values], "predicted": 0}
        return Items(pd.DataFrame(table).assign(correct=correct), TASKS)

    found = flips(single([-1.0, -5.0, -1.0], [0.0, 0.0, 1.0]), single([-0.5, -0.5, -1.0], [1.0, 1.0, 1.0]))
    assert found["pair"].tolist() == [1, 0] and set(found["change"]) == {"lost"}


def test_no_flip_is_an_empty_table_with_the_same_columns() -> None:
    items, other = pairs([-1.0], [-2.0]), pairs([-3.0], [-2.0])
    assert flips(items, items).empty and list(flips(items, items).columns) == list(flips(other, items).columns)
    assert flips(questions([[0.0, -1.0]]), questions([[0.0, -1.0]])).empty


def test_what_cannot_flip_is_refused() -> None:
    with pytest.raises(ValueError, match="perplexity is not graded"):
        flips(windows([1.0]), windows([2.0]))
    with pytest.raises(ValueError, match="the item sets differ"):
        flips(pairs([-1.0], [-2.0]), pairs([-1.0, -1.0], [-2.0, -2.0]))
    lacking = Items(pairs([-1.0], [-2.0]).table.drop(columns="logprob_bad"), MINIMAL_PAIRS)
    with pytest.raises(ValueError, match="no column 'logprob_bad'"):
        flips(lacking, lacking)
