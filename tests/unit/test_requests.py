"""What actors are asked: parts of a sweep joined, and nothing that a message does not carry."""

import numpy as np
import pytest

from actors.messages import Part
from orchestrator.requests import join_parts


def part(first: int, end: int, plan: str = "p", step: str = "s") -> Part:
    return Part(
        step=step, pack_plan=plan, first_pack=first, end_pack=end, edges=np.arange(first, end, dtype=np.float32)
    )


def test_parts_that_follow_each_other_become_one():
    joined = join_parts(join_parts(join_parts(None, part(0, 3)), part(3, 4)), part(4, 9))
    assert (joined.first_pack, joined.end_pack) == (0, 9)
    np.testing.assert_array_equal(joined.edges, np.arange(9))


@pytest.mark.parametrize("after", [part(4, 6), part(3, 6, plan="other"), part(0, 2)], ids=["gap", "plan", "anew"])
def test_a_part_that_does_not_follow_stands_alone(after):
    assert join_parts(part(0, 3), after) is after
