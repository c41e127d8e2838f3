"""What is done to selected neurons around the activation, and the counting that proves it was done.

Owns the buffers of each layer on the device and the two hooks that use them: one in front of the model's OWN
activation, which changes the pre-activation (clamps, the mean for the negative half), and one behind it, which changes
the output (`posrelu`, `signflip`). Settings can be kept and put back, which costs nothing. Pure torch over any module
tree. The invariant callers rely on: with no neuron set no hook touches a tensor, so the logits are bit-identical to an
unhooked model.

T packed tokens, F neurons of one layer on this rank.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import nn

INFINITY = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What is done to the pre-activation a of every selected neuron, or to the activation's output.

    clamp: a' = min(max(a, floor), ceiling). ceilings: the same with a ceiling of each neuron's own. negative_mean: a
    negative a becomes the neuron's own value. posrelu: a in place of act(a) where a > 0. signflip: |act(a)|, for
    activations that have the sign of a (SiLU, GELU, ReLU).
    """

    kind: str = "clamp"
    floor: float = -INFINITY
    ceiling: float = INFINITY

    def __post_init__(self) -> None:
        if self.kind not in ("clamp", *OWN_VALUES, *BEHIND):
            raise ValueError(f"no such intervention: {self.kind!r}")


OWN_VALUES = ("ceilings", "negative_mean")
"""Kinds with one value a neuron."""

BEHIND = ("posrelu", "signflip")
"""Kinds that change the activation's output."""


class Setting(NamedTuple):
    """The buffers of one layer on this rank, one entry a selected neuron; never written after they were made."""

    kind: str
    columns_n: torch.Tensor
    """int64 columns of this rank, ascending."""
    floor_n: torch.Tensor
    ceiling_n: torch.Tensor
    """Both the neuron's own value under `negative_mean`, which stands for what is negative."""


class LayerClamp:
    """The clamp of one layer: buffers for this rank's slice of neurons and the hook in front of the activation.

    Under tensor parallelism a rank holds a contiguous slice: global neuron j lives on rank j // (d_mlp / ranks).
    """

    def __init__(
        self,
        activation: nn.Module,
        *,
        d_mlp: int,
        gated: bool,
        device: torch.device | str,
        dtype: torch.dtype,
        rank: int = 0,
        num_ranks: int = 1,
    ):
        if d_mlp % num_ranks:
            raise ValueError(f"{d_mlp} neurons do not divide over {num_ranks} tensor-parallel ranks")
        self.num_neurons = d_mlp // num_ranks
        self.first = rank * self.num_neurons
        self.gated = gated
        self.calls = 0
        self.counting = False
        self.clipped = 0
        self._dtype = dtype
        empty = torch.empty(0, device=device, dtype=dtype)
        self.setting = self._empty = Setting("clamp", empty.long(), empty, empty)
        self._handles = (
            activation.register_forward_pre_hook(self._in_front),
            activation.register_forward_hook(self._behind),
        )

    def set(self, neurons: Sequence[int], act: Act, values: Sequence[float] = ()) -> int:
        """Act on exactly these GLOBAL neuron indices; returns how many of them live on this rank.

        values: one for each neuron, in its order, for the kinds that have them. Raises ValueError for another number.
        """
        if len(values) != (len(neurons) if act.kind in OWN_VALUES else 0):
            raise ValueError(f"{len(values)} values for {len(neurons)} neurons under {act.kind}")
        own = values if len(values) else [0.0] * len(neurons)
        last = self.first + self.num_neurons
        mine = sorted((j - self.first, one) for j, one in zip(neurons, own, strict=True) if self.first <= j < last)
        if not mine:
            self.setting = self._empty
            return 0
        device = self._empty.columns_n.device
        own_n = torch.tensor([one for _, one in mine], dtype=self._dtype, device=device)
        floor_n, ceiling_n = torch.full_like(own_n, act.floor), torch.full_like(own_n, act.ceiling)
        if act.kind in OWN_VALUES:
            floor_n, ceiling_n = (own_n if act.kind == "negative_mean" else floor_n), own_n
        columns_n = torch.tensor([column for column, _ in mine], dtype=torch.int64, device=device)
        self.setting = Setting(act.kind, columns_n, floor_n, ceiling_n)
        return len(mine)

    def digest(self) -> bytes:
        """Digest of the buffers as they stand on the device, read back."""
        kind, *buffers = self.setting
        read_back = torch.stack([buffer.to("cpu", torch.float64) for buffer in buffers])
        return hashlib.sha256(kind.encode() + read_back.numpy().tobytes()).digest()

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _in_front(self, module: nn.Module, arguments: tuple) -> tuple | None:
        fused = arguments[0]
        self.calls += 1
        expected = self.num_neurons * (2 if self.gated else 1)
        if fused.shape[-1] != expected:
            raise ValueError(f"activation input has {fused.shape[-1]} columns, expected {expected}")
        kind, columns_n, floor_n, ceiling_n = self.setting
        if not len(columns_n) or kind in BEHIND:
            return None
        # the fused tensor was made by the projection for this call alone; a plain one may be used elsewhere
        pre_TF = fused if self.gated else fused.clone()
        chosen_Tn = pre_TF[..., columns_n]
        if kind == "negative_mean":
            self._count(chosen_Tn < 0)
            pre_TF[..., columns_n] = torch.where(chosen_Tn < 0, floor_n, chosen_Tn)
        else:
            if self.counting:
                self._count((chosen_Tn < floor_n) | (chosen_Tn > ceiling_n))
            pre_TF[..., columns_n] = torch.clamp(chosen_Tn, min=floor_n, max=ceiling_n)
        return None if self.gated else (pre_TF, *arguments[1:])

    def _behind(self, module: nn.Module, arguments: tuple, output: torch.Tensor) -> None:
        kind, columns_n, *_ = self.setting
        if not len(columns_n) or kind not in BEHIND:
            return
        fused = arguments[0]
        chosen_Tn, given_Tn = fused[..., columns_n], output[..., columns_n]
        if kind == "posrelu":
            acted_Tn = chosen_Tn > 0
            linear_Tn = chosen_Tn * fused[..., self.num_neurons + columns_n] if self.gated else chosen_Tn
        else:
            acted_Tn, linear_Tn = chosen_Tn < 0, -given_Tn
        self._count(acted_Tn)
        output[..., columns_n] = torch.where(acted_Tn, linear_Tn, given_Tn)

    def _count(self, acted_Tn: torch.Tensor) -> None:
        if self.counting:
            self.clipped += int(acted_Tn.sum())


class ClampSet:
    """The clamps of all layers of one model (on this rank)."""

    def __init__(self, layers: list[LayerClamp]):
        self._layers = layers

    def set(
        self,
        neurons: Mapping[int, Sequence[int]],
        act: Act,
        values: Mapping[int, Sequence[float]] = MappingProxyType({}),
    ) -> list[int]:
        """Act on these neurons {layer: global indices} and nothing else; returns neurons on this rank per layer.

        values: {layer: one a neuron, in its order}. Raises IndexError for a layer that is not there.
        """
        beyond = [layer for layer in neurons if not 0 <= layer < len(self._layers)]
        if beyond:
            raise IndexError(f"layer {beyond[0]} of {len(self._layers)}")
        return [clamp.set(neurons.get(i, ()), act, values.get(i, ())) for i, clamp in enumerate(self._layers)]

    def settings(self) -> list[Setting]:
        """The clamps as they stand, to be put back with `restore`."""
        return [clamp.setting for clamp in self._layers]

    def restore(self, settings: list[Setting]) -> None:
        """Put settings back that `settings` gave; nothing is copied."""
        for clamp, setting in zip(self._layers, settings, strict=True):
            clamp.setting = setting

    def calls(self) -> list[int]:
        """Hook calls per layer so far."""
        return [clamp.calls for clamp in self._layers]

    def start_counting(self) -> None:
        for clamp in self._layers:
            clamp.counting, clamp.clipped, clamp.calls = True, 0, 0

    def stop_counting(self) -> tuple[list[int], list[int]]:
        """([hook calls per layer], [changed pre-activations per layer]) since `start_counting`."""
        for clamp in self._layers:
            clamp.counting = False
        return [clamp.calls for clamp in self._layers], [clamp.clipped for clamp in self._layers]

    def digest(self) -> str:
        """Digest of all buffers, read back from the device."""
        whole = hashlib.sha256()
        for clamp in self._layers:
            whole.update(clamp.digest())
        return whole.hexdigest()

    def remove(self) -> None:
        for clamp in self._layers:
            clamp.remove()
