"""Neuron sets: exact counts, ties by index, seeded and disjoint controls, and refusals instead of empty sets."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studies.errors import StudyError
from studies.neurons import selection
from studies.neurons.selection import EMPTY, NeuronSet

WIDTHS = (40, 40, 25)


def table(scores: Sequence[Sequence[float]] | None = None, widths: Sequence[int] = WIDTHS) -> pd.DataFrame:
    """A neuron table in a shuffled row order; `scores` per layer, else seeded ones without ties."""
    generator = np.random.default_rng(0)
    frames = [
        pd.DataFrame(
            {
                "layer": np.int32(layer),
                "neuron": np.arange(width, dtype=np.int32),
                "wasserstein_distance": scores[layer] if scores is not None else generator.permutation(width) / width,
                "mean": 0.5,
            }
        )
        for layer, width in enumerate(widths)
    ]
    return pd.concat(frames).sample(frac=1, random_state=1)


def scores_of(neurons: pd.DataFrame, layer: int) -> list[float]:
    """In the order of the neurons."""
    rows = neurons[neurons["layer"] == layer].sort_values("neuron")
    return rows["wasserstein_distance"].tolist()


def broken_in_layer_1(value: float) -> pd.DataFrame:
    """The table with this score for three neurons of layer 1."""
    neurons = table()
    neurons.loc[(neurons["layer"] == 1) & (neurons["neuron"] < 3), "wasserstein_distance"] = value
    return neurons


WD = {"score": "wasserstein_distance"}
RULES = (selection.top, selection.bottom, selection.above_percentile)


@settings(max_examples=40, deadline=None)
@given(scores=st.lists(st.integers(0, 5), min_size=3, max_size=30), fraction=st.floats(0.01, 0.99))
def test_top_and_bottom_are_exact_by_rank_with_ties_to_the_lower_index(scores: list[int], fraction: float) -> None:
    neurons = table([scores], widths=(len(scores),))
    count = round(fraction * len(scores))
    if count == 0:
        with pytest.raises(StudyError) as error:
            selection.top(neurons, **WD, fraction=fraction)
        assert str(error.value) == (
            f"a fraction of {fraction:g} of the {len(scores)} neurons of layer 0 selects no neuron; choose a larger one"
        )
        return
    order = sorted(range(len(scores)), key=lambda j: (-scores[j], j))
    assert selection.top(neurons, **WD, fraction=fraction).indices == {0: tuple(sorted(order[:count]))}
    order = sorted(range(len(scores)), key=lambda j: (scores[j], j))
    assert selection.bottom(neurons, **WD, fraction=fraction).indices == {0: tuple(sorted(order[:count]))}


def test_the_count_is_taken_in_every_layer() -> None:
    chosen = selection.top(table(), **WD, fraction=0.1)
    assert {layer: len(indices) for layer, indices in chosen.indices.items()} == {0: 4, 1: 4, 2: round(2.5)}
    assert chosen.count == 10
    assert selection.counts_of(0.1, table()) == {0: 4, 1: 4, 2: 2}


def test_as_many_top_neurons_as_another_set_has() -> None:
    neurons, counts = table(), {0: 4, 2: 2}
    assert selection.top_like(neurons, **WD, counts=counts) == selection.top(neurons, **WD, fraction=0.1, layers=[0, 2])
    tied = table([[3, 3, 1, 3]], (4,))
    assert selection.top_like(tied, **WD, counts={0: 2}).indices == {0: (0, 1)}


def test_layers_restrict_the_selection() -> None:
    chosen = selection.top(table(), **WD, fraction=0.1, layers=[2, 0])
    assert set(chosen.indices) == {0, 2}
    assert chosen.indices[2] == selection.top(table(), **WD, fraction=0.1).indices[2]
    assert set(selection.counts_of(0.1, table(), [1])) == {1}
    assert set(selection.counts_of(0.1, table(), None)) == {0, 1, 2}


# -- the paper's percentile rule -------------------------------------------------------------------------------------


def test_the_percentile_rule_is_strict() -> None:
    """0..9: the 80th percentile lies between 7 and 8; with ties at the threshold, fewer are above it."""
    assert selection.above_percentile(table([range(10)], (10,)), **WD, fraction=0.2).indices == {0: (8, 9)}
    tied = [0, 0, 0, 0, 0, 5, 5, 5, 5, 9]
    assert np.percentile(tied, 80) == 5
    assert selection.above_percentile(table([tied], (10,)), **WD, fraction=0.2).indices == {0: (9,)}
    assert selection.top(table([tied], (10,)), **WD, fraction=0.2).indices == {0: (5, 9)}


# -- scores ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_in_the_way_of_its_layer_alone(
    value: float, rule: Callable[..., NeuronSet]
) -> None:
    assert rule(broken_in_layer_1(value), **WD, fraction=0.1, layers=[0, 2]).count


def test_ascending_leaves_the_treated_out_and_keeps_to_their_layers() -> None:
    neurons = table()
    treated = NeuronSet.of({0: [3, 7], 2: [1]})
    ranking = selection.ascending(neurons, **WD, without=treated)
    assert set(ranking) == {0, 2} and len(ranking[0]) == 38 and len(ranking[2]) == 24
    for layer, ranked in ranking.items():
        scores = scores_of(neurons, layer)
        assert not set(ranked) & set(treated.indices[layer])
        assert [scores[j] for j in ranked] == sorted(scores[j] for j in ranked)
        assert all(type(j) is int for j in ranked)


# -- random controls -------------------------------------------------------------------------------------------------


def test_random_sets_are_seeded_exact_and_disjoint() -> None:
    neurons, treated = table(), selection.top(table(), **WD, fraction=0.2)
    counts = {layer: len(indices) for layer, indices in treated.indices.items()}
    control = selection.random_like(neurons, counts=counts, seed=1, disjoint_from=treated)
    assert {layer: len(indices) for layer, indices in control.indices.items()} == counts
    for layer, indices in control.indices.items():
        assert not set(indices) & set(treated.indices[layer]) and max(indices) < WIDTHS[layer] and min(indices) >= 0
    assert selection.random_like(neurons, counts=counts, seed=1, disjoint_from=treated) == control
    assert selection.random_like(neurons, counts=counts, seed=2, disjoint_from=treated) != control
    overlapping = [selection.random_like(neurons, counts=counts, seed=s) for s in range(20)]
    assert any(set(drawn.indices[0]) & set(treated.indices[0]) for drawn in overlapping), "disjoint only when asked"


def test_a_layers_draw_depends_on_seed_and_layer_only() -> None:
    neurons = table()
    both = selection.random_like(neurons, counts={0: 5, 1: 5}, seed=3)
    assert both.indices[1] == selection.random_like(neurons, counts={1: 5}, seed=3).indices[1]
    assert both.indices[0] != both.indices[1]


def test_a_golden_draw() -> None:
    """Random controls stand in users' records: another draw for the same seed needs a new version of `select`."""
    assert selection.random_like(table(), counts={0: 3, 2: 2}, seed=0).indices == {0: (20, 24, 32), 2: (2, 23)}


def test_random_sets_are_uniform() -> None:
    hits, neurons = np.zeros(25), table()
    for seed in range(400):
        hits[list(selection.random_like(neurons, counts={2: 5}, seed=seed).indices[2])] += 1
    assert hits.sum() == 2000 and hits.min() > 40 and hits.max() < 120  # mean 80, standard deviation 8


def test_a_disjoint_set_may_take_every_neuron_that_is_left() -> None:
    treated = selection.top(table(), **WD, fraction=0.6)
    assert selection.random_like(table(), counts={0: 16}, seed=0, disjoint_from=treated).count == 16


# -- explicit sets ---------------------------------------------------------------------------------------------------


def test_an_explicit_set_within_the_model_is_taken_as_it_is() -> None:
    wanted = NeuronSet.of({0: [0, 39], 2: [24]})
    assert selection.explicit(wanted, table()) is wanted


# -- sets, digests, frames -------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.integers(0, 5), st.sets(st.integers(0, 50)), max_size=4), st.randoms())
def test_the_digest_does_not_depend_on_how_the_set_was_made(indices: dict[int, Any], generator: random.Random) -> None:
    items = [(layer, list(neurons)) for layer, neurons in indices.items()]
    generator.shuffle(items)
    for _, neurons in items:
        generator.shuffle(neurons)
    neuron_set = NeuronSet.of(indices)
    other = NeuronSet.of({np.int64(layer): np.array(neurons, dtype=np.int64) for layer, neurons in items})
    assert (
        neuron_set == other
        and neuron_set.digest == other.digest
        and list(neuron_set.indices) == sorted(neuron_set.indices)
    )
    assert NeuronSet.from_frame(neuron_set.to_frame().sample(frac=1, random_state=0)) == neuron_set
    assert neuron_set.count == sum(map(len, indices.values())) == len(neuron_set.to_frame())


def test_different_sets_have_different_digests() -> None:
    sets = [EMPTY, NeuronSet.of({0: [1]}), NeuronSet.of({1: [1]}), NeuronSet.of({0: [1, 2]}), NeuronSet.of({0: [12]})]
    assert len({neurons.digest for neurons in sets}) == len(sets)
    assert sets[1].digest == "fba85011fe2bd552509e7afcb5f61dbe5c418b7e6fea40413e9ff7162973a464"


def test_frames_have_whole_numbers_and_survive_parquet_and_csv(tmp_path: Path) -> None:
    wanted = NeuronSet.of({0: [5, 1], 7: [2]})
    frame = wanted.to_frame()
    assert frame.to_dict("list") == {"layer": [0, 0, 7], "neuron": [1, 5, 2]} and set(frame.dtypes) == {
        np.dtype("int32")
    }
    frame.to_parquet(tmp_path / "set.parquet")
    frame.to_csv(tmp_path / "set.csv")
    assert NeuronSet.from_frame(pd.read_parquet(tmp_path / "set.parquet")) == wanted
    assert NeuronSet.from_frame(pd.read_csv(tmp_path / "set.csv")) == wanted
    assert NeuronSet.from_frame(pd.DataFrame({"layer": [0.0, 7.0, 0.0], "neuron": [5.0, 2.0, 1.0]})) == wanted
    assert NeuronSet.from_frame(EMPTY.to_frame()) == EMPTY


# -- messages --------------------------------------------------------------------------------------------------------


def set_of(**columns: list[Any]) -> NeuronSet:
    """Read from a frame with these columns."""
    return NeuronSet.from_frame(pd.DataFrame(columns, dtype=object))


BY_RULE: dict[str, tuple[Callable[[Callable[..., NeuronSet]], object], str]] = {
    "unknown score": (
        lambda rule: rule(table(), score="waserstein_distance", fraction=0.1),
        "the neuron table has no column 'waserstein_distance'; did you mean 'wasserstein_distance'?",
    ),
    **{
        f"a score of {value}": (
            lambda rule, value=value: rule(broken_in_layer_1(value), **WD, fraction=0.1),
            "wasserstein_distance is not finite for 3 of the 40 neurons of layer 1; choose another score",
        )
        for value in (np.nan, np.inf)
    },
    # left out, a layer that the model lacks would leave a smaller set, or none: the baseline under another name
    **{
        f"layers {layers}": (
            lambda rule, layers=layers: rule(table(), **WD, fraction=0.1, layers=layers),
            f"there is no layer {layers[-1]}; layers are 0 to 2",
        )
        for layers in ([3], [0, 99], [-1])
    },
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("select", "message"), BY_RULE.values(), ids=BY_RULE)
def test_what_every_rule_refuses(
    select: Callable[[Callable[..., NeuronSet]], object], message: str, rule: Callable[..., NeuronSet]
) -> None:
    with pytest.raises(StudyError) as error:
        select(rule)
    assert str(error.value) == message


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "top of no neuron": (
        lambda: selection.top(table(), **WD, fraction=0.01),
        "a fraction of 0.01 of the 40 neurons of layer 0 selects no neuron; choose a larger one",
    ),
    "bottom of no neuron": (
        lambda: selection.bottom(table(), **WD, fraction=0.01),
        "a fraction of 0.01 of the 40 neurons of layer 0 selects no neuron; choose a larger one",
    ),
    "counts of no neuron": (
        lambda: selection.counts_of(0.0199, table()),
        "a fraction of 0.0199 of the 25 neurons of layer 2 selects no neuron; choose a larger one",
    ),
    **{
        f"counts in layers {layers}": (
            lambda layers=layers: selection.counts_of(0.1, table(), layers),
            f"there is no layer {layers[-1]}; layers are 0 to 2",
        )
        for layers in ([3], [0, 99], [-1])
    },
    "equal scores": (
        lambda: selection.above_percentile(table([[1.0] * 10], (10,)), **WD, fraction=0.01),
        "no neuron of layer 0 has a wasserstein_distance above the layer's percentile 99; "
        "`preset: strict` takes an exact count",
    ),
    "too few for a disjoint set": (
        lambda: selection.random_like(
            table(), counts={0: 24}, seed=0, disjoint_from=selection.top(table(), **WD, fraction=0.6)
        ),
        "layer 0 has 16 neurons outside the set that a random set of 24 must not overlap; choose a smaller fraction",
    ),
    "layer above": (
        lambda: selection.explicit(NeuronSet.of({3: [0]}), table()),
        "there is no layer 3; layers are 0 to 2",
    ),
    "layer below": (
        lambda: selection.explicit(NeuronSet.of({-1: [0]}), table()),
        "there is no layer -1; layers are 0 to 2",
    ),
    "restricted to another layer": (
        lambda: selection.explicit(NeuronSet.of({1: [0]}), table(), [0, 3]),
        "there is no layer 3; layers are 0 to 2",
    ),
    "neuron above": (
        lambda: selection.explicit(NeuronSet.of({2: [3, 25]}), table()),
        "layer 2 has neurons 0 to 24; found 25",
    ),
    "neuron below": (
        lambda: selection.explicit(NeuronSet.of({0: [-2, 5]}), table()),
        "layer 0 has neurons 0 to 39; found -2",
    ),
    "no neuron": (lambda: selection.explicit(NeuronSet.of({}), table()), "the neuron set is empty"),
    "no neuron of a layer": (lambda: selection.explicit(NeuronSet.of({0: []}), table()), "the neuron set is empty"),
    "no neuron of the layers": (
        lambda: selection.explicit(NeuronSet.of({1: [0]}), table(), [2, 0]),
        "the neuron set is empty in the layers [0, 2]",
    ),
    "named twice": (lambda: NeuronSet.of({4: [1, 2, 1]}), "the neuron set names neuron 1 of layer 4 twice"),
    # a NaN in `layer` would otherwise drop the row silently, and 1.5 would become 1
    **{
        f"{column} {value!r}": (
            lambda column=column, value=value: set_of(**{"layer": [0, 1], "neuron": [3, 4], column: [0, value]}),
            f"row 2: the column {column} must hold whole numbers from 0 on; found {value!r}",
        )
        for column in ("layer", "neuron")
        for value in (1.5, np.nan, np.inf, "1", None, True, -1)
    },
    "a column twice": (
        lambda: NeuronSet.from_frame(pd.DataFrame([[0, 1, 2]], columns=["layer", "neuron", "layer"])),
        "a neuron set needs the columns layer and neuron; 'layer' is there twice",
    ),
    "no neurons": (
        lambda: set_of(layer=[1]),
        "a neuron set needs the columns layer and neuron; 'neuron' is missing",
    ),
    "no layers": (lambda: set_of(neuron=[1]), "a neuron set needs the columns layer and neuron; 'layer' is missing"),
    "neither": (lambda: set_of(x=[1]), "a neuron set needs the columns layer and neuron; 'layer' is missing"),
}


@pytest.mark.parametrize(("select", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(select: Callable[[], object], message: str) -> None:
    with pytest.raises(StudyError) as error:
        select()
    assert str(error.value) == message
