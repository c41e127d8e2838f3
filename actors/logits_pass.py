"""Packs -> log-probabilities of their edges, over any decoder. Pure torch.

Owns the tree attention (the mask rule `kv <= q < end[kv]`, sliding windows by depth) and the head: logits only for the
rows that hold a scored edge, in chunks, log-softmax in float32, then the targets are gathered. Never makes a
[tokens, vocabulary] matrix above `HEAD_BYTES`. A sweep over conditions resumes in the middle of the decoder where the
layers before are shared (`condition_tree`). Refuses to know what a decoder is beyond `Decoder`.

N nodes of a pack, H query heads, G key-value heads, D head size, B blocks of Q queries and K keys, E scored edges,
R rows with edges, V vocabulary.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from actors.condition_tree import Pass
from actors.token_tree import Pack

HEAD_BYTES = 32 * 2**20
"""Largest [rows, vocabulary] float32 block the head makes; above 32 MiB glibc maps and clears fresh pages each time."""

BLOCK = 32
"""Queries that attend together. On CPU 16 and 32 are alike, 64 a third slower, packs of 512 as a whole 4.5 times."""


class Tree:
    """One pack's structure on the device, carried to every attention layer.

    Queries attend in blocks of neighbours. In depth-first order all that a block can see is the path above its first
    node and the block itself, so its keys are few. Where that does not halve the work (long windows of text) there is
    one block of all N nodes, and its mask is the plain [N, N] one.
    """

    def __init__(self, pack: Pack, device: torch.device | str):
        num_nodes = len(pack.end)
        queries_BQ, keys_BK = _blocks(pack.end, BLOCK)
        if queries_BQ.size * keys_BK.shape[1] > num_nodes**2 / 2:
            queries_BQ, keys_BK = _blocks(pack.end, num_nodes)
        self.num_nodes = num_nodes
        self.is_path = bool((pack.end == num_nodes).all())
        self.depth_N = torch.as_tensor(pack.depth, device=device)
        self.queries_BQ = torch.as_tensor(queries_BQ, device=device)
        self.keys_BK = torch.as_tensor(np.maximum(keys_BK, 0), device=device)
        sees_BQK = (keys_BK[:, None] >= 0) & (keys_BK[:, None] <= queries_BQ[:, :, None])
        sees_BQK &= queries_BQ[:, :, None] < pack.end[keys_BK][:, None]
        self._masks: dict[int | None, torch.Tensor] = {None: torch.as_tensor(sees_BQK[:, None], device=device)}

    def mask(self, window: int | None) -> torch.Tensor:
        """[B, 1, Q, K] bool, True where a query sees a key; `window` keeps depth[q] - depth[kv] < window.

        Made once per window size.
        """
        if window not in self._masks:
            distance_BQK = self.depth_N[self.queries_BQ][:, :, None] - self.depth_N[self.keys_BK][:, None]
            self._masks[window] = self._masks[None] & (distance_BQK < window)[:, None]
        return self._masks[window]


def _blocks(end_N: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """([B, Q] queries, padded with the last node; [B, K] what a block's queries see between them, padded with -1)."""
    num_nodes = len(end_N)
    starts_B1 = np.arange(0, num_nodes, block)[:, None]
    own_BQ = starts_B1 + np.arange(block)
    above_BN = (np.arange(num_nodes) < starts_B1) & (end_N > starts_B1)
    count_B = above_BN.sum(1)
    path_BK = np.full((len(starts_B1), count_B.max()), -1)
    path_BK[np.arange(path_BK.shape[1]) < count_B[:, None]] = np.nonzero(above_BN)[1]
    keys_BK = np.concatenate([path_BK, np.where(own_BQ < num_nodes, own_BQ, -1)], axis=1)
    return np.minimum(own_BQ, num_nodes - 1), keys_BK


def attend(
    q_NHD: torch.Tensor, k_NGD: torch.Tensor, v_NGD: torch.Tensor, *, scale: float, tree: Tree, window: int | None
) -> torch.Tensor:
    """[N, H, D] attention of a pack over its own keys and values under the tree's mask; grouped queries allowed."""
    grouped = q_NHD.shape[1] != k_NGD.shape[1]
    if tree.is_path and (window is None or window >= tree.num_nodes):
        q_1HND, k_1GND, v_1GND = (x.transpose(0, 1)[None] for x in (q_NHD, k_NGD, v_NGD))
        out = F.scaled_dot_product_attention(q_1HND, k_1GND, v_1GND, is_causal=True, scale=scale, enable_gqa=grouped)
        return out[0].transpose(0, 1)
    out_BHQD = F.scaled_dot_product_attention(
        q_NHD[tree.queries_BQ].transpose(1, 2),
        k_NGD[tree.keys_BK].transpose(1, 2),
        v_NGD[tree.keys_BK].transpose(1, 2),
        attn_mask=tree.mask(window),
        scale=scale,
        enable_gqa=grouped,
    )
    return out_BHQD.transpose(1, 2).flatten(0, 1)[: tree.num_nodes]


class Decoder(Protocol):
    """What the pass needs of a model. A Transformers model whose attention calls `attend` will do; so does vLLM's."""

    device: torch.device
    vocabulary: int

    def hidden(self, ids_N: torch.Tensor, tree: Tree) -> torch.Tensor:
        """[N, d_model] final hidden states, positions taken from `tree.depth_N`."""

    def logits(self, hidden_R: torch.Tensor) -> torch.Tensor | None:
        """[R, V]; None on a rank that does not gather the head."""


class LayerWalk:
    """Decoder layers wrapped so that a forward can begin in front of any layer, from an output held earlier.

    A layer before that point returns at once. What is held is whatever a layer returned, cloned: fused norms write into
    it. The model's own loop over its layers is left as it is.
    """

    def __init__(self, layers: Sequence[nn.Module]):
        self.num_layers = len(layers)
        self._resume = 0
        self._hold: tuple[int, ...] = ()
        self._states: dict[int, Any] = {}
        for i, layer in enumerate(layers):
            layer.forward = partial(self._forward, i, layer.forward)

    def begin(self, one: Pass) -> None:
        """The next forward is this pass. Raises KeyError when the state it resumes from is not held."""
        if one.resume and one.resume not in self._states:
            raise KeyError(one.resume)
        self._resume, self._hold = one.resume, one.held
        self._states = {boundary: state for boundary, state in self._states.items() if boundary <= one.resume}

    def end(self) -> None:
        """Keep only what later passes need; the next forward runs whole unless it is begun otherwise."""
        self._states = {boundary: self._states[boundary] for boundary in self._hold}
        self._resume, self._hold = 0, ()

    def forget(self) -> None:
        """Drop all states."""
        self._resume, self._hold, self._states = 0, (), {}

    def _forward(self, i: int, original: Callable, *arguments: Any, **named: Any) -> Any:
        if i < self._resume:
            state = self._states[self._resume]
            return _clone(state) if i + 1 == self._resume else state
        output = original(*arguments, **named)
        if i + 1 in self._hold:
            self._states[i + 1] = _clone(output)
        return output


def _clone(state: Any) -> Any:
    if isinstance(state, torch.Tensor):
        return state.clone()
    return type(state)(_clone(part) for part in state) if isinstance(state, tuple | list) else state


def sweep_pack(
    decoder: Decoder, walk: LayerWalk, pack: Pack, passes: Sequence[Pass], switch: Callable[[int], None]
) -> dict[int, torch.Tensor | FloatingPointError | None]:
    """{condition: [E] as `score_pack`, or its FloatingPointError} of one pack under every condition.

    switch: puts a condition's clamps in place. The results equal separate passes to the last bit.
    """
    found: dict[int, torch.Tensor | FloatingPointError | None] = {}
    if not len(pack.rows):
        return {one.condition: torch.empty(0) for one in passes}
    tree, last = Tree(pack, decoder.device), -1
    try:
        for one in passes:
            if one.resume == walk.num_layers:
                found[one.condition] = found[last]
                continue
            last = one.condition
            switch(last)
            walk.begin(one)
            try:
                found[last] = score_pack(decoder, pack, tree)
            except FloatingPointError as error:
                found[last] = error
            walk.end()
    finally:
        walk.forget()
    return found


@torch.inference_mode()
def score_pack(decoder: Decoder, pack: Pack, tree: Tree | None = None) -> torch.Tensor | None:
    """[E] float32 log p(target | prefix) in nats of the pack's edges, on the CPU.

    A pack without edges (a piece of a long context) is not forwarded. None on a tensor-parallel rank that does not hold
    the gathered logits. Raises FloatingPointError when a log-probability is not finite: a NaN must never be a result.
    """
    if not len(pack.rows):
        return torch.empty(0)
    tree = tree or Tree(pack, decoder.device)
    hidden_Nd = decoder.hidden(torch.as_tensor(pack.ids, device=decoder.device), tree)
    rows_R, row_of_E = torch.unique_consecutive(torch.as_tensor(pack.rows), return_inverse=True)
    targets_E = torch.as_tensor(pack.targets)
    chunk = max(1, HEAD_BYTES // (4 * decoder.vocabulary))
    starts = torch.searchsorted(row_of_E, torch.arange(0, len(rows_R) + chunk, chunk))
    parts = []
    for i, first in enumerate(range(0, len(rows_R), chunk)):
        edges = slice(int(starts[i]), int(starts[i + 1]))
        logits_RV = decoder.logits(hidden_Nd[rows_R[first : first + chunk].to(decoder.device)])
        if logits_RV is None:
            continue
        local_E = (row_of_E[edges] - first).to(decoder.device)
        log_softmax_RV = logits_RV.log_softmax(-1, dtype=torch.float32)
        parts.append(log_softmax_RV[local_E, targets_E[edges].to(decoder.device)].cpu())
    if not parts:
        return None
    log_probabilities_E = torch.cat(parts)
    broken = int((~log_probabilities_E.isfinite()).sum())
    if broken:
        raise FloatingPointError(f"{broken} of {len(log_probabilities_E)} log-probabilities are not finite")
    return log_probabilities_E
