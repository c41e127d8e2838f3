"""Computes the log-probabilities of a pack's edges with any decoder. Pure torch.

Owns the head: logits only for the rows that hold a scored edge, in chunks, log-softmax in float32, then the targets are
gathered. Never builds a [rows, vocabulary] block above `HEAD_BYTES`, single rows excepted. A sweep over conditions
resumes in the middle of the decoder where the layers before are shared (`condition_tree`); attention is left to
`tree_attention`. Knows no more of a model than `Decoder`.

N nodes of a pack, E scored edges, R rows with edges, V vocabulary, d d_model. The margin of an edge is its
log-probability minus the largest one of its row: 0 where greedy decoding picks it.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from actors.ablation.condition_tree import Pass
from actors.ablation.memory import HEAD_BYTES
from actors.ablation.token_tree import Pack
from actors.ablation.tree_attention import Tree

NOT_FINITE = "log-probabilities are not finite"
"""In the text of every error that stands for such a result."""


class Decoder(Protocol):
    """The interface of a model to this pass: vLLM's, or Transformers' with `attend` as its attention.

    With Transformers, whose attention function reads the tree that `hidden` has set:

        class TransformersDecoder:
            device, vocabulary, flex = torch.device("cpu"), 32000, False

            def __init__(self, model):
                self.model = model

            def hidden(self, ids_N, tree):
                current_tree.set(tree)
                return self.model.model(ids_N[None], position_ids=tree.depth_N[None], use_cache=False)[0][0]

            def logits(self, hidden_Rd):
                return self.model.lm_head(hidden_Rd)
    """

    device: torch.device
    vocabulary: int
    flex: bool
    """Whether attention runs through FlexAttention."""

    def hidden(self, ids_N: Tensor, tree: Tree) -> Tensor:
        """[N, d] final hidden states; `tree.depth_N` holds the position ids."""

    def logits(self, hidden_Rd: Tensor) -> Tensor | None:
        """[R, V]; None on a tensor-parallel rank that does not gather the head."""


class DevicePack:
    """One pack on the device: uploaded once, for all conditions."""

    def __init__(self, decoder: Decoder, pack: Pack):
        device = decoder.device
        self.tree = Tree(pack, device, decoder.flex)
        self.ids_N = torch.as_tensor(pack.ids, device=device)
        rows_R, row_of_E = torch.unique_consecutive(torch.as_tensor(pack.rows), return_inverse=True)
        self.chunk = max(1, HEAD_BYTES[device.type] // (4 * decoder.vocabulary))
        """Rows of one block of the head."""
        starts = torch.searchsorted(row_of_E, torch.arange(0, len(rows_R) + self.chunk, self.chunk)).tolist()
        self.edges = [slice(*ends) for ends in pairwise(starts)]
        """The edges of each block."""
        self.rows_R, self.row_of_E = rows_R.to(device), row_of_E.to(device)
        self.targets_E = torch.as_tensor(pack.targets).to(device)


class LayerWalk:
    """Decoder layers wrapped so that a forward pass can start at any layer, from an output held earlier.

    The layers before that point return at once. Outputs are held as whatever a layer returned, cloned, because fused
    norms write into it. The model's own loop over its layers remains unchanged.
    """

    def __init__(self, layers: Sequence[nn.Module]):
        """Wrap the `forward` of each layer, in place."""
        self.num_layers = len(layers)
        self._resume = 0
        self._hold: tuple[int, ...] = ()
        self._states: dict[int, Any] = {}
        for i, layer in enumerate(layers):
            layer.forward = partial(self._forward, i, layer.forward)

    def begin(self, turn: Pass) -> None:
        """Make the next forward pass this one. Raises KeyError if the state that it resumes from is not held."""
        if turn.resume and turn.resume not in self._states:
            raise KeyError(turn.resume)
        self._resume, self._hold = turn.resume, turn.held
        self._states = {boundary: state for boundary, state in self._states.items() if boundary <= turn.resume}

    def end(self) -> None:
        """Keep only the states that later passes need; without `begin`, the next forward pass runs all layers."""
        self._states = {boundary: self._states[boundary] for boundary in self._hold}
        self._resume, self._hold = 0, ()

    def forget(self) -> None:
        """Drop all states."""
        self._resume, self._hold, self._states = 0, (), {}

    # a layer returns a tensor or, where norms are fused, a tuple of them: whatever the model's own loop passes on
    def _forward(self, i: int, original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        if i < self._resume:
            state = self._states[self._resume]
            return _clone(state) if i + 1 == self._resume else state
        output = original(*arguments, **named)
        if i + 1 in self._hold:
            self._states[i + 1] = _clone(output)
        return output


def _clone(state: Any) -> Any:
    if isinstance(state, Tensor):
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
) -> dict[int, Tensor | FloatingPointError | None]:
    """Score one pack under every condition: {condition: the result of `score_pack`, or its FloatingPointError}.

    switch: puts a condition's clamps in force. The results equal those of separate passes to the last bit.
    """
    if not len(pack.rows):
        return {turn.condition: _no_edges(margins) for turn in passes}
    results: dict[int, Tensor | FloatingPointError | None] = {}
    on_device, last = DevicePack(decoder, pack), -1
    try:
        for turn in passes:
            if turn.resume == walk.num_layers:
                results[turn.condition] = results[last]
                continue
            last = turn.condition
            switch(last)
            walk.begin(turn)
            try:
                results[last] = _score(decoder, on_device, margins)
            except FloatingPointError as error:
                results[last] = error
            walk.end()
    finally:
        walk.forget()
    return results


def score_pack(decoder: Decoder, pack: Pack, *, margins: bool = False) -> Tensor | None:
    """[E] float32 log p(target | prefix) of the pack's edges, in nats, on the CPU; [2, E] with their margins.

    A pack without edges (a piece of a long context) is not forwarded. None on a tensor-parallel rank that does not hold
    the gathered logits. Raises FloatingPointError if a log-probability is not finite: a NaN must never be a result.
    """
    return _score(decoder, DevicePack(decoder, pack), margins) if len(pack.rows) else _no_edges(margins)


@torch.inference_mode()
def bits_of_pack(decoder: Decoder, pack: Pack) -> bytes:
    """sha256 of a pack's final hidden states and, on a rank that has them, of its log-probabilities, bit for bit."""
    on_device = DevicePack(decoder, pack)
    hidden_Nd = _forward(decoder, on_device)
    digest = hashlib.sha256(hidden_Nd.contiguous().view(torch.uint8).cpu().numpy())
    scores_E = _gather(decoder, on_device, hidden_Nd, margins=False)
    if scores_E is not None:
        digest.update(scores_E.numpy())
    return digest.digest()


@torch.inference_mode()
def _score(decoder: Decoder, pack: DevicePack, margins: bool) -> Tensor | None:
    """As `score_pack`, of a pack with edges."""
    return _gather(decoder, pack, _forward(decoder, pack), margins)


def _forward(decoder: Decoder, pack: DevicePack) -> Tensor:
    """[N, d] final hidden states. A decoder whose FlexAttention has failed does not try it again."""
    hidden_Nd = decoder.hidden(pack.ids_N, pack.tree)
    if pack.tree.flex_failure:
        decoder.flex = False
    return hidden_Nd


def _gather(decoder: Decoder, pack: DevicePack, hidden_Nd: Tensor, margins: bool) -> Tensor | None:
    """The head: log-probabilities of the pack's edges from its hidden states, as `score_pack` returns them."""
    parts, spare = [], torch.empty(0, device=decoder.device)
    for first, edges in zip(range(0, len(pack.rows_R), pack.chunk), pack.edges, strict=True):
        logits_RV = decoder.logits(hidden_Nd[pack.rows_R[first : first + pack.chunk]])
        if logits_RV is None:
            continue
        local_E = pack.row_of_E[edges] - first
        if len(spare) < len(logits_RV):
            spare = torch.empty(logits_RV.shape, device=decoder.device)
        log_softmax_RV = torch.log_softmax(logits_RV, -1, dtype=torch.float32, out=spare[: len(logits_RV)])
        scores_E = log_softmax_RV[local_E, pack.targets_E[edges]]
        if margins:
            scores_E = torch.stack([scores_E, scores_E - log_softmax_RV.amax(-1)[local_E]])
        parts.append(scores_E)
    if not parts:
        return None
    scores_E = torch.cat(parts, dim=-1).cpu()
    not_finite = int((~scores_E.isfinite()).sum())
    if not_finite:
        raise FloatingPointError(f"{not_finite} of {scores_E.numel()} {NOT_FINITE}")
    return scores_E


def _no_edges(margins: bool) -> Tensor:
    return torch.empty(2, 0) if margins else torch.empty(0)
