"""Layer groups, made by hand."""

import pytest

from studies.errors import StudyError
from studies.neurons.layer_groups import layer_groups, layer_ranges


@pytest.mark.parametrize(
    ("groups", "schedule", "depth", "expected"),
    [
        (8, "single", 32, ["0-3", "4-7", "8-11", "12-15", "16-19", "20-23", "24-27", "28-31"]),
        (4, "single", 6, ["0-1", "2-3", "4", "5"]),
        (3, "cumulative", 6, ["0-1", "0-3", "0-5"]),
        (1, "cumulative", 5, ["0-4"]),
        (5, "single", 5, ["0", "1", "2", "3", "4"]),
        ([[4, 0], [2]], "single", 5, ["0,4", "2"]),
        ([[4], [0, 1]], "cumulative", 5, ["4", "0-1,4"]),
    ],
)
def test_groups(groups: int | list[list[int]], schedule: str, depth: int, expected: list[str]) -> None:
    layered = layer_groups(groups, schedule, depth)
    assert [group.name for group in layered] == expected
    assert [group.number for group in layered] == list(range(1, len(expected) + 1))
    assert all(group.depth == max(group.layers) + 1 for group in layered)


@pytest.mark.parametrize("depth", [1, 2, 7, 30, 32])
@pytest.mark.parametrize("groups", [1, 2, 5, 8])
def test_groups_cover_every_layer_once_in_even_parts(groups: int | list[list[int]], depth: int) -> None:
    if groups > depth:
        with pytest.raises(StudyError) as error:
            layer_groups(groups, "single", depth)
        assert str(error.value) == (f"{depth} layers cannot form {groups} groups; each group needs a layer of its own")
        return
    layered = layer_groups(groups, "single", depth)
    assert [layer for group in layered for layer in group.layers] == list(range(depth))
    sizes = [len(group.layers) for group in layered]
    assert max(sizes) - min(sizes) <= 1
    assert layer_groups(groups, "cumulative", depth)[-1].layers == tuple(range(depth))


@pytest.mark.parametrize("groups", [8, [[24, 25], [8], [0, 1]], [[4], [0, 1]]], ids=str)
@pytest.mark.parametrize("schedule", ["single", "cumulative"])
def test_no_two_groups_of_a_schedule_share_a_step(groups: int | list[list[int]], schedule: str) -> None:
    layered = layer_groups(groups, schedule, 32)
    assert len({group.step for group in layered}) == len(layered)
    if groups == 8:
        assert [group.step for group in layered] == [group.depth for group in layered]


def test_a_layer_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(StudyError) as error:
        layer_groups([[0], [6]], "single", 6)
    assert str(error.value) == "there is no layer 6; layers are 0 to 5"


def test_ranges_in_any_order() -> None:
    assert layer_ranges([8, 1, 0, 2, 5, 6]) == "0-2,5-6,8"
