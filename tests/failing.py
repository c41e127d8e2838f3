"""Ablation actors that fail in chosen ways, named in `pool.ACTOR_CLASSES` by tests of survival."""

import dataclasses
import os

import torch

from actors.ablation.actor import AblationActor
from actors.ablation.token_tree import pack_from_wire
from actors.ablation.vllm_worker import LogitsPass

SMALL_DEVICE_NODES = 64
"""The packs that fit where memory is short."""


class SmallDevice(AblationActor):
    """Its device holds packs of `SMALL_DEVICE_NODES` at most; with larger ones the allocator itself complains."""

    def __init__(self, model):
        super().__init__(dataclasses.replace(model, engine={"worker_extension_cls": "tests.failing.SmallWorker"}))


class SmallWorker(LogitsPass):
    """Runs out of memory in a pack of more than `SMALL_DEVICE_NODES`."""

    def halfwave_sweep(self, wire, walk, margins):
        if len(pack_from_wire(wire).ids) > SMALL_DEVICE_NODES:
            torch.empty(2**50)
        return super().halfwave_sweep(wire, walk, margins)


class IllRank(AblationActor):
    """Its engine's second rank raises in the middle of a sweep, while the first waits for it."""

    def __init__(self, model):
        super().__init__(dataclasses.replace(model, engine={"worker_extension_cls": "tests.failing.IllWorker"}))


class IllWorker(LogitsPass):
    """The second of its sweep's packs breaks rank 1 inside a layer, between two all-reduces."""

    def halfwave_sweep(self, wire, walk, margins):
        self._halfwave_packs = getattr(self, "_halfwave_packs", 0) + 1
        if self.rank == 1 and self._halfwave_packs == 2:
            self.get_model().get_submodule("model.layers.1.mlp").register_forward_pre_hook(_break)
        return super().halfwave_sweep(wire, walk, margins)


def _break(module, arguments):
    raise ValueError("rank one is ill")


class Forgetful(AblationActor):
    """Its engine has no code for a field of config.json: it loads the folder `<path>-without-it` where there is one."""

    def __init__(self, model):
        without = f"{model.path}-without-it"
        super().__init__(dataclasses.replace(model, path=without, files={}) if os.path.isdir(without) else model)
