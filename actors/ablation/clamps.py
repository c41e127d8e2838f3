"""The operations on selected neurons, as hooks around each layer's activation, and the counts that prove them.

Owns the table of operations, one for each kind of `studies.neurons.clamps`, the buffers of each layer on the device and
the two hooks that read them. One runs before the model's OWN activation and changes the pre-activation; the other runs
after it and changes the output. Settings can be saved and restored at no cost. Pure torch, over any module tree. The
invariant that callers rely on: while no neuron is selected, no hook touches a tensor, so the logits are bit-identical
to those of an unhooked model.

T packed tokens, F neurons of one layer on this rank, n selected neurons among them.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from studies.errors import InterventionError
from studies.neurons.clamps import BOUNDED, Clamp


class Setting(NamedTuple):
    """The buffers of one layer on this rank, one entry per selected neuron; never modified in place."""

    operation: "Operation"
    columns_n: Tensor
    """int64 columns of this rank's slice, ascending."""
    floor_n: Tensor
    ceiling_n: Tensor


class Selected(NamedTuple):
    """The selected neurons in one call of the activation."""

    setting: Setting
    fused_TF: Tensor
    """The activation's whole input: [T, F], or [T, 2 F] with the gate half first if `gated`."""
    gated: bool
    pre_Tn: Tensor
    """The pre-activations a."""
    output_Tn: Tensor
    """What the activation made of them, times the up half if `gated`; `pre_Tn` before it has run."""

    def times_up(self, activated_Tn: Tensor) -> Tensor:
        """The output that the activation would give if act(a) were `activated_Tn`."""
        if not self.gated:
            return activated_Tn
        return activated_Tn * self.fused_TF[..., self.fused_TF.shape[-1] // 2 + self.setting.columns_n]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """How a kind of clamp changes the selected neurons, and which of them it changes."""

    replace: Callable[[Selected], Tensor]
    """[T, n] in place of their pre-activations or, `on_output`, of their outputs. It modifies none of its tensors."""
    changes: Callable[[Selected], Tensor]
    """[T, n] bool: what counts as changed in the receipt; called only while the probe is forwarded."""
    on_output: bool = False
    """Whether it changes the activation's output; else its input."""
    value_is_ceiling: bool = False
    """Whether a neuron's own value, where the kind has any, is only its ceiling; else it is in both buffers."""
    digest_name: str
    """Hashed with the buffers; unique among the operations. Receipts record the digest, so this name never changes,
    even if the kind is renamed."""


def _is_outside(selected: Selected) -> Tensor:
    _, _, floor_n, ceiling_n = selected.setting
    return (selected.pre_Tn < floor_n) | (selected.pre_Tn > ceiling_n)


def _is_negative(selected: Selected) -> Tensor:
    return selected.pre_Tn < 0


def _is_positive(selected: Selected) -> Tensor:
    return selected.pre_Tn > 0


def _clamp(selected: Selected) -> Tensor:
    return torch.clamp(selected.pre_Tn, min=selected.setting.floor_n, max=selected.setting.ceiling_n)


def _negative_mean(selected: Selected) -> Tensor:
    return torch.where(_is_negative(selected), selected.setting.floor_n, selected.pre_Tn)


def _posrelu(selected: Selected) -> Tensor:
    return torch.where(_is_positive(selected), selected.times_up(selected.pre_Tn), selected.output_Tn)


def _signflip(selected: Selected) -> Tensor:
    return torch.where(_is_negative(selected), -selected.output_Tn, selected.output_Tn)


OPERATIONS: dict[str, Operation] = {
    BOUNDED: Operation(replace=_clamp, changes=_is_outside, digest_name="clamp"),
    "posrelu": Operation(replace=_posrelu, changes=_is_positive, on_output=True, digest_name="posrelu"),
    "signflip": Operation(replace=_signflip, changes=_is_negative, on_output=True, digest_name="signflip"),
    "negative_mean": Operation(replace=_negative_mean, changes=_is_negative, digest_name="negative_mean"),
    "magnitude_matched": Operation(replace=_clamp, changes=_is_outside, value_is_ceiling=True, digest_name="ceilings"),
}
"""{kind of clamp: its operation}."""


def _operation(clamp: Clamp) -> Operation:
    if clamp.kind not in OPERATIONS:
        raise InterventionError(f"no device can apply {clamp.kind!r}: it is in CLAMP_KINDS but not in OPERATIONS")
    return OPERATIONS[clamp.kind]


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
        self.setting = self._empty = Setting(OPERATIONS[BOUNDED], empty.long(), empty, empty)
        activation.register_forward_pre_hook(self._before_activation)
        activation.register_forward_hook(self._after_activation)

    def set(self, neurons: Sequence[int], clamp: Clamp, values: Sequence[float] = ()) -> int:
        """Select exactly these GLOBAL neuron indices; returns the number of them that live on this rank.

        values: one per neuron, in the order of `neurons`, if the clamp takes values. Raises ValueError if their number
        is wrong, InterventionError for a clamp without an operation.
        """
        if len(values) != (len(neurons) if clamp.values_from else 0):
            raise ValueError(f"{len(values)} values for {len(neurons)} neurons under {clamp.kind}")
        own = values if len(values) else [0.0] * len(neurons)
        last = self.first + self.num_neurons
        local = sorted((j - self.first, value) for j, value in zip(neurons, own, strict=True) if self.first <= j < last)
        if not local:
            self.setting = self._empty
            return 0
        operation, device = _operation(clamp), self._empty.columns_n.device
        own_n = torch.tensor([value for _, value in local], dtype=self._dtype, device=device)
        floor_n, ceiling_n = (torch.full_like(own_n, bound) for bound in clamp.bounds)
        if clamp.values_from:
            floor_n, ceiling_n = (floor_n if operation.value_is_ceiling else own_n), own_n
        columns_n = torch.tensor([column for column, _ in local], dtype=torch.int64, device=device)
        self.setting = Setting(operation, columns_n, floor_n, ceiling_n)
        return len(local)

    def digest(self) -> bytes:
        """sha256 of the buffers, read back from the device."""
        operation, *buffers = self.setting
        read_back = torch.stack([buffer.to("cpu", torch.float64) for buffer in buffers])
        return hashlib.sha256(operation.digest_name.encode() + read_back.numpy().tobytes()).digest()

    def _before_activation(
        self,
        module: nn.Module,  # noqa: ARG002 - torch sets the signature of hooks
        arguments: tuple[Tensor, ...],
    ) -> tuple[Tensor, ...] | None:
        fused = arguments[0]
        self.calls += 1
        expected = self.num_neurons * (2 if self.gated else 1)
        if fused.shape[-1] != expected:
            raise ValueError(f"activation input has {fused.shape[-1]} columns, expected {expected}")
        operation, columns_n, _, _ = self.setting
        if not len(columns_n) or operation.on_output:
            return None
        # the fused tensor was made for this call alone; one that is not fused may have other readers
        pre_TF = fused if self.gated else fused.clone()
        selected_Tn = pre_TF[..., columns_n]
        pre_TF[..., columns_n] = self._changed(Selected(self.setting, fused, self.gated, selected_Tn, selected_Tn))
        return None if self.gated else (pre_TF, *arguments[1:])

    def _after_activation(
        self,
        module: nn.Module,  # noqa: ARG002 - torch sets the signature of hooks
        arguments: tuple[Tensor, ...],
        output: Tensor,
    ) -> None:
        operation, columns_n, _, _ = self.setting
        if not len(columns_n) or not operation.on_output:
            return
        fused = arguments[0]
        selected = Selected(self.setting, fused, self.gated, fused[..., columns_n], output[..., columns_n])
        output[..., columns_n] = self._changed(selected)

    def _changed(self, selected: Selected) -> Tensor:
        """What replaces the selected neurons; counts those that change."""
        operation = selected.setting.operation
        if self.counting:
            self.clipped += int(operation.changes(selected).sum())
        return operation.replace(selected)


class ClampSet:
    """The clamps of all layers of one model, on this rank."""

    def __init__(self, layers: list[LayerClamp]):
        self._layers = layers

    def set(
        self,
        neurons: Mapping[int, Sequence[int]],
        clamp: Clamp,
        values: Mapping[int, Sequence[float]] = MappingProxyType({}),
    ) -> list[int]:
        """Select these neurons, {layer: global indices}, and no others; returns the number on this rank, per layer.

        values: {layer: one per neuron, in the order of `neurons`}. Raises IndexError for a layer that does not exist.
        """
        beyond = [layer for layer in neurons if not 0 <= layer < len(self._layers)]
        if beyond:
            raise IndexError(f"layer {beyond[0]} of {len(self._layers)}")
        return [layer.set(neurons.get(i, ()), clamp, values.get(i, ())) for i, layer in enumerate(self._layers)]

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
