"""Which cases of a parametrised test run in `make test`; the others run in `make test-all` alone."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def first_tier(cases: Iterable[Any], kept: Collection[Any]) -> list[Any]:
    """All cases, of which those that are not kept are marked as long."""
    return [pytest.param(one, marks=[] if one in kept else pytest.mark.long) for one in cases]


def every_third(cases: Iterable[tuple[Any, ...]]) -> list[Any]:
    """All cases, of which two in three are marked as long."""
    return [pytest.param(*case, marks=[] if i % 3 == 0 else pytest.mark.long) for i, case in enumerate(cases)]
