"""The account of a checkpoint that an engine loaded: which elements of its tensors reached the model's parameters.

Plain data that each rank returns, and the rule by which the accounts of all ranks are judged. An element counts once,
however many ranks hold it: a plain sum would let a tensor that every rank holds hide one that a rank left out.
Recognises by name and shape what no model needs of a checkpoint. Knows nothing of torch and vLLM.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

NUM_NAMED = 3
"""Tensors that a message names; it counts the others."""


class Region(NamedTuple):
    """Elements of a storage, as a strided view selects them; all in elements."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @property
    def num_elements(self) -> int:
        return math.prod(self.size)

    def of(self, storage: np.ndarray) -> np.ndarray:
        """A view of these elements of a [num_elements] array of booleans."""
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        if self.num_elements and not 0 <= last < len(storage):
            raise ValueError(f"{self} reaches beyond a storage of {len(storage)} elements")
        return np.lib.stride_tricks.as_strided(storage[self.offset :], self.size, self.stride)

    def interval(self) -> range | None:
        """The elements as one interval; None if there are gaps between them or some are there twice."""
        expected = min(1, self.num_elements)
        for step, n in sorted((step, n) for n, step in zip(self.size, self.stride, strict=True) if n != 1):
            if self.num_elements and step != expected:
                return None
            expected *= n
        return range(self.offset, self.offset + expected)


class Hop(NamedTuple):
    """A copy of some elements into a new storage, on their way to a parameter."""

    source: Region
    landing: Region
    """The same elements, in the same order, in the new storage."""
    num_elements: int
    """Of the new storage."""


class Path(NamedTuple):
    """How elements of a checkpoint's storage reached a parameter."""

    hops: tuple[Hop, ...]
    last: Region
    """What was copied into the parameter; of the storage of the last hop, or of the checkpoint's."""


class Tensor(NamedTuple):
    """One tensor of a checkpoint."""

    region: Region
    storage_elements: int
    """Elements of the storage that holds it; pickled tensors may share one."""
    paths: list[Path]
    """All that was copied out of that storage into parameters."""


class Account(NamedTuple):
    """What one rank loaded."""

    tensors: Mapping[str, Tensor]
    """{name in the checkpoint: tensor}."""
    filled: Mapping[str, tuple[int, int]]
    """{name of a parameter in vLLM's model: (elements filled from the checkpoint, elements)}."""
    tied: Sequence[str]
    """Copies of the word embeddings in the checkpoint, equal in every element, where config.json ties the head."""
    other_head: tuple[str, str] | None
    """(head, word embeddings) if the checkpoint holds two although config.json ties them."""


def problem(accounts: Sequence[Account]) -> str:
    """What the engine's numbers would silently lack, on one line; '' if every tensor is accounted for."""
    found = []
    if other := next((account.other_head for account in accounts if account.other_head), None):
        found.append(
            f"the checkpoint's {other[0]} differs from {other[1]}, to which config.json ties it; "
            "write tie_word_embeddings: false in config.json if the checkpoint's own head is meant"
        )
    if left_out := _partial(_left_out(accounts)):
        found.append(f"vLLM left {_count(left_out, 'tensor')} of the checkpoint out: {_listed(left_out)}")
    if unfilled := _partial((name, *counts) for account in accounts for name, counts in account.filled.items()):
        found.append(f"the checkpoint leaves {_count(unfilled, 'parameter')} unfilled: {_listed(unfilled)}")
    if left_out or unfilled:
        found.append("config.json and the weights must belong to the same model")
    return "; ".join(found)


def _left_out(accounts: Sequence[Account]) -> Iterator[tuple[str, int, int]]:
    """(name, elements copied by any rank, elements) of every tensor that must be copied."""
    explained = {*accounts[0].tied, *(account.other_head[0] for account in accounts if account.other_head)}
    for name, tensor in accounts[0].tensors.items():
        if name not in explained and not is_cache(name, tensor.region.size):
            paths = [path for account in accounts for path in account.tensors[name].paths]
            yield name, num_covered(tensor.region, tensor.storage_elements, paths), tensor.region.num_elements


def _partial(counts: Iterable[tuple[str, int, int]]) -> dict[str, str]:
    """{name: (elements there, of how many) in words} where some are missing."""
    return {
        name: f"{name} ({there:,} of {num_elements:,} elements)" if there else name
        for name, there, num_elements in counts
        if there < num_elements
    }


def _count(names: Mapping[str, str], noun: str) -> str:
    return f"{len(names)} {noun}{'s' * (len(names) > 1)}"


def _listed(names: Mapping[str, str]) -> str:
    more = len(names) - NUM_NAMED
    return ", ".join([*names.values()][:NUM_NAMED]) + (f" and {more} more" if more > 0 else "")


def num_covered(region: Region, storage_elements: int, paths: Sequence[Path]) -> int:
    """How many elements of a region of a storage the paths lead out of, each counted once."""
    whole = region.interval()
    intervals = [path.last.interval() for path in paths if not path.hops]
    if whole is not None and len(intervals) == len(paths) and None not in intervals:
        return _num_in(whole, [one for one in intervals if one is not None])
    covered = np.zeros(storage_elements, dtype=bool)
    for path in paths:
        _mark(covered, path)
    return int(np.count_nonzero(region.of(covered)))


def _num_in(whole: range, intervals: Iterable[range]) -> int:
    """Elements of `whole` in the union of the intervals."""
    count, reached = 0, whole.start
    for one in sorted(intervals, key=lambda interval: interval.start):
        start, stop = max(one.start, reached), min(one.stop, whole.stop)
        count, reached = count + max(0, stop - start), max(reached, stop)
    return count


def _mark(covered: np.ndarray, path: Path) -> None:
    """Mark the elements that took the path."""
    if not path.hops:
        path.last.of(covered)[...] = True
        return
    hop, *others = path.hops
    copy = np.zeros(hop.num_elements, dtype=bool)
    _mark(copy, Path(tuple(others), path.last))
    hop.source.of(covered)[...] |= hop.landing.of(copy)


def is_cache(name: str, shape: Sequence[int]) -> bool:
    """Whether a tensor holds nothing that was trained: a rotary cache or a buffer of the causal mask.

    Real checkpoints of Llama, GPT-NeoX and GPT-2 hold them. A bias of attention has the mask's name, but one dimension.
    """
    if re.search(r"(^|\.)rotary(_pos)?_emb\.inv_freq$", name):
        return len(shape) == 1
    if re.search(r"(^|\.)rotary_emb\.(cos|sin)_cached$", name):
        return len(shape) >= 2 and all(n == 1 for n in shape[:-2])
    if re.search(r"(^|\.)(attn|attention)\.bias$", name):
        return len(shape) == 4 and tuple(shape[:2]) == (1, 1) and shape[2] == shape[3]
    if re.search(r"(^|\.)(attn|attention)\.masked_bias$", name):
        return math.prod(shape) == 1 and len(shape) <= 1
    return False
