"""Which windows a search sees, for texts of any length."""

import pytest

from studies.neurons.match_windows import match_windows


@pytest.mark.parametrize(
    ("num_evidence", "num_windows", "search"),
    [
        (32, 64, range(32, 64)),
        (32, 100, range(32, 64)),
        (32, 50, range(32, 50)),
        (32, 48, range(32, 48)),  # half as many are enough
        (8, 14, range(8, 14)),  # six are
        (6, 12, range(6, 12)),
        (5, 10, range(5, 10)),
        (5, 99, range(5, 10)),
        (2, 4, range(2, 4)),
        (1, 2, range(1, 2)),
    ],
)
def test_a_text_that_is_long_enough_is_searched_behind_the_evidence(
    num_evidence: int, num_windows: int, search: range
) -> None:
    found = match_windows(num_evidence, num_windows)
    assert found == (search, range(num_evidence), True)


@pytest.mark.parametrize(("num_evidence", "num_windows"), [(32, 47), (8, 13), (6, 11), (5, 9), (2, 3), (2, 2), (9, 9)])
def test_else_every_second_window_of_the_evidence_is_searched_and_the_others_are_held_out(
    num_evidence: int, num_windows: int
) -> None:
    search, held_out, is_disjoint = match_windows(num_evidence, num_windows)
    assert not is_disjoint and list(search)[:2] == [1, 3][: len(search)] and list(held_out)[:1] == [0]
    assert sorted([*search, *held_out]) == list(range(num_evidence))


def test_a_single_window_is_searched_itself() -> None:
    assert match_windows(1, 1) == (range(1), range(1), False)


def test_windows_that_share_tokens_with_the_evidence_are_passed_over() -> None:
    assert match_windows(8, 18, num_shared=2) == (range(10, 18), range(8), True)
    assert not match_windows(8, 15, num_shared=2).is_disjoint
