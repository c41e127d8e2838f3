"""The score actor: one Transformers model, with forward hooks that feed the sketches.

Owns the model on its device(s) and the single pass over the scoring corpus: the ranges are calibrated once, on the
first windows; then every window updates the sketches of its layers, so memory does not grow with tokens, and the shards
of a corpus merge exactly. The hooks reduce at once and keep no reference to a tensor. A plain class that the pool turns
into a Ray actor. torch is imported in functions only, after the number of threads is set.

T kept tokens of one batch, F d_mlp, D d_model, B windows, W window length, C candidates of the examples.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from actors.hf_model import load_model
from actors.loaded_files import unchanged
from actors.messages.model import ModelSource
from actors.messages.scoring import (
    Examples,
    ExamplesRequest,
    Profiled,
    ProfileRequest,
    Shard,
    ShardRequest,
    Weights,
    WeightsRequest,
)
from actors.messages.stream import Opened, Progress
from actors.probe import reference
from actors.scoring.examples import concatenated, density_table, pair_table
from actors.scoring.token_pairs import CompletedPairs, completed_pairs, draw_pairs, rows_among_kept
from actors.sites import SITES
from actors.tokens import load_tokenizer, special_tokens_of, windows
from studies.errors import InterventionError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from actors.scoring.histograms import RangeCalibration, Ranges
    from actors.scoring.mapping_difficulty import MappingDifficultySketch
    from actors.scoring.sketches import PreActivationSketch


class LayerSketch(NamedTuple):
    """The sketches of one layer."""

    pre_activation: "PreActivationSketch"
    difficulty: "MappingDifficultySketch"


class ScoreActor:
    """One model; see the module. Methods that answer a request return iterators of messages."""

    def __init__(self, source: ModelSource):
        if source.threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(source.threads)
        import torch

        if source.threads is not None:
            torch.set_num_threads(source.threads)
        self._open(source)

    def reload(self, source: ModelSource) -> None:
        """Load another checkpoint; the old one is dropped first."""
        self.close()
        self._open(source)

    def _open(self, source: ModelSource) -> None:
        import torch

        self._source = source
        device_map = "auto" if source.tensor_parallel > 1 else "cuda" if torch.cuda.is_available() else None
        with unchanged(source):
            self._tokenizer = load_tokenizer(source)
            self._model: Any = load_model(source, device_map)  # Transformers' base class declares no forward
        site = SITES[source.family]
        layers = self._model.get_submodule(site.layers)
        self._projections: list[nn.Module] = [layer.get_submodule(site.projection) for layer in layers]
        if len(self._projections) != source.num_layers:
            raise InterventionError(
                f"{source.label}: the model has {len(self._projections)} layers, config.json says {source.num_layers}"
            )

    def opened(self) -> Opened:
        """That the model is loaded."""
        return Opened()

    def close(self) -> None:
        """Drop the model."""
        self._model = None
        self._projections = []

    # -- profile -----------------------------------------------------------------------------------------------------

    def profile(
        self, request: ProfileRequest, others: Sequence[Callable[[str, ShardRequest], Iterator[Progress | Shard]]] = ()
    ) -> Iterator[Progress | Profiled]:
        """Score every neuron on the request's corpus.

        others: other score actors of this model, each as a function ask("shard", request), that share the work.
        """
        started = time.monotonic()
        ids_BW = windows(request.texts, self._tokenizer, self._source.context, self._source.vocabulary)
        keep_BW = self._kept_tokens(ids_BW, request)
        total = len(ids_BW) + min(request.calibration_windows, len(ids_BW))
        calibrations = self._empty_calibrations()
        calibrated = 0
        for calibrated in self._calibrate(calibrations, ids_BW, keep_BW, request):
            yield Progress(step=request.step, done=calibrated, total=total, unit="windows")
        ranges = [calibration.ranges(request.num_bins) for calibration in calibrations]
        num_blocks = _num_blocks(ids_BW, request)
        every = min(1 + len(others), num_blocks)
        plain = tuple(_plain(asdict(layer)) for layer in ranges)
        shards = [
            ask("shard", ShardRequest(profile=request, ranges=plain, first_block=i, every=every))
            for i, ask in enumerate(others[: every - 1], 1)
        ]
        sketches = self._empty_sketches(ranges)
        for done in self._accumulate_blocks(sketches, ids_BW, keep_BW, request, range(0, num_blocks, every)):
            estimate = min(calibrated + done * every, total)  # assuming that the others are about as far
            yield Progress(step=request.step, done=estimate, total=total, unit="windows")
        for shard in shards:
            for message in shard:
                if isinstance(message, Shard):
                    _merge(sketches, message)
                else:  # progress of the other actor: a sign of life
                    yield Progress(step=request.step, done=total, total=total, unit="windows")
        yield Profiled(
            step=request.step,
            columns=neuron_columns(sketches),
            num_windows=len(ids_BW),
            num_tokens=int(keep_BW.sum()),
            num_pairs=sketches[0].difficulty.num_pairs,
            num_pairs_asked=num_blocks * request.pairs_per_block,
            num_pairs_dropped=sketches[0].difficulty.num_dropped,
            reference=reference(self._model, self._source, self._tokenizer),
            special_tokens=special_tokens_of(request.texts, self._tokenizer, self._source.family),
            seconds=time.monotonic() - started,
        )

    def shard(self, request: ShardRequest) -> Iterator[Progress | Shard]:
        """Sketch a part of a corpus, for the actor that asked."""
        from actors.scoring.histograms import Ranges

        profile = request.profile
        ids_BW = windows(profile.texts, self._tokenizer, self._source.context, self._source.vocabulary)
        keep_BW = self._kept_tokens(ids_BW, profile)
        sketches = self._empty_sketches([Ranges(**_tensors(layer)) for layer in request.ranges])
        blocks = range(request.first_block, _num_blocks(ids_BW, profile), request.every)
        for done in self._accumulate_blocks(sketches, ids_BW, keep_BW, profile, blocks):
            yield Progress(step=profile.step, done=done, total=len(ids_BW), unit="windows")
        states = ((_plain(sketch.pre_activation.state()), _plain(sketch.difficulty.state())) for sketch in sketches)
        yield Shard(layers=tuple(states))

    def _kept_tokens(self, ids_BW: np.ndarray, request: ProfileRequest | ExamplesRequest) -> np.ndarray:
        """[B, W] bool: the tokens that enter the statistics. Position 0 of a window is an attention sink."""
        keep_BW = np.ones(ids_BW.shape, dtype=bool)
        if request.skip_first:
            keep_BW[:, 0] = False
            keep_BW &= ~np.isin(ids_BW, self._tokenizer.all_special_ids)
        return keep_BW

    def _empty_calibrations(self) -> "list[RangeCalibration]":
        """One per layer."""
        from actors.scoring.histograms import RangeCalibration

        return [RangeCalibration(self._source.d_mlp, self._device(i)) for i in range(len(self._projections))]

    def _calibrate(
        self, calibrations: "list[RangeCalibration]", ids_BW: np.ndarray, keep_BW: np.ndarray, request: ProfileRequest
    ) -> Iterator[int]:
        """Calibrate on the first `calibration_windows` windows; yields the windows done after every batch."""
        count = min(request.calibration_windows, len(ids_BW))
        for first in range(0, count, request.batch_windows):
            batch = slice(first, min(first + request.batch_windows, count))
            self._forward(ids_BW[batch], keep_BW[batch], lambda layer, _, y_TF: calibrations[layer].update(y_TF))
            yield batch.stop

    def _empty_sketches(self, ranges: "Sequence[Ranges]") -> list[LayerSketch]:
        """One per layer, over calibrated ranges."""
        from actors.scoring.mapping_difficulty import MappingDifficultySketch
        from actors.scoring.sketches import PreActivationSketch

        devices = map(self._device, range(len(ranges)))
        return [
            LayerSketch(PreActivationSketch(layer, device), MappingDifficultySketch(layer, device))
            for layer, device in zip(ranges, devices, strict=True)
        ]

    def _accumulate_blocks(
        self,
        sketches: list[LayerSketch],
        ids_BW: np.ndarray,
        keep_BW: np.ndarray,
        request: ProfileRequest,
        blocks: range,
    ) -> Iterator[int]:
        """Add these blocks of the corpus to the sketches; yields the windows done after every batch."""
        before = 0
        for block in blocks:
            rows = slice(block * request.block_windows, (block + 1) * request.block_windows)
            for done in self._accumulate(sketches, ids_BW[rows], keep_BW[rows], request, block):
                yield before + done
            before += len(ids_BW[rows])

    def _accumulate(
        self, sketches: list[LayerSketch], ids_BW: np.ndarray, keep_BW: np.ndarray, request: ProfileRequest, block: int
    ) -> Iterator[int]:
        """Add one block of windows to the sketches; yields the windows done after every batch.

        block: its index in the whole corpus.
        """
        import torch

        pairs = draw_pairs(keep_BW, request.pairs_per_block, request.seed, block)
        held: dict[int, tuple[Tensor, Tensor]] = {}

        def add(completed: CompletedPairs, layer: int, x_TD: "Tensor", y_TF: "Tensor") -> None:
            sketches[layer].pre_activation.update(y_TF)
            rows, i_P, j_P, half_P, waiting = (torch.as_tensor(part, device=y_TF.device) for part in completed)
            before = held.get(layer, (x_TD[:0], y_TF[:0]))
            x_TD, y_TF = (torch.cat((old, new[rows])) for old, new in zip(before, (x_TD, y_TF), strict=True))
            sketches[layer].difficulty.update(x_TD, y_TF, i_P, j_P, half_P)
            held[layer] = x_TD[waiting], y_TF[waiting]

        batches = completed_pairs(pairs, keep_BW, request.batch_windows)
        for first, completed in zip(range(0, len(ids_BW), request.batch_windows), batches, strict=True):
            batch = slice(first, first + request.batch_windows)
            self._forward(ids_BW[batch], keep_BW[batch], partial(add, completed))
            yield min(batch.stop, len(ids_BW))

    # -- weights and examples ----------------------------------------------------------------------------------------

    def weights(self, request: WeightsRequest) -> Iterator[Weights]:
        """Compare every neuron's weights with an earlier checkpoint's, which is loaded on the CPU beside the model."""
        from actors.scoring.weight_change import cosine_dissimilarity

        started = time.monotonic()
        with unchanged(request.before):
            before = load_model(request.before)
        columns = cosine_dissimilarity(self._model, before, SITES[self._source.family])
        yield Weights(step=request.step, columns=columns, seconds=time.monotonic() - started)

    def examples(self, request: ExamplesRequest) -> Iterator[Progress | Examples]:
        """Densities of a few neurons, and the token pairs that they split."""
        import torch

        from actors.scoring.split_pairs import split_pairs

        started = time.monotonic()
        ids_BW = windows(request.texts, self._tokenizer, self._source.context, self._source.vocabulary)
        keep_BW = self._kept_tokens(ids_BW, request)
        eligible = np.flatnonzero(keep_BW)
        count = min(request.candidates, len(eligible))
        positions = np.sort(np.random.default_rng(request.seed).choice(eligible, count, replace=False))
        outputs: dict[int, list[Tensor]] = {layer: [] for layer in request.neurons}
        inputs: dict[int, list[Tensor]] = {layer: [] for layer in request.neurons}

        def add(rows: "Tensor", layer: int, x_TD: "Tensor", y_TF: "Tensor") -> None:
            if layer in request.neurons:
                outputs[layer].append(y_TF[:, list(request.neurons[layer])].float().cpu())
                inputs[layer].append(x_TD[rows.to(x_TD.device)].float().cpu())

        for first in range(0, len(ids_BW), request.batch_windows):
            batch = slice(first, first + request.batch_windows)
            rows = torch.as_tensor(rows_among_kept(positions, keep_BW, batch))
            self._forward(ids_BW[batch], keep_BW[batch], partial(add, rows))
            yield Progress(step=request.step, done=min(batch.stop, len(ids_BW)), total=len(ids_BW), unit="windows")
        candidates = np.searchsorted(eligible, positions)
        excerpts = partial(self._excerpts, ids_BW, positions, request.context_tokens)
        densities, pairs = [], []
        for layer, neurons in request.neurons.items():
            y_TF, x_CD = torch.cat(outputs[layer]), torch.cat(inputs[layer])
            for column, neuron in enumerate(neurons):
                y_T = y_TF[:, column]
                y_C = y_T[candidates]
                densities.append(density_table(layer, neuron, y_T.double().numpy(), request.num_bins))
                split = split_pairs(x_CD, y_C, request.pairs_per_neuron)
                pairs.append(pair_table(layer, neuron, split, y_C.numpy(), excerpts))
        yield Examples(
            step=request.step,
            densities=concatenated(densities),
            pairs=concatenated(pairs),
            num_tokens=len(eligible),
            seconds=time.monotonic() - started,
        )

    def _excerpts(
        self, ids_BW: np.ndarray, positions: np.ndarray, context_tokens: int, candidates: list[int]
    ) -> tuple[list[str], list[str]]:
        """(text before each candidate, text of each); positions: [C] flat positions of all candidates."""
        contexts, tokens = [], []
        for row, position in zip(*np.divmod(positions[candidates], ids_BW.shape[1]), strict=True):
            before = ids_BW[row, max(0, position - context_tokens) : position]
            contexts.append(self._tokenizer.decode(before.tolist()))
            tokens.append(self._tokenizer.decode([int(ids_BW[row, position])]))
        return contexts, tokens

    # -- the forward pass --------------------------------------------------------------------------------------------

    def _forward(
        self, ids_BW: np.ndarray, keep_BW: np.ndarray, receive: "Callable[[int, Tensor, Tensor], None]"
    ) -> None:
        """Run the decoder without its head.

        receive: called for every layer, in order, with (layer, x_TD, y_TF): the inputs and outputs of its projection at
        the kept tokens. Raises InterventionError unless every layer's hook fires exactly once.
        """
        import torch

        keep_T = torch.as_tensor(keep_BW.ravel())
        called: list[int] = []

        def reduce(layer: int, _: "nn.Module", arguments: "tuple[Tensor, ...]", output: "Tensor") -> None:
            x_TD = arguments[0].reshape(-1, arguments[0].shape[-1])
            y_TF = output.reshape(-1, output.shape[-1])
            called.append(layer)
            mask_T = keep_T.to(y_TF.device)
            receive(layer, x_TD[mask_T], y_TF[mask_T])

        handles = [
            projection.register_forward_hook(partial(reduce, layer))
            for layer, projection in enumerate(self._projections)
        ]
        try:
            with torch.inference_mode():
                self._model.base_model(torch.as_tensor(ids_BW).to(self._model.device), use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        if called != list(range(len(self._projections))):
            raise InterventionError(
                f"{self._source.label}: the hooks of layers {called} fired, expected each layer once"
            )

    def _device(self, layer: int) -> "torch.device":
        return next(self._projections[layer].parameters()).device


def _num_blocks(ids_BW: np.ndarray, request: ProfileRequest) -> int:
    """Blocks of the whole corpus; the last may be shorter."""
    return -(-len(ids_BW) // request.block_windows)


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state with its tensors as numpy arrays."""
    return {name: value.cpu().numpy() if hasattr(value, "numpy") else value for name, value in state.items()}


def _tensors(state: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `_plain`."""
    import torch

    return {name: torch.tensor(value) if isinstance(value, np.ndarray) else value for name, value in state.items()}


def _merge(sketches: list[LayerSketch], shard: Shard) -> None:
    """Add a shard to the sketches."""
    from actors.scoring.mapping_difficulty import MappingDifficultySketch
    from actors.scoring.sketches import PreActivationSketch

    for sketch, (pre_activation, difficulty) in zip(sketches, shard.layers, strict=True):
        sketch.pre_activation.merge(PreActivationSketch.from_state(_tensors(pre_activation)))
        sketch.difficulty.merge(MappingDifficultySketch.from_state(_tensors(difficulty)))


def neuron_columns(sketches: list[LayerSketch]) -> dict[str, np.ndarray]:
    """The neuron table, column by column, layers in order. The reliability of a layer stands in all of its rows."""
    import torch

    columns: dict[str, list[np.ndarray]] = {}
    for layer, sketch in enumerate(sketches):
        statistics = sketch.pre_activation.statistics()._asdict()
        num_neurons, reliability = len(statistics["mean"]), sketch.difficulty.reliability()
        statistics["mapping_difficulty"] = sketch.difficulty.mapping_difficulty()
        statistics["mapping_difficulty_reliability"] = torch.full((num_neurons,), reliability, dtype=torch.float64)
        columns.setdefault("layer", []).append(np.full(num_neurons, layer, dtype=np.int32))
        columns.setdefault("neuron", []).append(np.arange(num_neurons, dtype=np.int32))
        for name, values in statistics.items():
            columns.setdefault(name, []).append(values.cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in columns.items()}
