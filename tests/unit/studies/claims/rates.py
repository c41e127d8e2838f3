"""How often chance alone supports a claim."""

from collections.abc import Callable

import numpy as np

from studies.claims.scorecard import Draft, Status

NOMINAL = 0.025
"""Of a 95 % interval, on the side that the claim states."""


def assert_rarely_supported(by_chance: Callable[[np.random.Generator], Draft], replicates: int) -> None:
    """No more than two standard errors above the nominal rate: 3.2 % of 2,000 replicates."""
    statuses = [by_chance(np.random.default_rng([0, i])).status for i in range(replicates)]
    allowed = NOMINAL + 2 * (NOMINAL * (1 - NOMINAL) / replicates) ** 0.5
    assert statuses.count(Status.SUPPORTED) / replicates <= allowed
