"""Clamp buffers in front of the activation, and the counting that proves they acted.

Owns one floor and one ceiling per layer on the device, and the forward pre-hook that applies them to the pre-activation
before the model's OWN activation runs; settings can be kept and put back, which costs nothing. Pure torch over any
module tree. The invariant callers rely on: with no neuron set the hook does not touch the tensor at all, so the logits
are bit-identical to an unhooked model.

T packed tokens, F neurons of one layer on this rank.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

INFINITY = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one clamp does to a pre-activation: a' = min(max(a, floor), ceiling)."""

    floor: float = -INFINITY
    ceiling: float = INFINITY


class Setting(NamedTuple):
    """The buffers of one layer on this rank; never written after they were made."""

    columns: torch.Tensor
    """[n] int64 clamped columns of this rank."""
    floor_F: torch.Tensor
    ceiling_F: torch.Tensor


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
        floor_F = torch.full((self.num_neurons,), -INFINITY, device=device, dtype=dtype)
        nothing = torch.empty(0, dtype=torch.int64, device=device)
        self.setting = self._empty = Setting(nothing, floor_F, torch.full_like(floor_F, INFINITY))
        self._handle = activation.register_forward_pre_hook(self._hook)

    def set(self, neurons: list[int], bounds: Bounds) -> int:
        """Clamp exactly these GLOBAL neuron indices; returns how many of them live on this rank."""
        local = [j - self.first for j in neurons if self.first <= j < self.first + self.num_neurons]
        if not local:
            self.setting = self._empty
            return 0
        columns = torch.tensor(local, dtype=torch.int64, device=self._empty.columns.device)
        self.setting = Setting(columns, self._empty.floor_F.clone(), self._empty.ceiling_F.clone())
        self.setting.floor_F[columns] = bounds.floor
        self.setting.ceiling_F[columns] = bounds.ceiling
        return len(local)

    def digest(self) -> bytes:
        """Digest of the buffers as they stand on the device, read back."""
        both = torch.stack([self.setting.floor_F, self.setting.ceiling_F]).to("cpu", torch.float32)
        return hashlib.sha256(both.numpy().tobytes()).digest()

    def remove(self) -> None:
        self._handle.remove()

    def _hook(self, module: nn.Module, arguments: tuple) -> tuple | None:
        fused = arguments[0]
        self.calls += 1
        expected = self.num_neurons * (2 if self.gated else 1)
        if fused.shape[-1] != expected:
            raise ValueError(f"activation input has {fused.shape[-1]} columns, expected {expected}")
        columns, floor_F, ceiling_F = self.setting
        if not len(columns):
            return None
        pre_TF = fused[..., : self.num_neurons]
        if self.counting:
            chosen = pre_TF[..., columns]
            outside = (chosen < floor_F[columns]) | (chosen > ceiling_F[columns])
            self.clipped += int(outside.sum())
        clamped_TF = torch.clamp(pre_TF, min=floor_F, max=ceiling_F)
        if not self.gated:
            return (clamped_TF, *arguments[1:])
        pre_TF.copy_(clamped_TF)  # the fused tensor was made by the projection for this call alone
        return None


class ClampSet:
    """The clamps of all layers of one model (on this rank)."""

    def __init__(self, layers: list[LayerClamp]):
        self._layers = layers

    def set(self, neurons: Mapping[int, list[int]], bounds: Bounds) -> list[int]:
        """Clamp these neurons {layer: global indices} and nothing else; returns neurons on this rank per layer.

        Raises IndexError for a layer that is not there.
        """
        beyond = [layer for layer in neurons if not 0 <= layer < len(self._layers)]
        if beyond:
            raise IndexError(f"layer {beyond[0]} of {len(self._layers)}")
        return [clamp.set(list(neurons.get(i, ())), bounds) for i, clamp in enumerate(self._layers)]

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
        """([hook calls per layer], [clipped pre-activations per layer]) since `start_counting`."""
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
