"""Which rows are the same item: pairing in any order, and refusals that name an item."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from studies.benchmarks.measures import MULTIPLE_CHOICE, SURPRISAL
from studies.statistics.comparisons import mcnemar
from studies.statistics.intervals import difference
from studies.statistics.items import Items, common_items, item_changes
from tests.unit.studies.statistics.frames import altered, bernoulli, choices, pairs, windows


def test_differences_are_paired_whatever_the_row_order() -> None:
    """The same answers in another order: unpaired, the interval would not be empty."""
    control = pairs(bernoulli(0, 0.6, 500), num_uids=5)
    shuffled = altered(control, lambda table: table.sample(frac=1, random_state=0))
    assert difference(shuffled, control) == (0.0, 0.0, 0.0)
    losses = windows(np.linspace(2, 4, 40))
    shifted = altered(altered(losses, nll=losses.values + 0.125), lambda table: table.sample(frac=1, random_state=0))
    assert difference(shifted, losses) == pytest.approx((0.125, 0.125, 0.125))


SAME = "evaluate both conditions on the same items"
REFUSED: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str, str]] = {
    "fewer": (
        lambda items: items.iloc[1:],
        f"the item sets differ: 1 of 4 items only in the second condition, such as uid paradigm_0, pair 0; {SAME}",
        f"the item sets differ: 1 of 4 items only in the first condition, such as uid paradigm_0, pair 0; {SAME}",
    ),
    "other pairs": (
        lambda items: items.assign(pair=items["pair"] + 1),
        f"the item sets differ: 1 of 4 items only in the first condition, such as uid paradigm_0, pair 4; {SAME}",
        f"the item sets differ: 1 of 4 items only in the first condition, such as uid paradigm_0, pair 0; {SAME}",
    ),
    "other uid": (
        lambda items: items.assign(uid="other"),
        f"the item sets differ: 4 of 4 items only in the first condition, such as uid other, pair 0; {SAME}",
        f"the item sets differ: 4 of 4 items only in the first condition, such as uid paradigm_0, pair 0; {SAME}",
    ),
    "twice": (
        lambda items: pd.concat([items, items.iloc[:1]]),
        "the first condition holds uid paradigm_0, pair 0 more than once",
        "the second condition holds uid paradigm_0, pair 0 more than once",
    ),
    "no key": (
        lambda items: items.drop(columns="pair"),
        "no column 'pair'; the items have uid, phenomenon, logprob_good, logprob_bad, correct",
        "no column 'pair'; the items have uid, phenomenon, logprob_good, logprob_bad, correct",
    ),
    "no value": (
        lambda items: items.drop(columns="correct"),
        "no column 'correct'; the items have uid, phenomenon, pair, logprob_good, logprob_bad",
        "no column 'correct'; the items have uid, phenomenon, pair, logprob_good, logprob_bad",
    ),
    "not finite": (
        lambda items: items.assign(correct=[np.nan, np.inf, 1, 0]),
        "2 of 4 values of correct are not finite",
        "2 of 4 values of correct are not finite",
    ),
}
"""{what is changed in four pairs: the change, and what is said where the first or the second condition has it}."""


@pytest.mark.parametrize(("change", "of_first", "of_second"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("compare", [difference, mcnemar])
def test_unequal_items_are_refused_both_ways(
    compare: Callable[[Items, Items], object],
    change: Callable[[pd.DataFrame], pd.DataFrame],
    of_first: str,
    of_second: str,
) -> None:
    items = pairs([1, 0, 1, 0])
    changed = altered(items, change)
    for treated, control, message in ((changed, items, of_first), (items, changed, of_second)):
        with pytest.raises(ValueError) as error:
            compare(treated, control)
        assert str(error.value) == message


def test_windows_of_another_length_are_other_windows() -> None:
    items = windows([3.0, 3.1])
    with pytest.raises(ValueError) as error:
        difference(altered(items, num_tokens=1023), items)
    assert str(error.value) == (
        f"the item sets differ: 2 of 2 items only in the first condition, such as window 0, num_tokens 1023; {SAME}"
    )


def test_choices_are_paired_by_id() -> None:
    control = Items(pd.DataFrame({"id": ["a", "b", "c"], "correct": [1, 0, 1]}), MULTIPLE_CHOICE)
    treated = Items(pd.DataFrame({"id": ["c", "b", "a"], "correct": [0, 0, 1]}), MULTIPLE_CHOICE)
    assert difference(treated, control).estimate == pytest.approx(-1 / 3)
    assert mcnemar(treated, control)[:3] == (1, 0, 0)


def test_changes_are_differences_in_place_of_the_value() -> None:
    control = windows([3.0, 4.0])
    treated = altered(altered(control, nll=[3.5, 4.25]), lambda table: table.iloc[::-1])
    changes = item_changes(treated, control)
    assert changes.values.tolist() == [0.5, 0.25]
    assert changes.table[["window", "num_tokens"]].equals(control.table[["window", "num_tokens"]])


def test_common_items_are_those_whose_key_both_hold() -> None:
    one, other = pairs([1, 0, 1, 0], num_uids=2), pairs([0, 0, 1, 1, 1], num_uids=2)
    other = altered(other, lambda table: table.iloc[[4, 3, 1]])
    kept, theirs = common_items(one, other)
    assert list(kept.table["pair"]) == [1, 3] and list(theirs.table["pair"]) == [3, 1]
    with pytest.raises(ValueError, match="no items in common"):
        common_items(one, altered(other, lambda table: table.iloc[:1]))
    with pytest.raises(ValueError, match="different measures"):
        common_items(one, choices([1, 0, 1, 0]))


def test_items_that_may_share_a_key_are_common_only_all_together() -> None:
    table = pd.DataFrame({"document": 0, "start": [0, 1, 1], "end": [1, 2, 2], "surprisal": [1.0, 2.0, 3.0]})
    one = Items(table, SURPRISAL)
    assert common_items(one, one) == (one, one)
    with pytest.raises(ValueError, match="different tokens: 3 in the first, 2 in the second"):
        common_items(one, Items(table.iloc[:2], SURPRISAL))
