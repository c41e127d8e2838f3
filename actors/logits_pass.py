"""Packs -> log-probabilities of their edges, over any decoder. Pure torch.

Owns the tree attention (the mask rule `kv <= q < end[kv]`, sliding windows by depth) and the head: logits only for the
rows that hold a scored edge, in chunks, log-sum-exp in float32, then the targets are gathered. Never makes a
[tokens, vocabulary] matrix above `HEAD_BYTES`. Refuses to know what a decoder is beyond `Decoder`.

N nodes of a pack, H query heads, G key-value heads, D head size, E scored edges, R rows with edges, V vocabulary.
"""

from typing import Protocol

import torch
import torch.nn.functional as F

from actors.token_tree import Pack

HEAD_BYTES = 64 * 2**20
"""Largest [rows, vocabulary] float32 block the head may make."""


class Tree:
    """One pack's structure on the device, carried to every attention layer; masks are made once per window size."""

    def __init__(self, pack: Pack, device: torch.device | str):
        self.depth_N = torch.as_tensor(pack.depth, device=device)
        self.end_N = torch.as_tensor(pack.end, device=device)
        self._masks: dict[int | None, torch.Tensor] = {}

    def mask(self, window: int | None) -> torch.Tensor:
        """[N, N] bool, True where query (row) may see key (column); `window` keeps depth[q] - depth[kv] < window."""
        if window not in self._masks:
            position_N = torch.arange(len(self.end_N), device=self.end_N.device)
            q_N1, kv_1N = position_N[:, None], position_N[None, :]
            mask_NN = (kv_1N <= q_N1) & (q_N1 < self.end_N[None, :])
            if window is not None:
                mask_NN &= self.depth_N[:, None] - self.depth_N[None, :] < window
            self._masks[window] = mask_NN
        return self._masks[window]


def attend(
    q_NHD: torch.Tensor, k_NGD: torch.Tensor, v_NGD: torch.Tensor, *, scale: float, tree: Tree, window: int | None
) -> torch.Tensor:
    """[N, H, D] attention of a pack over its own keys and values under the tree's mask; grouped queries allowed."""
    out_1HND = F.scaled_dot_product_attention(
        q_NHD.transpose(0, 1)[None],
        k_NGD.transpose(0, 1)[None],
        v_NGD.transpose(0, 1)[None],
        attn_mask=tree.mask(window),
        scale=scale,
        enable_gqa=q_NHD.shape[1] != k_NGD.shape[1],
    )
    return out_1HND[0].transpose(0, 1)


class Decoder(Protocol):
    """What the pass needs of a model. A Transformers model whose attention calls `attend` will do; so does vLLM's."""

    device: torch.device
    vocabulary: int

    def hidden(self, ids_N: torch.Tensor, tree: Tree) -> torch.Tensor:
        """[N, d_model] final hidden states, positions taken from `tree.depth_N`."""

    def logits(self, hidden_R: torch.Tensor) -> torch.Tensor | None:
        """[R, V]; None on a rank that does not gather the head."""


@torch.inference_mode()
def score_pack(decoder: Decoder, pack: Pack) -> torch.Tensor | None:
    """[E] float32 log p(target | prefix) in nats of the pack's edges, on the CPU.

    A pack without edges (a piece of a long context) is not forwarded. None on a tensor-parallel rank that does not hold
    the gathered logits. Raises FloatingPointError when a log-probability is not finite: a NaN must never be a result.
    """
    if not len(pack.rows):
        return torch.empty(0)
    tree = Tree(pack, decoder.device)
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
        logits_RV = logits_RV.float()
        local_E = (row_of_E[edges] - first).to(decoder.device)
        chosen_E = logits_RV[local_E, targets_E[edges].to(decoder.device)]
        parts.append((chosen_E - logits_RV.logsumexp(-1)[local_E]).cpu())
    if not parts:
        return None
    log_probabilities_E = torch.cat(parts)
    broken = int((~log_probabilities_E.isfinite()).sum())
    if broken:
        raise FloatingPointError(f"{broken} of {len(log_probabilities_E)} log-probabilities are not finite")
    return log_probabilities_E
