"""What actors are asked: parts of a sweep joined, and nothing that a message does not carry."""

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
    with pytest.raises(ValueError, match=f"^{kind} takes its values from the neuron table$"):
        intervention(Clamp(kind), CHOSEN, None)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            TABLE.rename(columns={"negative_mean": "negative_means"}),
            "negative_mean needs the column 'negative_mean', which the neuron table does not have; did you mean "
            "'negative_means'?",
        ),
        (TABLE.assign(negative_mean=np.nan), "negative_mean: negative_mean is not a number for 3 of 3 neurons"),
    ],
)
def test_bad_values_are_refused(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(StudyError) as error:
        intervention(Clamp("negative_mean"), CHOSEN, table)
    assert str(error.value) == message


def test_identity_parameters_must_not_replace_those_of_the_step() -> None:
    benchmark = replace(BENCHMARKS[1])
    clashing = type("Clashing", (PairBenchmark,), {"identity_params": {"clamp": 1}})(
        **{field: getattr(benchmark, field) for field in ("name", "label", "pairs")}
    )
    with pytest.raises(ValueError, match="embedded_pairs: its identity parameters must not be called clamp"):
        params(clashing, digest="d", model=model().spec, clamp=None)


def test_nothing_is_matched_to_a_perplexity_that_is_not_measured_on_windows() -> None:
    inputs = {role: "s" for role in ("profile", "treated", "baseline_perplexity", "treated_perplexity")}
    step = Step(id="s", kind=match.KIND, name="match", model="a", condition="", payload={"params": {}}, inputs=inputs)
    context = FakeContext(benchmark=replace(BENCHMARKS[1], name="perplexity"), pack_size=64)
    with pytest.raises(StudyError, match="not scored on windows"):
        match.KIND.request([step], context)
    assert match.KIND.pack_size(step, context) == 64


def test_the_shortfall_is_what_the_positive_half_cannot_give():
    # E[(-a)+] is 0.3, 1.5 and 0; E[a+] is 0.1, 0.5 and 0.3: short by 0.2 and 1.0 of 1.8
    assert magnitude_shortfall(TABLE, CHOSEN) == pytest.approx(1.2 / 1.8)
    assert magnitude_shortfall(TABLE, NeuronSet.of({0: [0], 1: [1]})) == 0.0
    assert magnitude_shortfall(TABLE, NeuronSet.of({1: [2]})) == 0.0
