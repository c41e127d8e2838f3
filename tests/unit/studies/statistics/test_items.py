"""Which rows are the same item: pairing in any order, and refusals that name an item."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from studies.statistics.comparisons import mcnemar
from studies.statistics.intervals import accuracy_difference, accuracy_interval, log_perplexity_difference
from studies.statistics.items import item_changes, pool
from tests.unit.studies.statistics.frames import bernoulli, pairs, windows


def test_differences_are_paired_whatever_the_row_order() -> None:
    """The same answers in another order: unpaired, the interval would not be empty."""
    control = pairs(bernoulli(0, 0.6, 500), num_uids=5)
    shuffled = control.sample(frac=1, random_state=0)
    assert accuracy_difference(shuffled, control) == (0.0, 0.0, 0.0)
    losses = windows(np.linspace(2, 4, 40))
    shifted = losses.assign(nll=losses["nll"] + 0.125).sample(frac=1, random_state=0)
    assert log_perplexity_difference(shifted, losses) == pytest.approx((0.125, 0.125, 0.125))


@pytest.mark.parametrize(
    "change",
    [
        lambda items: items.iloc[1:],
        lambda items: items.assign(pair=items["pair"] + 1),
        lambda items: items.assign(uid="other"),
        lambda items: pd.concat([items, items.iloc[:1]]),
        lambda items: items.drop(columns="pair"),
        lambda items: items.assign(correct=np.nan),
    ],
    ids=["fewer", "other pairs", "other uid", "twice", "no key", "not finite"],
)
def test_unequal_items_are_refused_both_ways(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    items = pairs([1, 0, 1, 0])
    for treated, control in ((change(items), items), (items, change(items))):
        with pytest.raises(ValueError):
            accuracy_difference(treated, control)
        with pytest.raises(ValueError):
            mcnemar(treated, control)


def test_the_refusal_names_an_item() -> None:
    with pytest.raises(ValueError, match=r"1 of 4 items only in control, such as uid paradigm_0, pair 0;"):
        accuracy_difference(pairs([1, 0, 1, 0]).iloc[1:], pairs([1, 0, 1, 0]))


def test_windows_of_another_length_are_other_windows() -> None:
    items = windows([3.0, 3.1])
    with pytest.raises(ValueError, match="item sets differ"):
        log_perplexity_difference(items.assign(num_tokens=1023), items)


def test_choices_are_paired_by_id() -> None:
    control = pd.DataFrame({"id": ["a", "b", "c"], "correct": [1, 0, 1]})
    treated = pd.DataFrame({"id": ["c", "b", "a"], "correct": [0, 0, 1]})
    assert accuracy_difference(treated, control).estimate == pytest.approx(-1 / 3)
    assert mcnemar(treated, control)[:3] == (1, 0, 0)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ValueError, match="no column 'correct'; the items have uid, phenomenon, pair"):
        accuracy_interval(pairs([1, 0]).drop(columns="correct"))


def test_changes_are_differences_in_place_of_the_value() -> None:
    control = windows([3.0, 4.0])
    treated = control.assign(nll=[3.5, 4.25]).iloc[::-1]
    changes = item_changes(treated, control)
    assert changes["nll"].tolist() == [0.5, 0.25]
    assert changes[["window", "num_tokens"]].equals(control[["window", "num_tokens"]])


def test_pool_keeps_items_apart_and_weighs_them_equally() -> None:
    choices = pd.DataFrame({"id": [0, 1], "correct": [0, 0]})
    pooled = pool({"arc_easy": choices, "piqa": choices, "mine": pairs([1] * 6)})
    assert accuracy_interval(pooled).estimate == 0.6
    assert accuracy_difference(pooled, pooled).estimate == 0
    assert set(pooled["uid"]) == {"arc_easy", "piqa", "mine/paradigm_0"}
