"""Packs -> log-probabilities of their edges, over any decoder. Pure torch.

Owns the head: logits only for the rows that hold a scored edge, in chunks, log-softmax in float32, then the targets are
gathered. Never makes a [tokens, vocabulary] matrix above `HEAD_BYTES`. A sweep over conditions resumes in the middle of
the decoder where the layers before are shared (`condition_tree`); attention is `tree_attention`'s. Refuses to know what
a decoder is beyond `Decoder`.

N nodes of a pack, E scored edges, R rows with edges, V vocabulary. An edge's margin is its log-probability less the
largest of its row: 0 where greedy decoding takes it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn

from actors.ablation.condition_tree import Pass
from actors.ablation.token_tree import Pack
from actors.ablation.tree_attention import Tree

HEAD_BYTES = {"cpu": 32 * 2**20, "cuda": 512 * 2**20}
"""Largest [rows, vocabulary] float32 block of the head; above 32 MiB glibc maps and clears fresh pages each time."""


class Decoder(Protocol):
    """What the pass needs of a model. A Transformers model whose attention calls `attend` will do; so does vLLM's."""

    device: torch.device
    vocabulary: int
    flex: bool
    """Whether attention goes through FlexAttention."""

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
    decoder: Decoder,
    walk: LayerWalk,
    pack: Pack,
    passes: Sequence[Pass],
    switch: Callable[[int], None],
    *,
    margins: bool = False,
) -> dict[int, torch.Tensor | FloatingPointError | None]:
    """{condition: as `score_pack`, or its FloatingPointError} of one pack under every condition.

    switch: puts a condition's clamps in place. The results equal separate passes to the last bit.
    """
    found: dict[int, torch.Tensor | FloatingPointError | None] = {}
    if not len(pack.rows):
        return {one.condition: _no_edges(margins) for one in passes}
    tree, last = Tree(pack, decoder.device, decoder.flex), -1
    try:
        for one in passes:
            if one.resume == walk.num_layers:
                found[one.condition] = found[last]
                continue
            last = one.condition
            switch(last)
            walk.begin(one)
            try:
                found[last] = score_pack(decoder, pack, tree, margins=margins)
            except FloatingPointError as error:
                found[last] = error
            walk.end()
    finally:
        walk.forget()
    return found


@torch.inference_mode()
def score_pack(decoder: Decoder, pack: Pack, tree: Tree | None = None, *, margins: bool = False) -> torch.Tensor | None:
    """[E] float32 log p(target | prefix) in nats of the pack's edges, on the CPU; with margins [2, E], they second.

    A pack without edges (a piece of a long context) is not forwarded. None on a tensor-parallel rank that does not hold
    the gathered logits. Raises FloatingPointError when a log-probability is not finite: a NaN must never be a result.
    """
    if not len(pack.rows):
        return _no_edges(margins)
    tree = tree or Tree(pack, decoder.device, decoder.flex)
    hidden_Nd = decoder.hidden(torch.as_tensor(pack.ids, device=decoder.device), tree)
    rows_R, row_of_E = torch.unique_consecutive(torch.as_tensor(pack.rows), return_inverse=True)
    targets_E = torch.as_tensor(pack.targets)
    chunk = max(1, HEAD_BYTES[decoder.device.type] // (4 * decoder.vocabulary))
    starts = torch.searchsorted(row_of_E, torch.arange(0, len(rows_R) + chunk, chunk))
    parts, spare = [], torch.empty(0, device=decoder.device)
    for i, first in enumerate(range(0, len(rows_R), chunk)):
        edges = slice(int(starts[i]), int(starts[i + 1]))
        logits_RV = decoder.logits(hidden_Nd[rows_R[first : first + chunk].to(decoder.device)])
        if logits_RV is None:
            continue
        local_E = (row_of_E[edges] - first).to(decoder.device)
        if len(spare) < len(logits_RV):
            spare = torch.empty(logits_RV.shape, device=decoder.device)
        log_softmax_RV = torch.log_softmax(logits_RV, -1, dtype=torch.float32, out=spare[: len(logits_RV)])
        found_E = log_softmax_RV[local_E, targets_E[edges].to(decoder.device)]
        if margins:
            found_E = torch.stack([found_E, found_E - log_softmax_RV.amax(-1)[local_E]])
        parts.append(found_E.cpu())
    if not parts:
        return None
    found_E = torch.cat(parts, dim=-1)
    broken = int((~found_E.isfinite()).sum())
    if broken:
        raise FloatingPointError(f"{broken} of {found_E.numel()} log-probabilities are not finite")
    return found_E


def _no_edges(margins: bool) -> torch.Tensor:
    return torch.empty(2, 0) if margins else torch.empty(0)
