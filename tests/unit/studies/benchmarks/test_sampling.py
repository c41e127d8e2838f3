"""Evenly spaced rows."""

from studies.benchmarks.sampling import evenly


def test_rows_are_evenly_spaced_and_in_order() -> None:
    assert evenly(10, 4) == [0, 2, 5, 7]
    assert evenly(3, 3) == [0, 1, 2] and evenly(5, 1) == [0] and evenly(0, 0) == []
