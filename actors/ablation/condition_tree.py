"""The order in which the conditions of one model run, so that shared layer prefixes are computed once.

Owns the planning only; `logits_pass` executes it. Conditions that do the same to layers 0..k-1 enter layer k with the
same hidden states. Sorted by what they do layer after layer, they form a trie that is walked depth-first, while the
states at branch points that are still needed are held, at most `max_held` at once: beyond that, layers are recomputed,
and no result changes. Boundary b lies before layer b; boundary num_layers lies after the last layer.
"""

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import NamedTuple


class Pass(NamedTuple):
    """One condition's turn."""

    condition: int
    """Index in the caller's order."""
    resume: int
    """Boundary to start from: 0 = the embedding, num_layers = the result of the previous pass is reused."""
    held: tuple[int, ...]
    """Boundaries whose states are held after this pass, ascending."""


def plan_passes(layers: Sequence[Sequence[Hashable]], max_held: int) -> list[Pass]:
    """Order the conditions and determine the boundary at which each starts.

    layers: for each condition, what it does to each layer, equal where it does the same. max_held: number of states
    that may be held at once. With enough room, every distinct prefix of layers is computed exactly once:
    `ideal_layer_passes`.
    """
    numbers: dict[Hashable, int] = {}
    keys = [tuple(numbers.setdefault(layer, len(numbers)) for layer in condition) for condition in layers]
    order = sorted(range(len(keys)), key=lambda i: (keys[i], i))
    num_layers = len(keys[0])
    shared = [_num_shared(keys[a], keys[b]) for a, b in pairwise(order)]
    passes: list[Pass] = []
    held: list[int] = []
    for k, condition in enumerate(order):
        common = shared[k - 1] if k else 0
        held = [boundary for boundary in held if boundary <= common]
        resume = num_layers if k and common == num_layers else max(held, default=0)
        branches, nearest = set(), num_layers
        for later in shared[k:]:
            if later < nearest:
                nearest = later
                branches.add(nearest)
        held = sorted(b for b in branches if b > 0 and (b > resume or b in held))[-max_held:] if max_held else []
        passes.append(Pass(condition=condition, resume=resume, held=tuple(held)))
    return passes


def layer_passes(passes: Sequence[Pass], num_layers: int) -> list[int]:
    """[num_layers] how often each layer is computed for one pack."""
    return [sum(turn.resume <= layer for turn in passes) for layer in range(num_layers)]


def ideal_layer_passes(layers: Sequence[Sequence[Hashable]]) -> int:
    """Number of distinct prefixes of layers: the fewest layer computations that yield every condition's result."""
    return len({tuple(condition[: depth + 1]) for condition in layers for depth in range(len(condition))})


def _num_shared(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))
