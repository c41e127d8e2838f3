"""Plans token sequences as a prefix forest, cut into packs, in which every distinct prefix is computed once.

Owns the planning, in numpy, and none of a model's arithmetic. Nodes are token prefixes in depth-first order, so the
descendants of a node are one interval, and a pack is three vectors: `ids`, `depth` (the position ids) and `end` (one
past the node's last descendant). The whole attention mask is `kv <= q < end[kv]`. Leaves are never forwarded:
log-probabilities live on edges, and an edge is read from its parent's logits. The plan is a pure function of
(sequences, score_from, max_nodes), so conditions and resumed studies are always compared on identical batches;
`digest` proves it.

In shapes: N nodes of a pack, E scored edges, I internal nodes of the forest.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

PACK_MULTIPLE = 32
"""Packs are cut to multiples of this many nodes: matrix libraries compile a kernel for every new number of rows."""

MORE_ANCESTORS = 4
"""Additional ancestors that a cut at such a multiple may repeat: too few for a cut through a window of text."""


class Pack(NamedTuple):
    """One forward pass: N nodes and E scored edges, contiguous in the plan's edge order."""

    ids: np.ndarray
    """[N] int64 token ids."""
    depth: np.ndarray
    """[N] int64 position ids."""
    end: np.ndarray
    """[N] int64 one past the last descendant inside this pack."""
    rows: np.ndarray
    """[E] int64 node from whose logits the edge is read, non-decreasing."""
    targets: np.ndarray
    """[E] int64 token at the lower end of the edge."""


def pack_to_wire(pack: Pack) -> list[bytes]:
    """The pack as plain data, for workers in other processes."""
    return [np.ascontiguousarray(vector, dtype=np.int64).tobytes() for vector in pack]


def pack_from_wire(wire: list[bytes]) -> Pack:
    """The inverse of `pack_to_wire`."""
    return Pack(*(np.frombuffer(vector, dtype=np.int64).copy() for vector in wire))


class PackPlan(NamedTuple):
    """All packs of one request, and the mapping from edges back to sequences."""

    packs: list[Pack]
    edges: np.ndarray
    """[number of scored tokens] edge index of every scored token, sequence after sequence."""
    offsets: np.ndarray
    """[num_sequences + 1] start of each sequence's tokens in `edges`."""
    num_edges: int
    tokens: np.ndarray
    """[num_tokens] the sequences themselves, one after the other, for the flat route."""
    lengths: np.ndarray
    """[num_sequences] number of tokens."""
    num_prefixes: int
    """Distinct prefixes to be forwarded; `num_nodes` counts every repetition of a prefix at a cut as well."""
    digest: str
    """sha256 of the packs and of `edges`."""
    num_cut: int = 0
    """Sequences whose beginning was cut off before they were planned, to fit the model."""
    left_out: Mapping[int, str] = MappingProxyType({})
    """{item, or document: why the model cannot score it}; the plan has no sequences of it."""
    kept: np.ndarray | None = None
    """[num_texts] bool: the texts that have a sequence; None = all."""

    @property
    def num_tokens(self) -> int:
        """Tokens that a plain, unpadded forward pass over all sequences would compute."""
        return len(self.tokens)

    def sequences(self) -> list[np.ndarray]:
        """The token sequences that the plan was made for."""
        return np.split(self.tokens, np.cumsum(self.lengths)[:-1])

    @property
    def num_nodes(self) -> int:
        """Nodes forwarded, including the ancestors repeated at cuts."""
        return sum(len(pack.ids) for pack in self.packs)

    def token_log_probabilities(self, edge_log_probabilities: np.ndarray) -> np.ndarray:
        """[sum of scored tokens] log p(token | prefix) in nats, sequence after sequence (see `offsets`)."""
        return edge_log_probabilities[self.edges]

    def sums(self, edge_log_probabilities: np.ndarray) -> np.ndarray:
        """[num_sequences] float64 sum of the scored tokens' log-probabilities, in nats."""
        return np.add.reduceat(edge_log_probabilities[self.edges].astype(np.float64), self.offsets[:-1])

    def counts(self) -> np.ndarray:
        """[num_sequences] number of scored tokens."""
        return np.diff(self.offsets)

    def by_text(self, values: np.ndarray, *, absent: float) -> np.ndarray:
        """[num_texts] of [num_sequences] values; `absent` for the texts of items that were left out."""
        if self.kept is None:
            return values
        spread = np.full(len(self.kept), absent, dtype=values.dtype)
        spread[self.kept] = values
        return spread


def plan_packs(sequences: Sequence[np.ndarray], score_from: np.ndarray, max_nodes: int) -> PackPlan:
    """Plan packs of at most `max_nodes` nodes each that score `sequences`.

    sequences: token id vectors; score_from: [num_sequences] first scored position, at least 1. A path longer than
    `max_nodes` raises the limit to its own length, because attention needs all of it in one pack. Memory is
    O(num_sequences x longest). Raises ValueError for a sequence with nothing to score.
    """
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    score_from = np.asarray(score_from, dtype=np.int64)
    unscored = np.flatnonzero((score_from < 1) | (score_from >= lengths))
    if len(unscored):
        i = int(unscored[0])
        raise ValueError(f"sequence {i} of {lengths[i]} tokens has nothing to score from position {score_from[i]}")
    forest = _Forest(sequences, lengths, score_from)
    limit = max(max_nodes, int(forest.depth.max()) + 1)
    packs = list(_cut(forest, limit))
    digest = hashlib.sha256()
    for pack in packs:
        for vector in pack:
            digest.update(vector.tobytes())
    digest.update(forest.edges.tobytes())
    return PackPlan(
        packs=packs,
        edges=forest.edges,
        offsets=np.concatenate([[0], np.cumsum(lengths - score_from)]),
        num_edges=len(forest.edge_parent),
        tokens=np.concatenate(sequences),
        lengths=lengths,
        num_prefixes=len(forest.ids),
        digest=digest.hexdigest(),
    )


class _Forest:
    """The internal nodes in depth-first order, [I] each, and the scored edges sorted by parent."""

    def __init__(self, sequences: Sequence[np.ndarray], lengths: np.ndarray, score_from: np.ndarray):
        num_sequences, longest = len(sequences), int(lengths.max())
        present = np.arange(longest) < lengths[:, None]
        tokens = np.zeros((num_sequences, longest), dtype=">u4")  # 0 = padding, so that a prefix sorts first
        tokens[present] = np.concatenate(sequences).astype(np.int64) + 1
        order = np.argsort(tokens.view(f"S{4 * longest}").ravel(), kind="stable")
        tokens, present = tokens[order].astype(np.int64) - 1, present[order]

        # A node is new where a row departs from the row above it; row-major order is then the depth-first numbering.
        differs = np.ones((num_sequences, longest), dtype=bool)
        differs[1:] = tokens[1:] != tokens[:-1]
        new = np.logical_or.accumulate(differs, axis=1) & present
        numbers = np.zeros((num_sequences, longest), dtype=np.int64)
        numbers[new] = np.arange(1, new.sum() + 1)
        node = np.maximum.accumulate(numbers, axis=0) - 1
        num_nodes = int(new.sum())
        row, position = np.nonzero(new)
        parent = np.where(position > 0, node[row, np.maximum(position - 1, 0)], -1)

        internal = np.zeros(num_nodes, dtype=bool)
        internal[parent[parent >= 0]] = True
        rank = np.cumsum(internal) - 1
        self.ids = tokens[row, position][internal]
        self.depth = position[internal]
        self.parent = np.where(parent >= 0, rank[np.maximum(parent, 0)], -1)[internal]
        self.end = _subtree_ends(self.depth)

        scored_token = present & (np.arange(longest) >= score_from[order][:, None])
        scored = np.zeros(num_nodes, dtype=bool)
        scored[node[scored_token]] = True
        edge_node = np.flatnonzero(scored)
        by_parent = np.argsort(parent[edge_node], kind="stable")
        edge_node = edge_node[by_parent]
        self.edge_parent = rank[parent[edge_node]]
        self.edge_target = tokens[row, position][edge_node]
        edge_of_node = np.full(num_nodes, -1, dtype=np.int64)
        edge_of_node[edge_node] = np.arange(len(edge_node))
        back = np.empty(num_sequences, dtype=np.int64)
        back[order] = np.arange(num_sequences)
        scored_token = scored_token[back]
        self.edges = edge_of_node[node[back][scored_token]]


def _subtree_ends(depth: np.ndarray) -> np.ndarray:
    """[I] one past each node's last descendant: the next node that is not deeper."""
    end = np.full(len(depth), len(depth), dtype=np.int64)
    order = np.lexsort((np.arange(len(depth)), depth))
    # A node of depth d ends at the next node of depth <= d. Walk the depths from shallow to deep and keep the sorted
    # positions seen so far: bisection finds the next one.
    boundaries = np.searchsorted(depth[order], np.arange(int(depth.max()) + 2))
    seen = np.empty(0, dtype=np.int64)
    for d in range(int(depth.max()) + 1):
        nodes = order[boundaries[d] : boundaries[d + 1]]
        seen = np.union1d(seen, nodes) if len(seen) else nodes
        following = np.searchsorted(seen, nodes, side="right")
        inside = following < len(seen)
        end[nodes[inside]] = seen[following[inside]]
    return end


def _cut(forest: _Forest, limit: int) -> Iterator[Pack]:
    """Walk depth-first and cut, repeating ancestors; prefer a shallow cut in the last quarter of a pack."""
    start, num_nodes = 0, len(forest.ids)
    while start < num_nodes:
        upwards = []
        above = forest.parent[start]
        while above >= 0:
            upwards.append(above)
            above = forest.parent[above]
        ancestors = np.array(upwards[::-1], dtype=np.int64)
        room = limit - len(ancestors)
        stop = min(start + room, num_nodes)
        if stop < num_nodes:
            stops = np.arange(start + max(1, (3 * room) // 4), stop + 1)[::-1]
            stop = stops[np.argmin(forest.depth[stops])]
            multiples = stops[(stops - start + len(ancestors)) % PACK_MULTIPLE == 0]
            if len(multiples) and forest.depth[multiples].min() <= forest.depth[stop] + MORE_ANCESTORS:
                stop = multiples[np.argmin(forest.depth[multiples])]
        nodes = np.concatenate([ancestors, np.arange(start, stop)])
        first, last = np.searchsorted(forest.edge_parent, [start, stop])
        yield Pack(
            ids=forest.ids[nodes],
            depth=forest.depth[nodes].astype(np.int64),
            end=np.clip(forest.end[nodes], start, stop) - start + len(ancestors),
            rows=forest.edge_parent[first:last] - start + len(ancestors),
            targets=forest.edge_target[first:last],
        )
        start = stop
