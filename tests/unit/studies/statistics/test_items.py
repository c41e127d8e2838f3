"""Which rows are the same item: pairing in any order, and refusals that name an item."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from studies.benchmarks.measures import MULTIPLE_CHOICE
from studies.statistics.comparisons import mcnemar
from studies.statistics.intervals import difference, estimate
from studies.statistics.items import Items, item_changes, pool
from tests.unit.studies.statistics.frames import altered, bernoulli, choices, pairs, windows


def test_differences_are_paired_whatever_the_row_order() -> None:
    """The same answers in another order: unpaired, the interval would not be empty."""
    control = pairs(bernoulli(0, 0.6, 500), num_uids=5)
    shuffled = altered(control, lambda table: table.sample(frac=1, random_state=0))
    assert difference(shuffled, control) == (0.0, 0.0, 0.0)
    losses = windows(np.linspace(2, 4, 40))
    shifted = altered(altered(losses, nll=losses.values + 0.125), lambda table: table.sample(frac=1, random_state=0))
    assert difference(shifted, losses) == pytest.approx((0.125, 0.125, 0.125))


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
    for treated, control in ((altered(items, change), items), (items, altered(items, change))):
        with pytest.raises(ValueError):
            difference(treated, control)
        with pytest.raises(ValueError):
            mcnemar(treated, control)


def test_the_refusal_names_an_item() -> None:
    with pytest.raises(ValueError, match=r"1 of 4 items only in control, such as uid paradigm_0, pair 0;"):
        difference(altered(pairs([1, 0, 1, 0]), lambda table: table.iloc[1:]), pairs([1, 0, 1, 0]))


def test_windows_of_another_length_are_other_windows() -> None:
    items = windows([3.0, 3.1])
    with pytest.raises(ValueError, match="item sets differ"):
        difference(altered(items, num_tokens=1023), items)


def test_choices_are_paired_by_id() -> None:
    control = Items(pd.DataFrame({"id": ["a", "b", "c"], "correct": [1, 0, 1]}), MULTIPLE_CHOICE)
    treated = Items(pd.DataFrame({"id": ["c", "b", "a"], "correct": [0, 0, 1]}), MULTIPLE_CHOICE)
    assert difference(treated, control).estimate == pytest.approx(-1 / 3)
    assert mcnemar(treated, control)[:3] == (1, 0, 0)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ValueError, match="no column 'correct'; the items have uid, phenomenon, pair"):
        estimate(altered(pairs([1, 0]), lambda table: table.drop(columns="correct")))


def test_changes_are_differences_in_place_of_the_value() -> None:
    control = windows([3.0, 4.0])
    treated = altered(altered(control, nll=[3.5, 4.25]), lambda table: table.iloc[::-1])
    changes = item_changes(treated, control)
    assert changes.values.tolist() == [0.5, 0.25]
    assert changes.table[["window", "num_tokens"]].equals(control.table[["window", "num_tokens"]])


def test_pool_keeps_items_apart_and_weighs_them_equally() -> None:
    pooled = pool({"arc_easy": choices([0, 0]), "piqa": choices([0, 0]), "mine": pairs([1] * 6)})
    assert estimate(pooled).estimate == 0.6
    assert difference(pooled, pooled).estimate == 0
    assert set(pooled.table["uid"]) == {"arc_easy", "piqa", "mine/paradigm_0"}
