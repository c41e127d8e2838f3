"""Layer schedules: the layer groups that an ablation acts on, one at a time, or all up to and including one.

Owns how groups are made and named; `statistics.increases` has what an ablation of them costs. Layers count from 0; a
group's `depth` is the number of layers up to its end.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from studies.errors import StudyError


class LayerGroup(NamedTuple):
    """The layers of one condition of a schedule."""

    layers: tuple[int, ...]
    number: int
    """From 1."""
    schedule: str
    """`single` or `cumulative`."""

    @property
    def depth(self) -> int:
        return max(self.layers) + 1

    @property
    def step(self) -> int:
        """Position on a chart: layers covered so far if cumulative, else `depth`. Unique within a schedule."""
        return len(self.layers) if self.schedule == "cumulative" else self.depth

    @property
    def name(self) -> str:
        """`0-3`, or `0-3,8`."""
        return layer_ranges(self.layers)


def layer_groups(groups: int | Sequence[Sequence[int]], schedule: str, num_layers: int) -> tuple[LayerGroup, ...]:
    """The groups of a schedule on a model of `num_layers` layers.

    groups: the number of contiguous groups, as even as possible with the larger ones first, or the groups themselves.
    schedule: `single` or `cumulative`. Raises StudyError for more groups than layers, and for a layer that the model
    does not have.
    """
    if isinstance(groups, int):
        if groups > num_layers:
            raise StudyError(f"{num_layers} layers cannot form {groups} groups; each group needs a layer of its own")
        parts = [tuple(map(int, part)) for part in np.array_split(np.arange(num_layers), groups)]
    else:
        parts = [tuple(sorted(part)) for part in groups]
    beyond = [layer for part in parts for layer in part if layer >= num_layers]
    if beyond:
        raise StudyError(f"there is no layer {beyond[0]}; layers are 0 to {num_layers - 1}")
    schedule_groups = []
    covered: tuple[int, ...] = ()
    for number, part in enumerate(parts, 1):
        covered = tuple(sorted({*covered, *part}))
        schedule_groups.append(LayerGroup(covered if schedule == "cumulative" else part, number, schedule))
    return tuple(schedule_groups)


def layer_ranges(layers: Sequence[int]) -> str:
    """`0-3,8` for 0, 1, 2, 3, 8."""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
