"""Neuron table -> neuron sets: top, bottom, random, explicit; per layer, exact counts, stated seeds.

Owns the rules that make a control comparable: count = round(fraction x width) in every layer, where 0 is an error; ties
go to the lower index; random sets are seeded and disjoint from a given set, such as the treated one. A neuron table has
one row per neuron, with the columns layer, neuron and scores. Pure pandas and numpy.
"""

import hashlib
import json
import numbers
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from studies.errors import StudyError, did_you_mean


@dataclass(frozen=True, slots=True)
class NeuronSet:
    """A set of (layer, neuron), sorted; the same neurons have the same digest whatever chose them."""

    indices: Mapping[int, tuple[int, ...]]
    """{layer: ascending neuron indices}; layers without neurons are left out."""

    @classmethod
    def of(cls, indices: Mapping[int, Iterable[int]]) -> "NeuronSet":
        """Sorted, without empty layers. Raises StudyError when a neuron is named twice."""
        clean = {}
        for layer, neurons in sorted(indices.items()):
            neurons = tuple(sorted(int(neuron) for neuron in neurons))
            for one, following in pairwise(neurons):
                if one == following:
                    raise StudyError(f"the neuron set names neuron {one} of layer {layer} twice")
            if neurons:
                clean[int(layer)] = neurons
        return cls(clean)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> "NeuronSet":
        """From a data frame with columns `layer` and `neuron`, whole numbers from 0 on, each column once.

        Raises StudyError for anything else.
        """
        for column in ("layer", "neuron"):
            if (count := list(frame.columns).count(column)) != 1:
                found = "is missing" if count == 0 else "is there twice"
                raise StudyError(f"a neuron set needs the columns layer and neuron; {column!r} {found}")
            for row, value in enumerate(frame[column], start=1):
                is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
                if not is_number or value % 1 != 0 or value < 0:
                    needed = f"the column {column} must hold whole numbers from 0 on"
                    raise StudyError(f"row {row}: {needed}; found {repr(value)[:60]}")
        return cls.of({layer: rows["neuron"].tolist() for layer, rows in frame.groupby("layer")})

    def to_frame(self) -> pd.DataFrame:
        """Data frame with columns `layer` and `neuron`, one row per neuron."""
        rows = [(layer, neuron) for layer, neurons in self.indices.items() for neuron in neurons]
        return pd.DataFrame(rows, columns=["layer", "neuron"], dtype=np.int32)

    @property
    def count(self) -> int:
        """Neurons in all layers."""
        return sum(map(len, self.indices.values()))

    @property
    def digest(self) -> str:
        """sha256 of the neurons."""
        text = json.dumps([[layer, list(neurons)] for layer, neurons in self.indices.items()])
        return hashlib.sha256(text.encode()).hexdigest()


EMPTY = NeuronSet({})


def top(neurons: pd.DataFrame, *, score: str, fraction: float, layers: Collection[int] | None = None) -> NeuronSet:
    """The `fraction` of every layer (of `layers`, if given) with the highest score; ties go to the lower index.

    Raises StudyError for a score or layer that the table does not have, a score that is not finite, or no neuron.
    """
    return NeuronSet.of(
        {layer: ranked[: _count(fraction, len(ranked), layer)] for layer, ranked in _ranked(neurons, score, layers, -1)}
    )


def bottom(neurons: pd.DataFrame, *, score: str, fraction: float, layers: Collection[int] | None = None) -> NeuronSet:
    """The `fraction` of every layer (of `layers`, if given) with the lowest score; ties go to the lower index.

    Raises StudyError as `top`.
    """
    return NeuronSet.of(
        {layer: ranked[: _count(fraction, len(ranked), layer)] for layer, ranked in _ranked(neurons, score, layers, 1)}
    )


def top_like(neurons: pd.DataFrame, *, score: str, counts: Mapping[int, int]) -> NeuronSet:
    """The `counts[layer]` neurons of each of these layers with the highest score; ties go to the lower index.

    Raises StudyError as `top`.
    """
    return NeuronSet.of({layer: ranked[: counts[layer]] for layer, ranked in _ranked(neurons, score, counts, -1)})


def above_percentile(
    neurons: pd.DataFrame, *, score: str, fraction: float, layers: Collection[int] | None = None
) -> NeuronSet:
    """The paper's rule: every neuron of a layer with score strictly above the layer's (1 - fraction) percentile.

    Raises StudyError as `top`, and where no neuron of a layer is above it.
    """
    chosen, percentile = {}, 100 * (1 - fraction)
    for layer, values in _scores(neurons, score, layers):
        chosen[layer] = np.flatnonzero(values > np.percentile(values, percentile))
        if not len(chosen[layer]):
            raise StudyError(
                f"no neuron of layer {layer} has a {score} above the layer's percentile {percentile:g}; "
                "`preset: strict` takes an exact count"
            )
    return NeuronSet.of(chosen)


def ascending(neurons: pd.DataFrame, *, score: str, without: NeuronSet) -> dict[int, tuple[int, ...]]:
    """{layer: neurons in ascending score}, those of `without` left out; only in its layers, in all if it is empty."""
    ranking = {}
    for layer, ranked in _ranked(neurons, score, without.indices or None, 1):
        left_out = set(without.indices.get(layer, ()))
        ranking[layer] = tuple(int(neuron) for neuron in ranked if neuron not in left_out)
    return ranking


def random_like(
    neurons: pd.DataFrame, *, counts: Mapping[int, int], seed: int, disjoint_from: NeuronSet = EMPTY
) -> NeuronSet:
    """`counts[layer]` neurons drawn uniformly without replacement; the draw of a layer depends on (seed, layer) only.

    Raises StudyError where a layer has too few neurons outside `disjoint_from`.
    """
    widths = neurons.groupby("layer").size()
    chosen = {}
    for layer, count in counts.items():
        eligible = np.setdiff1d(np.arange(widths[layer]), disjoint_from.indices.get(layer, ()))
        if count > len(eligible):
            raise StudyError(
                f"layer {layer} has {len(eligible)} neurons outside the set that a random set of {count} must not "
                "overlap; choose a smaller fraction"
            )
        chosen[layer] = np.random.default_rng([seed, layer]).choice(eligible, count, replace=False)
    return NeuronSet.of(chosen)


def counts_of(fraction: float, neurons: pd.DataFrame, layers: Collection[int] | None = None) -> dict[int, int]:
    """{layer: round(fraction x width)}. Raises StudyError where that is 0."""
    _check_layers(neurons, layers or ())
    widths = neurons.groupby("layer").size()
    return {layer: _count(fraction, width, layer) for layer, width in widths.items() if not layers or layer in layers}


def explicit(neuron_set: NeuronSet, neurons: pd.DataFrame, layers: Collection[int] | None = None) -> NeuronSet:
    """The set itself, restricted to `layers` if given, checked against the model's neuron table.

    Raises StudyError where it names a neuron or layer that the model does not have, and where it is empty.
    """
    widths = neurons.groupby("layer").size()
    _check_layers(neurons, neuron_set.indices)
    for layer, indices in neuron_set.indices.items():
        outside = [index for index in indices if not 0 <= index < widths[layer]]
        if outside:
            raise StudyError(f"layer {layer} has neurons 0 to {widths[layer] - 1}; found {outside[0]}")
    if layers is not None:
        _check_layers(neurons, layers)
        neuron_set = NeuronSet({layer: chosen for layer, chosen in neuron_set.indices.items() if layer in layers})
    if not neuron_set.count:
        raise StudyError("the neuron set is empty" + (f" in the layers {sorted(layers)}" if layers else ""))
    return neuron_set


def rows_of(neurons: pd.DataFrame, neuron_set: NeuronSet) -> pd.DataFrame:
    """The set's rows of the neuron table, in the set's order (layer, then neuron)."""
    return neuron_set.to_frame().merge(neurons, on=["layer", "neuron"], how="left", validate="one_to_one")


def _scores(neurons: pd.DataFrame, score: str, layers: Collection[int] | None) -> Iterator[tuple[int, np.ndarray]]:
    """(layer, scores by neuron index) of `layers`, or of all."""
    if score not in neurons.columns:
        raise StudyError(f"the neuron table has no column {score!r}{did_you_mean(score, neurons.columns)}")
    _check_layers(neurons, layers or ())
    for layer, rows in neurons.sort_values(["layer", "neuron"]).groupby("layer"):
        if layers is None or layer in layers:
            values = rows[score].to_numpy(dtype=np.float64)
            if not np.isfinite(values).all():
                broken = int((~np.isfinite(values)).sum())
                raise StudyError(
                    f"{score} is not finite for {broken} of the {len(values)} neurons of layer {layer}; "
                    "choose another score"
                )
            yield int(layer), values


def _check_layers(neurons: pd.DataFrame, layers: Iterable[int]) -> None:
    """Refuse a layer that the model does not have: an intervention there would be silently absent."""
    last = int(neurons["layer"].max())
    for layer in layers:
        if not 0 <= layer <= last:
            raise StudyError(f"there is no layer {layer}; layers are 0 to {last}")


def _ranked(
    neurons: pd.DataFrame, score: str, layers: Collection[int] | None, sign: int
) -> Iterator[tuple[int, np.ndarray]]:
    """(layer, neuron indices by score): ascending with sign 1, descending with -1."""
    for layer, values in _scores(neurons, score, layers):
        yield layer, np.argsort(sign * values, kind="stable")


def _count(fraction: float, width: int, layer: int) -> int:
    count = round(fraction * width)
    if count == 0:
        raise StudyError(
            f"a fraction of {fraction:g} of the {width} neurons of layer {layer} selects no neuron; choose a larger one"
        )
    return count
