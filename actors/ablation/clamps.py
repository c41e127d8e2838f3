"""The operations on selected neurons, as hooks around each layer's activation, and the counts that prove them.

Owns the buffers of each layer on the device and the two hooks that read them. One runs before the model's OWN
activation and changes the pre-activation (clamps, the mean in place of the negative half); the other runs after it and
changes the output (`posrelu`, `signflip`). Settings can be saved and restored at no cost. Pure torch, over any module
tree. The invariant that callers rely on: while no neuron is selected, no hook touches a tensor, so the logits are
bit-identical to those of an unhooked model.

T packed tokens, F neurons of one layer on this rank, n selected neurons among them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import nn

INFINITY = float("inf")

KINDS_WITH_VALUES = ("ceilings", "negative_mean")
"""Kinds that take one value per neuron."""

OUTPUT_KINDS = ("posrelu", "signflip")
"""Kinds that change the activation's output; all others change its input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What is done to the pre-activation a of every selected neuron, or to the activation's output act(a).

    clamp: a' = min(max(a, floor), ceiling). ceilings: the same, with a ceiling of each neuron's own. negative_mean: the
    neuron's own value in place of a negative a. posrelu: a in place of act(a) where a > 0. signflip: |act(a)|, for
    activations that have the sign of a (SiLU, GELU, ReLU).
    """

    kind: str = "clamp"
    floor: float = -INFINITY
    ceiling: float = INFINITY

    def __post_init__(self) -> None:
        if self.kind not in ("clamp", *KINDS_WITH_VALUES, *OUTPUT_KINDS):
            raise ValueError(f"no such intervention: {self.kind!r}")


class Setting(NamedTuple):
    """The buffers of one layer on this rank, one entry per selected neuron; never modified in place."""

    kind: str
    columns_n: torch.Tensor
    """int64 columns of this rank's slice, ascending."""
    floor_n: torch.Tensor
    ceiling_n: torch.Tensor
    """Under `negative_mean` floor and ceiling are both the neuron's own value, which replaces its negative inputs."""


class LayerClamp:
    """The hooks of one layer and the buffers for this rank's slice of its neurons.

    Under tensor parallelism each rank holds a contiguous slice: global neuron j lives on rank j // (d_mlp / num_ranks).
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
        """Hook `activation`, whose input is [T, F], or [T, 2 F] with the gate half first if `gated`.

        Raises ValueError if d_mlp is not a multiple of num_ranks.
        """
        if d_mlp % num_ranks:
            raise ValueError(f"{d_mlp} neurons do not divide over {num_ranks} tensor-parallel ranks")
        self.num_neurons = d_mlp // num_ranks
        self.first = rank * self.num_neurons
        """Global index of this rank's first neuron."""
        self.gated = gated
        self.calls = 0
        """Calls of the activation so far."""
        self.counting = False
        self.clipped = 0
        """Pre-activations changed while counting."""
        self._dtype = dtype
        empty = torch.empty(0, device=device, dtype=dtype)
        self.setting = self._empty = Setting("clamp", empty.long(), empty, empty)
        activation.register_forward_pre_hook(self._before_activation)
        activation.register_forward_hook(self._after_activation)

    def set(self, neurons: Sequence[int], operation: Operation, values: Sequence[float] = ()) -> int:
        """Select exactly these GLOBAL neuron indices; returns the number of them that live on this rank.

        values: one per neuron, in the order of `neurons`, for the kinds that take values. Raises ValueError if their
        number is wrong.
        """
        if len(values) != (len(neurons) if operation.kind in KINDS_WITH_VALUES else 0):
            raise ValueError(f"{len(values)} values for {len(neurons)} neurons under {operation.kind}")
        own = values if len(values) else [0.0] * len(neurons)
        last = self.first + self.num_neurons
        local = sorted((j - self.first, value) for j, value in zip(neurons, own, strict=True) if self.first <= j < last)
        if not local:
            self.setting = self._empty
            return 0
        device = self._empty.columns_n.device
        own_n = torch.tensor([value for _, value in local], dtype=self._dtype, device=device)
        floor_n, ceiling_n = torch.full_like(own_n, operation.floor), torch.full_like(own_n, operation.ceiling)
        if operation.kind in KINDS_WITH_VALUES:
            floor_n, ceiling_n = (own_n if operation.kind == "negative_mean" else floor_n), own_n
        columns_n = torch.tensor([column for column, _ in local], dtype=torch.int64, device=device)
        self.setting = Setting(operation.kind, columns_n, floor_n, ceiling_n)
        return len(local)

    def digest(self) -> bytes:
        """sha256 of the buffers, read back from the device."""
        kind, *buffers = self.setting
        read_back = torch.stack([buffer.to("cpu", torch.float64) for buffer in buffers])
        return hashlib.sha256(kind.encode() + read_back.numpy().tobytes()).digest()

    def _before_activation(
        self,
        module: nn.Module,  # noqa: ARG002 - torch sets the signature of hooks
        arguments: tuple[torch.Tensor, ...],
    ) -> tuple[torch.Tensor, ...] | None:
        fused = arguments[0]
        self.calls += 1
        expected = self.num_neurons * (2 if self.gated else 1)
        if fused.shape[-1] != expected:
            raise ValueError(f"activation input has {fused.shape[-1]} columns, expected {expected}")
        kind, columns_n, floor_n, ceiling_n = self.setting
        if not len(columns_n) or kind in OUTPUT_KINDS:
            return None
        # the fused tensor was made for this call alone; one that is not fused may have other readers
        pre_TF = fused if self.gated else fused.clone()
        selected_Tn = pre_TF[..., columns_n]
        if kind == "negative_mean":
            self._count(selected_Tn < 0)
            pre_TF[..., columns_n] = torch.where(selected_Tn < 0, floor_n, selected_Tn)
        else:
            if self.counting:
                self._count((selected_Tn < floor_n) | (selected_Tn > ceiling_n))
            pre_TF[..., columns_n] = torch.clamp(selected_Tn, min=floor_n, max=ceiling_n)
        return None if self.gated else (pre_TF, *arguments[1:])

    def _after_activation(
        self,
        module: nn.Module,  # noqa: ARG002 - torch sets the signature of hooks
        arguments: tuple[torch.Tensor, ...],
        output: torch.Tensor,
    ) -> None:
        kind, columns_n, *_ = self.setting
        if not len(columns_n) or kind not in OUTPUT_KINDS:
            return
        fused = arguments[0]
        selected_Tn, activated_Tn = fused[..., columns_n], output[..., columns_n]
        if kind == "posrelu":
            changed_Tn = selected_Tn > 0
            replacement_Tn = selected_Tn * fused[..., self.num_neurons + columns_n] if self.gated else selected_Tn
        else:
            changed_Tn, replacement_Tn = selected_Tn < 0, -activated_Tn
        self._count(changed_Tn)
        output[..., columns_n] = torch.where(changed_Tn, replacement_Tn, activated_Tn)

    def _count(self, changed_Tn: torch.Tensor) -> None:
        if self.counting:
            self.clipped += int(changed_Tn.sum())


class ClampSet:
    """The clamps of all layers of one model, on this rank."""

    def __init__(self, layers: list[LayerClamp]):
        self._layers = layers

    def set(
        self,
        neurons: Mapping[int, Sequence[int]],
        operation: Operation,
        values: Mapping[int, Sequence[float]] = MappingProxyType({}),
    ) -> list[int]:
        """Select these neurons, {layer: global indices}, and no others; returns the number on this rank, per layer.

        values: {layer: one per neuron, in the order of `neurons`}. Raises IndexError for a layer that does not exist.
        """
        beyond = [layer for layer in neurons if not 0 <= layer < len(self._layers)]
        if beyond:
            raise IndexError(f"layer {beyond[0]} of {len(self._layers)}")
        return [clamp.set(neurons.get(i, ()), operation, values.get(i, ())) for i, clamp in enumerate(self._layers)]

    def settings(self) -> list[Setting]:
        """The current buffers of every layer, for `restore`."""
        return [clamp.setting for clamp in self._layers]

    def restore(self, settings: list[Setting]) -> None:
        """Put settings returned by `settings` back into force; nothing is copied."""
        for clamp, setting in zip(self._layers, settings, strict=True):
            clamp.setting = setting

    def calls(self) -> list[int]:
        """Hook calls so far, per layer."""
        return [clamp.calls for clamp in self._layers]

    def start_counting(self) -> None:
        """Count from zero: hook calls, and the pre-activations that are changed."""
        for clamp in self._layers:
            clamp.counting, clamp.clipped, clamp.calls = True, 0, 0

    def stop_counting(self) -> tuple[list[int], list[int]]:
        """([hook calls per layer], [changed pre-activations per layer]) since `start_counting`."""
        for clamp in self._layers:
            clamp.counting = False
        return [clamp.calls for clamp in self._layers], [clamp.clipped for clamp in self._layers]

    def digest(self) -> str:
        """sha256 of the buffers of all layers, read back from the device."""
        whole = hashlib.sha256()
        for clamp in self._layers:
            whole.update(clamp.digest())
        return whole.hexdigest()
