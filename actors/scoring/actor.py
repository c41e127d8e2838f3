"""The score actor: one Transformers model and forward hooks that feed the sketches.

Owns the model on its device(s) and the one pass over the scoring corpus: ranges are calibrated once on the first
windows, then every window updates the per-layer sketches, so memory does not grow with tokens and shards of a corpus
merge exactly. The hooks reduce at once and keep no reference to a tensor. A plain class that the pool turns into a Ray
actor.

T tokens of one batch that enter the statistics, F d_mlp, D d_model, B windows of a batch, W window length.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from actors.hf_model import load_model
from actors.messages import (
    Examples,
    ExamplesRequest,
    ModelSource,
    Profiled,
    ProfileRequest,
    Progress,
    Shard,
    ShardRequest,
    Weights,
    WeightsRequest,
)
from actors.sites import SITES
from actors.tokens import load_tokenizer, windows
from studies.errors import InterventionError


class LayerSketch(NamedTuple):
    """What one layer's tokens are reduced to."""

    pre_activation: "PreActivationSketch"  # noqa: F821 - torch is imported inside the actor's process only
    difficulty: "MappingDifficultySketch"  # noqa: F821


class Pairs(NamedTuple):
    """Mapping-difficulty pairs of one block of windows."""

    positions: np.ndarray
    """[2P] sorted flat positions in the block whose vectors are kept."""
    i: np.ndarray
    """[P] index into `positions` of the pair's first token."""
    j: np.ndarray


class ScoreActor:
    """One model; see the module."""

    def __init__(self, model: ModelSource):
        if model.threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(model.threads)
        import torch

        if model.threads is not None:
            torch.set_num_threads(model.threads)
        self._open(model)

    def reload(self, model: ModelSource) -> None:
        """Hold another checkpoint from now on; the old one is dropped first."""
        self.close()
        self._open(model)

    def _open(self, model: ModelSource) -> None:
        import torch

        self._source = model
        self._tokenizer = load_tokenizer(model)
        several = "auto" if model.tensor_parallel > 1 else None
        self._model = load_model(model, several or ("cuda" if torch.cuda.is_available() else None))
        site = SITES[model.family]
        self._layers = self._model.get_submodule(site.layers)
        self._projections = [layer.get_submodule(site.projection) for layer in self._layers]
        if len(self._projections) != model.num_layers:
            raise InterventionError(
                f"{model.label}: {len(self._projections)} layers found, config.json says {model.num_layers}"
            )

    def profile(
        self, request: ProfileRequest, others: Sequence[Callable[[str, ShardRequest], Iterator[Progress | Shard]]] = ()
    ) -> Iterator[Progress | Profiled]:
        """Score every neuron on the request's corpus.

        others: ask("shard", request) of other score actors of this model, which take their part of the blocks.
        """
        started = time.monotonic()
        ids_BW = windows(request.texts, self._tokenizer, self._source.context)
        keep_BW = self.kept_tokens(ids_BW, request)
        total = len(ids_BW) + min(request.calibration_windows, len(ids_BW))
        calibrations = self.empty_calibrations()
        calibrated = 0
        for calibrated in self.calibrate(calibrations, ids_BW, keep_BW, request):
            yield Progress(step=request.step, done=calibrated, total=total, unit="windows")
        ranges = [calibration.ranges(request.num_bins) for calibration in calibrations]
        every = min(1 + len(others), -(-len(ids_BW) // request.block_windows))
        plain = tuple(_plain(asdict(one)) for one in ranges)
        shards = [
            ask("shard", ShardRequest(profile=request, ranges=plain, first_block=i, every=every))
            for i, ask in enumerate(others[: every - 1], 1)
        ]
        sketches = self.empty_sketches(ranges)
        for done in self._accumulate_blocks(sketches, ids_BW, keep_BW, request, 0, every):
            told = min(calibrated + done * every, total)  # the others are about as far
            yield Progress(step=request.step, done=told, total=total, unit="windows")
        for shard in shards:
            for message in shard:
                if isinstance(message, Shard):
                    _merge(sketches, message)
                else:  # a sign of life
                    yield Progress(step=request.step, done=total, total=total, unit="windows")
        yield Profiled(
            step=request.step,
            columns=neuron_columns(sketches),
            num_windows=len(ids_BW),
            num_tokens=int(keep_BW.sum()),
            num_pairs=sketches[0].difficulty.num_pairs,
            num_pairs_dropped=sketches[0].difficulty.num_dropped,
            seconds=time.monotonic() - started,
        )

    def shard(self, request: ShardRequest) -> Iterator[Progress | Shard]:
        """A part of a corpus, for the actor that asked."""
        from actors.scoring.sketches import Ranges

        profile = request.profile
        ids_BW = windows(profile.texts, self._tokenizer, self._source.context)
        keep_BW = self.kept_tokens(ids_BW, profile)
        sketches = self.empty_sketches([Ranges(**_tensors(one)) for one in request.ranges])
        blocks = (request.first_block, request.every)
        for done in self._accumulate_blocks(sketches, ids_BW, keep_BW, profile, *blocks):
            yield Progress(step=profile.step, done=done, total=len(ids_BW), unit="windows")
        yield Shard(layers=tuple((_plain(a.state()), _plain(b.state())) for a, b in sketches))

    def _accumulate_blocks(
        self,
        sketches: list[LayerSketch],
        ids_BW: np.ndarray,
        keep_BW: np.ndarray,
        request: ProfileRequest,
        first: int,
        every: int,
    ) -> Iterator[int]:
        """Add the blocks first, first + every ...; yields the windows done after every batch."""
        before = 0
        for block in range(first, -(-len(ids_BW) // request.block_windows), every):
            rows = slice(block * request.block_windows, (block + 1) * request.block_windows)
            for done in self.accumulate(sketches, ids_BW[rows], keep_BW[rows], request, block):
                yield before + done
            before += len(ids_BW[rows])

    def weights(self, request: WeightsRequest) -> Iterator[Weights]:
        """How far every neuron's weights are from an earlier checkpoint's, which is loaded beside, on the CPU."""
        from actors.scoring.weight_change import cosine_dissimilarity

        started = time.monotonic()
        before = load_model(request.before)
        columns = cosine_dissimilarity(self._model, before, SITES[self._source.family])
        yield Weights(step=request.step, columns=columns, seconds=time.monotonic() - started)

    def examples(self, request: ExamplesRequest) -> Iterator[Progress | Examples]:
        """Densities of a few neurons, and the token pairs that they pull apart."""
        import torch

        from actors.scoring.split_pairs import split_pairs

        started = time.monotonic()
        ids_BW = windows(request.texts, self._tokenizer, self._source.context)
        keep_BW = self.kept_tokens(ids_BW, request)
        eligible = np.flatnonzero(keep_BW)
        count = min(request.candidates, len(eligible))
        drawn = np.sort(np.random.default_rng(request.seed).choice(eligible, count, replace=False))
        outputs: dict[int, list] = {layer: [] for layer in request.neurons}
        inputs: dict[int, list] = {layer: [] for layer in request.neurons}
        for first in range(0, len(ids_BW), request.batch_windows):
            rows = slice(first, first + request.batch_windows)
            local = torch.as_tensor(_local_rows(drawn, keep_BW, rows))

            def add(layer: int, x_TD, y_TF, local=local) -> None:
                if layer in request.neurons:
                    outputs[layer].append(y_TF[:, list(request.neurons[layer])].float().cpu())
                    inputs[layer].append(x_TD[local.to(x_TD.device)].float().cpu())

            self._forward(ids_BW[rows], keep_BW[rows], add)
            done = min(rows.stop, len(ids_BW))
            yield Progress(step=request.step, done=done, total=len(ids_BW), unit="windows")
        where = np.searchsorted(eligible, drawn)
        densities, pairs = [], []
        for layer, neurons in request.neurons.items():
            y_TF, x_CD = torch.cat(outputs[layer]), torch.cat(inputs[layer])
            for column, neuron in enumerate(neurons):
                y_T = y_TF[:, column]
                densities.append(_density(layer, neuron, y_T.double().numpy(), request.num_bins))
                found = split_pairs(x_CD, y_T[where], request.pairs_per_neuron)
                pairs.append(self._told(layer, neuron, found, ids_BW, drawn, y_T[where].numpy(), request))
        yield Examples(
            step=request.step,
            densities=_joined(densities),
            pairs=_joined(pairs),
            num_tokens=len(eligible),
            seconds=time.monotonic() - started,
        )

    def _told(self, layer, neuron, found, ids_BW, drawn, y_C, request: ExamplesRequest) -> dict[str, np.ndarray]:
        """The pairs of one neuron with their tokens and the text in front of them."""
        columns = {
            "layer": np.full(len(found.i_P), layer, dtype=np.int32),
            "neuron": np.full(len(found.i_P), neuron, dtype=np.int32),
            "rank": np.arange(1, len(found.i_P) + 1, dtype=np.int32),
        }
        for side, places in (("i", found.i_P), ("j", found.j_P)):
            contexts, tokens = [], []
            for row, position in zip(*np.divmod(drawn[places], ids_BW.shape[1]), strict=True):
                before = ids_BW[row, max(0, position - request.context_tokens) : position]
                contexts.append(self._tokenizer.decode(before.tolist()))
                tokens.append(self._tokenizer.decode([int(ids_BW[row, position])]))
            columns |= {f"context_{side}": np.array(contexts, dtype=object)}
            columns |= {f"token_{side}": np.array(tokens, dtype=object), f"y_{side}": y_C[places]}
        distances = {name: getattr(found, f"{name}_P") for name in ("input_distance", "output_distance", "ratio")}
        return columns | {name: np.array(values, dtype=np.float64) for name, values in distances.items()}

    def kept_tokens(self, ids_BW: np.ndarray, request: ProfileRequest | ExamplesRequest) -> np.ndarray:
        """[B, W] bool: which tokens enter the statistics. Position 0 of a window is an attention sink."""
        keep_BW = np.ones(ids_BW.shape, dtype=bool)
        if request.skip_first:
            keep_BW[:, 0] = False
            keep_BW &= ~np.isin(ids_BW, self._tokenizer.all_special_ids)
        return keep_BW

    def empty_calibrations(self) -> list:
        """One `RangeCalibration` a layer."""
        from actors.scoring.sketches import RangeCalibration

        return [RangeCalibration(self._source.d_mlp, self._device(i)) for i in range(len(self._projections))]

    def calibrate(
        self, calibrations: list, ids_BW: np.ndarray, keep_BW: np.ndarray, request: ProfileRequest
    ) -> Iterator[int]:
        """Show the first `calibration_windows` windows to the calibrations; yields the windows done."""
        count = min(request.calibration_windows, len(ids_BW))
        for first in range(0, count, request.batch_windows):
            rows = slice(first, min(first + request.batch_windows, count))
            self._forward(ids_BW[rows], keep_BW[rows], lambda layer, x_TD, y_TF: calibrations[layer].update(y_TF))
            yield rows.stop

    def empty_sketches(self, ranges: list) -> list[LayerSketch]:
        """One `LayerSketch` a layer over calibrated ranges."""
        from actors.scoring.mapping_difficulty import MappingDifficultySketch
        from actors.scoring.sketches import PreActivationSketch

        return [
            LayerSketch(PreActivationSketch(range_, self._device(i)), MappingDifficultySketch(range_, self._device(i)))
            for i, range_ in enumerate(ranges)
        ]

    def accumulate(
        self, sketches: list[LayerSketch], ids_BW: np.ndarray, keep_BW: np.ndarray, request: ProfileRequest, block: int
    ) -> Iterator[int]:
        """Add one block of windows to the sketches; yields the windows done after every batch.

        `block` is the block's index in the whole corpus: the pairs depend on it, on the seed and on nothing else.
        """
        import torch

        pairs = draw_pairs(keep_BW, request, block)
        kept: list[list] = [[] for _ in sketches]
        for first in range(0, len(ids_BW), request.batch_windows):
            rows = slice(first, first + request.batch_windows)
            local = _local_rows(pairs.positions, keep_BW, rows)

            def add(layer: int, x_TD, y_TF, local=local) -> None:
                sketches[layer].pre_activation.update(y_TF)
                if len(local):
                    chosen = torch.as_tensor(local, device=y_TF.device)
                    kept[layer].append((x_TD[chosen].clone(), y_TF[chosen].clone()))

            self._forward(ids_BW[rows], keep_BW[rows], add)
            yield min(rows.stop, len(ids_BW))
        if len(pairs.i):
            i_P, j_P = torch.as_tensor(pairs.i), torch.as_tensor(pairs.j)
            for sketch, parts in zip(sketches, kept, strict=True):
                x_TD, y_TF = (torch.cat(vectors) for vectors in zip(*parts, strict=True))
                sketch.difficulty.update(x_TD, y_TF, i_P.to(y_TF.device), j_P.to(y_TF.device))

    def close(self) -> None:
        """Drop the model."""
        self._model = self._layers = self._projections = None

    def _forward(self, ids_BW: np.ndarray, keep_BW: np.ndarray, receive) -> None:
        """Run the decoder without its head and hand `receive(layer, x_TD, y_TF)` the kept tokens' vectors."""
        import torch

        keep_T = torch.as_tensor(keep_BW.ravel())
        called = []

        def hook(layer: int):
            def reduce(module, arguments, output) -> None:
                x_TD = arguments[0].reshape(-1, arguments[0].shape[-1])
                y_TF = output.reshape(-1, output.shape[-1])
                called.append(layer)
                mask_T = keep_T.to(y_TF.device)
                receive(layer, x_TD[mask_T], y_TF[mask_T])

            return reduce

        handles = [projection.register_forward_hook(hook(i)) for i, projection in enumerate(self._projections)]
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

    def _device(self, layer: int):
        return next(self._projections[layer].parameters()).device


def draw_pairs(keep_BW: np.ndarray, request: ProfileRequest, block: int) -> Pairs:
    """2P distinct kept tokens of the block, paired at random; fewer where the block has fewer tokens."""
    eligible = np.flatnonzero(keep_BW)
    num_pairs = min(request.pairs_per_block, len(eligible) // 2)
    if not num_pairs:
        return Pairs(*(np.empty(0, dtype=np.int64) for _ in range(3)))
    rng = np.random.default_rng([request.seed, block])
    drawn = rng.choice(eligible, 2 * num_pairs, replace=False)
    positions = np.sort(drawn)
    where = np.searchsorted(positions, drawn)
    return Pairs(positions=positions, i=where[:num_pairs], j=where[num_pairs:])


def _local_rows(positions: np.ndarray, keep_BW: np.ndarray, rows: slice) -> np.ndarray:
    """Indices, among the kept tokens of these windows, of the drawn positions that fall into them."""
    window = keep_BW.shape[1]
    first, stop = rows.start * window, min(rows.stop, len(keep_BW)) * window
    inside = positions[(positions >= first) & (positions < stop)] - first
    return (np.cumsum(keep_BW[rows].ravel()) - 1)[inside]


def _density(layer: int, neuron: int, y_T: np.ndarray, num_bins: int) -> dict[str, np.ndarray]:
    """A histogram of one neuron's outputs between their 0.01th and 99.99th percentiles; what is beyond counts at the
    ends."""
    low, high = np.percentile(y_T, (0.01, 99.99))
    edges = np.linspace(low, high, num_bins + 1) if high > low else np.linspace(low - 1, low + 1, num_bins + 1)
    counts, _ = np.histogram(y_T.clip(edges[0], edges[-1]), edges)
    same = {"layer": np.int32(layer), "neuron": np.int32(neuron), "mean": y_T.mean(), "std": y_T.std()}
    columns = {name: np.full(num_bins, value) for name, value in same.items()}
    return columns | {"low": edges[:-1], "high": edges[1:], "count": counts}


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors as numpy arrays."""
    return {name: value.cpu().numpy() if hasattr(value, "numpy") else value for name, value in state.items()}


def _tensors(state: Mapping[str, Any]) -> dict[str, Any]:
    """Back from `_plain`."""
    import torch

    return {name: torch.tensor(one) if isinstance(one, np.ndarray) else one for name, one in state.items()}


def _merge(sketches: list[LayerSketch], shard: Shard) -> None:
    """Add a shard to the sketches."""
    from actors.scoring.mapping_difficulty import MappingDifficultySketch
    from actors.scoring.sketches import PreActivationSketch

    for mine, (pre_activation, difficulty) in zip(sketches, shard.layers, strict=True):
        mine.pre_activation.merge(PreActivationSketch.from_state(_tensors(pre_activation)))
        mine.difficulty.merge(MappingDifficultySketch.from_state(_tensors(difficulty)))


def neuron_columns(sketches: list[LayerSketch]) -> dict[str, np.ndarray]:
    """The neuron table, column by column, layers in order."""
    columns: dict[str, list[np.ndarray]] = {}
    for layer, sketch in enumerate(sketches):
        statistics = sketch.pre_activation.statistics()._asdict()
        statistics["mapping_difficulty"] = sketch.difficulty.mapping_difficulty()
        num_neurons = len(statistics["mean"])
        columns.setdefault("layer", []).append(np.full(num_neurons, layer, dtype=np.int32))
        columns.setdefault("neuron", []).append(np.arange(num_neurons, dtype=np.int32))
        for name, values in statistics.items():
            columns.setdefault(name, []).append(values.cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in columns.items()}
