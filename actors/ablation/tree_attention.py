"""Attention of a pack over its own keys and values, under the tree's mask `kv <= q < end[kv]`. Pure torch.

On CUDA, FlexAttention takes the rule as it is and skips masked blocks. Elsewhere, and where FlexAttention cannot
run, scaled-dot-product attention runs block by block over the few keys that a block can see. Sliding windows keep
`depth[q] - depth[kv] < window`; ALiBi adds `slope * (depth[kv] - depth[q])`, with one slope per head. Knows nothing of
models beyond their queries, keys and values.

N nodes of a pack, H query heads, G key-value heads, D head size; B blocks of Q queries and K keys; L the padded length
of FlexAttention. A mask is an additive bias: 0 where a query sees a key, -inf elsewhere.
"""

import logging
from collections.abc import Callable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from actors.ablation.token_tree import Pack, plan_packs
from studies.errors import first_line

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

log = logging.getLogger(__name__)

BLOCK = 32
"""Queries that attend together. On a CPU, 16 and 32 take the same time, 64 takes a third longer, and packs of 512 as
one block take 4.5 times as long."""

FLEX_BLOCK = 128
"""Queries and keys of one block of FlexAttention, and the shortest length to which its input is padded; all lengths are
powers of two, to compile few."""

FLEX_TOLERANCE = 0.05
"""Largest difference between FlexAttention and block attention on random inputs at which FlexAttention is used."""


FOLDED_ON = ("cuda",)
"""Devices on which the queries that share a key-value head attend as one longer block of queries. There PyTorch would
copy the keys for every query head, where a mask is given; on a CPU it does not, and the numbers stay as they are."""


class FlexRule(NamedTuple):
    """The tree's rule in FlexAttention's terms."""

    block_mask: "BlockMask"
    score_mod: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor] | None
    """Adds ALiBi's bias; None without ALiBi."""


class Blocks(NamedTuple):
    """Queries that attend together, and the keys that any of them sees."""

    queries_BQ: Tensor
    keys_BK: Tensor
    sees_BQK: Tensor
    """Whether a query sees a key."""


class Tree:
    """One pack's structure on the device, carried to every attention layer.

    Queries attend in blocks of neighbours. In depth-first order a block sees only the path above its first node and
    itself, so its keys are few. Where that does not halve the work (long windows of text), all N nodes form one block
    with the plain [N, N] mask.
    """

    def __init__(self, pack: Pack, device: torch.device | str, flex: bool = False):
        """flex: use FlexAttention, unless the pack is one path, for which ordinary causal attention suffices."""
        self.num_nodes = len(pack.end)
        self.is_path = bool((pack.end == self.num_nodes).all())
        self.flex = flex and not self.is_path
        self.flex_failure = ""
        """Why FlexAttention could not be used after all; '' as long as it could."""
        self.depth_N = torch.as_tensor(pack.depth, device=device)
        self._end = pack.end
        self._masks: dict[tuple[int | None, tuple[float, ...], torch.dtype, int], Tensor] = {}
        self._flex_rules: dict[tuple[int | None, tuple[float, ...]], FlexRule] = {}

    @cached_property
    def blocks(self) -> Blocks:
        """For attention without FlexAttention; what has the size of a mask is made on the device."""
        device = self.depth_N.device
        if self.is_path:
            all_1N = torch.arange(self.num_nodes, device=device)[None]
            return Blocks(all_1N, all_1N, all_1N[:, None] <= all_1N[:, :, None])
        queries, keys = _blocks(self._end, BLOCK)
        if queries.size * keys.shape[1] > self.num_nodes**2 / 2:
            queries, keys = _blocks(self._end, self.num_nodes)
        queries_BQ, keys_BK = (torch.as_tensor(x, device=device) for x in (queries, keys))
        end_BK = torch.as_tensor(self._end[keys], device=device)
        sees_BQK = (keys_BK[:, None] >= 0) & (keys_BK[:, None] <= queries_BQ[:, :, None])
        sees_BQK &= queries_BQ[:, :, None] < end_BK[:, None]
        return Blocks(queries_BQ, keys_BK.clamp(min=0), sees_BQK)

    def mask(self, window: int | None, slopes: tuple[float, ...], dtype: torch.dtype, fold: int = 1) -> Tensor:
        """[B, 1, Q, K], or [B, H, Q, K] with slopes, in the queries' dtype; cached.

        0 (with slopes: minus slope x distance) where a query sees a key, and -inf elsewhere. fold: number of
        neighbouring heads that attend as one: [B, 1, fold * Q, K], or [B, H / fold, fold * Q, K].
        """
        key = (window, slopes, dtype, fold)
        if key not in self._masks and fold > 1:
            mask_BHQK = self.mask(window, slopes, dtype)
            heads = mask_BHQK if slopes else mask_BHQK.expand(-1, fold, -1, -1)
            self._masks[key] = heads.unflatten(1, (-1, fold)).flatten(2, 3)
        if key not in self._masks:
            queries_BQ, keys_BK, sees_BQK = self.blocks
            bias_BHQK = torch.zeros_like(sees_BQK, dtype=dtype)[:, None]
            if window is not None or slopes:
                distance_BQK = self.depth_N[queries_BQ][:, :, None] - self.depth_N[keys_BK][:, None]
                if window is not None:
                    sees_BQK = sees_BQK & (distance_BQK < window)
                if slopes:
                    slope_H11 = torch.tensor(slopes, dtype=dtype, device=distance_BQK.device)[:, None, None]
                    bias_BHQK = -slope_H11 * distance_BQK[:, None]
            self._masks[key] = bias_BHQK.masked_fill_(~sees_BQK[:, None], -torch.inf)
        return self._masks[key]

    def flex_rule(self, window: int | None, slopes: tuple[float, ...]) -> FlexRule:
        """The same rule for FlexAttention, over N padded to a power of two; padding sees only itself. Cached.

        Which blocks it visits follows from the tree: PyTorch's own `create_block_mask` takes 10 L^2 bytes for it.
        """
        from torch.nn.attention.flex_attention import BlockMask

        if (window, slopes) not in self._flex_rules:
            length = max(FLEX_BLOCK, 1 << (self.num_nodes - 1).bit_length())
            end_L = torch.arange(1, length + 1, device=self.depth_N.device)
            end_L[: self.num_nodes] = torch.as_tensor(self._end, device=self.depth_N.device)
            depth_L = torch.zeros_like(end_L)
            depth_L[: self.num_nodes] = self.depth_N
            partial, full = _flex_blocks(end_L, depth_L, window)

            def sees(batch: Tensor, head: Tensor, q: Tensor, kv: Tensor) -> Tensor:  # noqa: ARG001 - FlexAttention's
                inside = (kv <= q) & (q < end_L[kv])
                return inside if window is None else inside & (depth_L[q] - depth_L[kv] < window)

            slope_H = torch.tensor(slopes, device=end_L.device)

            def biased(score: Tensor, batch: Tensor, head: Tensor, q: Tensor, kv: Tensor) -> Tensor:  # noqa: ARG001
                return score - slope_H[head] * (depth_L[q] - depth_L[kv])

            lists = (*_in_order(partial), *_in_order(full))
            block_mask = BlockMask.from_kv_blocks(*lists, FLEX_BLOCK, sees, seq_lengths=(length, length))
            self._flex_rules[window, slopes] = FlexRule(block_mask, biased if slopes else None)
        return self._flex_rules[window, slopes]


def _flex_blocks(end_L: Tensor, depth_L: Tensor, window: int | None) -> tuple[Tensor, Tensor]:
    """([B, B] blocks of queries and keys of which some pairs may be seen, [B, B] those of which all are).

    end_L: behind the last query that sees a key.
    """
    end_BK, depth_BK = end_L.view(-1, FLEX_BLOCK), depth_L.view(-1, FLEX_BLOCK)
    first_B1 = torch.arange(0, len(end_L), FLEX_BLOCK, device=end_L.device)[:, None]
    is_below = first_B1 > first_B1.T
    seen = is_below & (end_BK.amax(1) > first_B1)
    if window is not None:  # how far the nearest query and key of two blocks may be apart
        seen &= depth_BK.amin(1)[:, None] - depth_BK.amax(1) < window
    full = seen & (end_BK.amin(1) >= first_B1 + FLEX_BLOCK) & (window is None)
    return (seen & ~full) | (first_B1 == first_B1.T), full


def _in_order(blocks_BB: Tensor) -> tuple[Tensor, Tensor]:
    """([1, 1, B] number of key blocks in each row, [1, 1, B, B] indices with theirs first), as BlockMask wants them."""
    indices = torch.argsort(blocks_BB.int(), dim=1, descending=True, stable=True).int()
    return blocks_BB.sum(1).int()[None, None], indices[None, None]


def _blocks(end_N: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """([B, Q] queries, padded with the last node; [B, K] keys that any query of the block sees, padded with -1)."""
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
    q_NHD: Tensor,
    k_NGD: Tensor,
    v_NGD: Tensor,
    *,
    scale: float,
    tree: Tree,
    window: int | None,
    slopes: tuple[float, ...] = (),
) -> Tensor:
    """[N, H, D] attention of a pack over its own keys and values under the tree's mask; H may be a multiple of G.

    window: of sliding-window attention, in tokens. slopes: of ALiBi, one per query head; () without ALiBi.
    """
    grouped = {"scale": scale, "enable_gqa": q_NHD.shape[1] != k_NGD.shape[1]}
    if tree.is_path and not slopes and (window is None or window >= tree.num_nodes):
        q_1HND, k_1GND, v_1GND = (x.transpose(0, 1)[None] for x in (q_NHD, k_NGD, v_NGD))
        out = F.scaled_dot_product_attention(q_1HND, k_1GND, v_1GND, is_causal=True, **grouped)
        return out[0].transpose(0, 1)
    if tree.flex:
        rule = tree.flex_rule(window, slopes)
        padding = rule.block_mask.seq_lengths[0] - tree.num_nodes
        padded = (F.pad(x, (0, 0, 0, 0, 0, padding)).transpose(0, 1)[None] for x in (q_NHD, k_NGD, v_NGD))
        try:
            out = _flex_attention(q_NHD.device.type)(*padded, **rule._asdict(), **grouped)
        except Exception as error:  # the compiler and its driver raise errors of many classes
            if isinstance(error, torch.OutOfMemoryError):
                raise
            tree.flex, tree.flex_failure = False, first_line(f"{type(error).__name__}: {error}")
            log.warning("FlexAttention failed (%s); block attention from here on", tree.flex_failure)
        else:
            return out[0].transpose(0, 1)[: tree.num_nodes]
    return _attend_in_blocks(q_NHD, k_NGD, v_NGD, tree, window, slopes, grouped)


def _attend_in_blocks(
    q_NHD: Tensor,
    k_NGD: Tensor,
    v_NGD: Tensor,
    tree: Tree,
    window: int | None,
    slopes: tuple[float, ...],
    grouped: dict[str, Any],
) -> Tensor:
    """[N, H, D]; grouped: the scale, and whether heads share keys."""
    queries_BQ, keys_BK, _ = tree.blocks
    padding = queries_BQ.numel() - tree.num_nodes
    q_LHD = F.pad(q_NHD, (0, 0, 0, 0, 0, padding)) if padding else q_NHD
    q_BHQD = q_LHD.unflatten(0, (-1, queries_BQ.shape[1])).transpose(1, 2)
    fold = q_NHD.shape[1] // k_NGD.shape[1] if q_NHD.device.type in FOLDED_ON else 1
    if fold > 1:
        q_BHQD = q_BHQD.unflatten(1, (-1, fold)).flatten(2, 3)
        grouped = {**grouped, "enable_gqa": False}
    out_BHQD = F.scaled_dot_product_attention(
        q_BHQD,
        k_NGD[keys_BK].transpose(1, 2),
        v_NGD[keys_BK].transpose(1, 2),
        attn_mask=tree.mask(window, slopes, q_NHD.dtype, fold),
        **grouped,
    )
    if fold > 1:
        out_BHQD = out_BHQD.unflatten(2, (fold, -1)).flatten(1, 2)
    return out_BHQD.transpose(1, 2).flatten(0, 1)[: tree.num_nodes]


@cache
def _flex_attention(device_type: str) -> Callable[..., Tensor]:
    """Compiled on CUDA, where the kernel exists; elsewhere uncompiled, for tests (it builds the whole score matrix)."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention) if device_type == "cuda" else flex_attention


def flex_refusal(
    device: torch.device,
    num_heads: int,
    num_kv_heads: int,
    head_size: int,
    dtype: torch.dtype,
    slopes: tuple[float, ...] = (),
    window: int | None = None,
) -> str:
    """'' if FlexAttention runs on this device and agrees with block attention on trees of two padded lengths, in
    inference mode as in a pass, else the reason."""
    if device.type != "cuda":
        return f"no kernel for {device.type}"
    try:
        difference = max(
            _flex_difference(
                device, _random_pack(num_sequences), (num_heads, num_kv_heads), head_size, dtype, slopes, window
            )
            for num_sequences in (4, 20)
        )
    except Exception as error:  # the compiler and its driver raise errors of many classes; blocks always work
        return first_line(f"{type(error).__name__}: {error}")
    return "" if difference <= FLEX_TOLERANCE else f"it differs from block attention by {difference:.3g}"


def _random_pack(num_sequences: int) -> Pack:
    """Sequences of 12 tokens that share beginnings: with 4 shorter than `FLEX_BLOCK`, with 20 longer."""
    generator = np.random.default_rng(0)
    sequences = [generator.integers(0, 3, 12) for _ in range(num_sequences)]
    (pack,) = plan_packs(sequences, np.ones(num_sequences, dtype=np.int64), 12 * num_sequences).packs
    return pack


@torch.inference_mode()
def _flex_difference(
    device: torch.device,
    pack: Pack,
    heads: tuple[int, int],
    head_size: int,
    dtype: torch.dtype,
    slopes: tuple[float, ...],
    window: int | None,
) -> float:
    """The largest difference between FlexAttention and block attention on random queries, keys and values. Raises what
    FlexAttention raises."""
    generator = torch.Generator(device).manual_seed(0)
    q, k, v = (
        torch.randn(len(pack.end), count, head_size, generator=generator, device=device).to(dtype)
        for count in (heads[0], heads[1], heads[1])
    )
    flexible = Tree(pack, device, flex=True)
    flex, blocks = (
        attend(q, k, v, scale=head_size**-0.5, tree=tree, window=window, slopes=slopes).float()
        for tree in (flexible, Tree(pack, device))
    )
    if flexible.flex_failure:
        raise RuntimeError(flexible.flex_failure)
    return float((flex - blocks).abs().max())
