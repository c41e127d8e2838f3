"""The mechanisms of all constructions."""

from collections import Counter

import pytest

from studies.embedded.frames import contrast, deal, forms


def test_forms_share_what_follows_the_first_word() -> None:
    assert forms("is/are tall", "ox/oxen") == (("is tall", "are tall"), ("ox", "oxen"))


@pytest.mark.parametrize("entry", ["ox", "ox/oxen/oxes", "is tall/are"])
def test_an_entry_has_two_forms(entry: str) -> None:
    with pytest.raises(ValueError, match="unpack"):
        forms(entry)


def test_a_contrast_fills_the_gap_and_begins_with_a_capital() -> None:
    assert contrast("The ox _.", ("runs", "run"), 0) == ("The ox runs.", "The ox run.")
    assert contrast("_ ox runs.", ("these", "this"), 1) == ("This ox runs.", "These ox runs.")


@pytest.mark.parametrize("sizes", [(12, 8, 8, 4, 4), (12, 8, 2), (16, 8, 4), (8, 8, 4, 4), (12, 4, 4, 4)])
def test_every_entry_is_dealt_equally_often(sizes: tuple[int, ...]) -> None:
    dealt = list(deal(*(range(size) for size in sizes)))
    assert len({(row[0], row[1]) for row in dealt}) == len(dealt) == sizes[0] * sizes[1]
    for place, size in enumerate(sizes):
        assert set(Counter(row[place] for row in dealt).values()) == {len(dealt) // size}


def test_further_tables_do_not_move_together() -> None:
    dealt = list(deal(range(12), range(8), range(4), range(4)))
    assert len({(third, fourth) for _, _, third, fourth in dealt}) > 4
