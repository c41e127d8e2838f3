"""What actors are asked: parts of a sweep joined, and nothing that a message does not carry."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from actors.messages.ablation import Part
from orchestrator.execution.in_flight import join_parts
from orchestrator.steps import match
from orchestrator.steps.evaluate import intervention, magnitude_shortfall, params
from orchestrator.steps.step import Step
from studies.benchmarks.minimal_pairs import PairBenchmark
from studies.errors import StudyError
from studies.neurons.clamps import Clamp
from studies.neurons.selection import NeuronSet
from tests.fakes import FakeContext
from tests.plans import BENCHMARKS, model

TABLE = pd.DataFrame(
    {
        "layer": [0, 0, 0, 1, 1, 1],
        "neuron": [0, 1, 2, 0, 1, 2],
        "mean": [0.5, -0.2, 0.0, -1.0, 0.1, 0.3],
        "negative_mean": [-0.1, -0.6, -0.3, -2.0, -0.4, 0.0],
        "negative_fraction": [0.2, 0.5, 0.5, 0.75, 0.5, 0.0],
        "matched_ceiling": [1.5, 0.0, 0.0, 0.0, 0.7, np.inf],
    }
)
CHOSEN = NeuronSet.of({1: [2, 0], 0: [1]})


def part(first: int, end: int, plan: str = "p", step: str = "s") -> Part:
    return Part(
        step=step, pack_plan=plan, first_pack=first, end_pack=end, edges=np.arange(first, end, dtype=np.float32)
    )


def test_parts_that_follow_each_other_become_one():
    joined = join_parts(join_parts(join_parts(None, part(0, 3)), part(3, 4)), part(4, 9))
    assert (joined.first_pack, joined.end_pack) == (0, 9)
    np.testing.assert_array_equal(joined.edges, np.arange(9))


def test_parts_with_margins_are_joined_edge_by_edge():
    parts = (
        Part(step="s", pack_plan="p", first_pack=first, end_pack=first + 1, edges=np.full((2, 3), first, np.float32))
        for first in (0, 1)
    )
    assert join_parts(next(parts), next(parts)).edges.tolist() == [[0, 0, 0, 1, 1, 1]] * 2


@pytest.mark.parametrize("after", [part(4, 6), part(3, 6, plan="other"), part(0, 2)], ids=["gap", "plan", "anew"])
def test_a_part_that_does_not_follow_stands_alone(after):
    assert join_parts(part(0, 3), after) is after


def test_a_clamp_carries_its_bounds_and_no_values():
    found = intervention(Clamp(floor=0.0), CHOSEN, None)
    assert (found.clamp, found.values) == (Clamp(floor=0.0), {}) and found.neurons == {0: (1,), 1: (0, 2)}
    assert intervention(Clamp("signflip"), CHOSEN, None).clamp == Clamp("signflip")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("negative_mean", {0: (-0.6,), 1: (-2.0, 0.0)}),
        ("magnitude_matched", {0: (0.0,), 1: (0.0, np.inf)}),
    ],
)
def test_values_come_from_the_neuron_table_in_the_order_of_the_neurons(kind, values):
    shuffled = TABLE.sample(frac=1, random_state=0)
    found = intervention(Clamp(kind), CHOSEN, shuffled)
    assert found.clamp.kind == kind and found.neurons == {0: (1,), 1: (0, 2)} and found.values == values


MATCHING = Step(
    id="s",
    kind=match.KIND,
    name="match",
    model="a",
    condition="",
    payload={"params": {}},
    inputs=dict.fromkeys(("profile", "treated", "baseline_perplexity", "treated_perplexity"), "s"),
)
NOT_ON_WINDOWS = FakeContext(benchmark=replace(BENCHMARKS[1], name="perplexity"), pack_size=64)


def clashing() -> PairBenchmark:
    """A benchmark whose identity parameters have the name of one of the step's."""
    kind = type("Clashing", (PairBenchmark,), {"identity_params": {"clamp": 1}})
    return kind(**{field: getattr(BENCHMARKS[1], field) for field in ("name", "label", "pairs")})


REFUSED: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    **{
        f"no table for {kind}": (
            lambda kind=kind: intervention(Clamp(kind), CHOSEN, None),
            ValueError,
            f"{kind} takes its values from the neuron table; none was given",
        )
        for kind in ("negative_mean", "magnitude_matched")
    },
    "no column": (
        lambda: intervention(Clamp("negative_mean"), CHOSEN, TABLE.rename(columns={"negative_mean": "negative_means"})),
        StudyError,
        "negative_mean needs the column 'negative_mean', which the neuron table does not have; did you mean "
        "'negative_means'?",
    ),
    "no number": (
        lambda: intervention(Clamp("negative_mean"), CHOSEN, TABLE.assign(negative_mean=np.nan)),
        StudyError,
        "negative_mean: negative_mean is not a number for 3 of 3 neurons",
    ),
    "a parameter of the step": (
        lambda: params(clashing(), digest="d", model=model().spec, clamp=None),
        ValueError,
        "embedded_pairs: its identity parameters must not be called clamp",
    ),
    "a perplexity that is not measured on windows": (
        lambda: match.KIND.request([MATCHING], NOT_ON_WINDOWS),
        StudyError,
        "perplexity is not scored on windows of a text, so nothing can be matched to it",
    ),
}


@pytest.mark.parametrize(("asked", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_asked_of_an_actor_is_refused(
    asked: Callable[[], object], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as error:
        asked()
    assert str(error.value) == message


def test_a_search_has_the_pack_size_of_its_perplexity_whatever_it_is_measured_on() -> None:
    assert match.KIND.pack_size(MATCHING, NOT_ON_WINDOWS) == 64


def test_the_shortfall_is_what_the_positive_half_cannot_give():
    # E[(-a)+] is 0.3, 1.5 and 0; E[a+] is 0.1, 0.5 and 0.3: short by 0.2 and 1.0 of 1.8
    assert magnitude_shortfall(TABLE, CHOSEN) == pytest.approx(1.2 / 1.8)
    assert magnitude_shortfall(TABLE, NeuronSet.of({0: [0], 1: [1]})) == 0.0
    assert magnitude_shortfall(TABLE, NeuronSet.of({1: [2]})) == 0.0
