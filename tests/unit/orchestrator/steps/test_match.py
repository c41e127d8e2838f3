"""The search for a matched control: what is asked, what is stored word for word, and what it leaves without work."""

import math
from typing import Any

import pandas as pd
import pytest

from actors.messages.ablation import Intervention, Matched
from orchestrator.steps import match
from studies.neurons.clamps import MAGNITUDE_MATCHED
from studies.neurons.match_windows import MatchWindows
from studies.neurons.neighbour import Neighbour
from studies.neurons.selection import NeuronSet
from tests.fakes import FakeContext, losses
from tests.plans import BENCHMARKS, plan
from tests.unit.orchestrator.steps.test_result import RECEIPT, RECEIPT_JSON, made, texts


def searched(matched: bool = True, **fields: Any) -> Matched:
    """The outcome of a search on windows 2 and 3, with a neighbour where it found a match."""
    measured = [
        losses("baseline", "search", 0.0, 0.0, 0.0),
        losses("treated", "search", 0.25, math.log(2), math.log(2)),
        losses("try", "search", 0.5, math.log(2), math.log(2)),
    ]
    on_evidence = [
        losses("accepted", "evidence", 0.5, math.log(4), math.log(4)),
        losses("neighbour", "evidence", 0.25, 0.0, 0.0),
    ]
    values = {
        "step": "s",
        "matched": matched,
        "reason": "" if matched else "too far",
        "fraction": 0.5 if matched else math.nan,
        "neurons": {0: (3,)} if matched else {},
        "curve": ((0.25, 10.0), (0.5, 12.0)),
        "windows": MatchWindows(range(2, 4), range(2), True),
        "losses": (*measured, *on_evidence) if matched else tuple(measured),
        "neighbour": Neighbour(0.25, "") if matched else Neighbour(None, "not needed: no fraction was accepted"),
        "neighbour_neurons": {0: (1,)} if matched else {},
        "receipt": RECEIPT if matched else None,
        "seconds": 2.0,
    }
    return Matched(**values | fields)


@pytest.mark.parametrize("matched", [True, False])
def test_a_search_as_it_is_stored(matched: bool) -> None:
    answer = searched(matched)
    result = match.KIND.result(made(match.KIND), answer, FakeContext())
    failure = "" if matched else "the control cannot be matched: too far"
    assert match.KIND.why_barren(result.documents.__getitem__) == ({"": failure} if failure else {})
    reason, fraction, receipt = ("", "0.5", RECEIPT_JSON) if matched else ("too far", "null", "null")
    digests = [NeuronSet.of(neurons).digest for neurons in (answer.neurons, answer.neighbour_neurons)]
    levels = '"accepted": 4.0, "neighbour": 1.0' if matched else '"accepted": null, "neighbour": null'
    neighbour = '"fraction": 0.25, "why": ""' if matched else f'"fraction": null, "why": "{answer.neighbour.why}"'
    assert texts(result) == {
        "match.json": (
            f'{{"matched": {str(matched).lower()}, "reason": "{reason}", "fraction": {fraction}, '
            f'"curve": [[0.25, 10.0], [0.5, 12.0]], "neuron_set": "{digests[0]}", '
            '"search": {"first": 2, "stop": 4, "step": 1, "disjoint": true, "baseline": 1.0, "treated": 2.0}, '
            f'"evidence": {{"first": 0, "stop": 2, "step": 1, "baseline": null, "treated": null, {levels}}}, '
            f'"neighbour": {{{neighbour}, "neuron_set": "{digests[1]}"}}, '
            f'"receipt": {receipt}, "seconds": 2.0}}'
        )
    }
    fractions = {"matching/fraction": 0.5, "matching/neighbour_fraction": 0.25}
    assert result.metrics == {"matching/evaluations": 2.0} | (fractions if matched else {})
    assert result.tags == ({"matching.outcome": failure} if failure else {})
    assert result.series == {
        "matching/search_fraction": {1: 0.25, 2: 0.5},
        "matching/search_perplexity": {1: 10.0, 2: 12.0},
    }
    assert {path: list(table) for path, table in result.frames.items()} == {
        "neuron_set.parquet": ["layer", "neuron"],
        "neighbour_set.parquet": ["layer", "neuron"],
        "matching_curve.parquet": ["fraction", "perplexity"],
        "matching_losses.parquet": ["role", "fraction", "windows", "window", "nll", "num_tokens"],
    }


def test_every_window_of_every_measurement_is_stored() -> None:
    frames = match.KIND.result(made(match.KIND), searched(), FakeContext()).frames
    table = frames["matching_losses.parquet"]
    assert table[["fraction", "window", "nll", "num_tokens"]].dtypes.map(str).tolist() == [
        "float64",
        "int64",
        "float64",
        "int64",
    ]
    assert table[table["windows"] == "search"]["window"].tolist() == [2, 3] * 3
    assert table[table["windows"] == "evidence"]["window"].tolist() == [0, 1] * 2
    rows = table.groupby(["role", "windows", "fraction"], sort=False)["nll"].mean().to_dict()
    assert rows["baseline", "search", 0.0] == 0.0 and rows["accepted", "evidence", 0.5] == math.log(4)
    assert frames["neighbour_set.parquet"].values.tolist() == [[0, 1]]


def test_a_search_without_a_neighbour_leaves_its_evaluations_without_work() -> None:
    answer = searched(neighbour=Neighbour(None, "not needed: near"), neighbour_neurons={})
    result = match.KIND.result(made(match.KIND), answer, FakeContext())
    why = {"neighbour": "the matched control has no neighbour: not needed: near"}
    assert match.KIND.why_barren(result.documents.__getitem__) == why
    assert result.frames["neighbour_set.parquet"].empty and "matching/neighbour_fraction" not in result.metrics


def test_searches_of_version_3_are_read() -> None:
    old = {"matched": True, "reason": "", "fraction": 0.5, "curve": [[0.5, 12.0]], "neuron_set": "d"}
    assert match.why_unmatched(old) == "" and "did not look for one" in match.why_no_neighbour(old)


def test_the_treated_condition_goes_along_with_a_search_with_the_values_of_its_neurons() -> None:
    table = pd.DataFrame({"layer": [0] * 4, "neuron": range(4), "wasserstein_distance": [0.0, 0.1, 0.2, 0.3]})
    table["matched_ceiling"] = [1.0, 2.0, 3.0, 4.0]
    (condition,) = [one for one in plan().conditions["a"] if one.spec.match]
    params = match.params(condition.spec, condition.spec.match, treated=MAGNITUDE_MATCHED, with_neighbour=True)
    inputs = {"profile": "p", "treated": "t", "baseline_perplexity": "b", "treated_perplexity": "tp"}
    step = made(match.KIND, payload={"params": params}, inputs=inputs)
    items = {
        step: pd.DataFrame({"window": [0, 1], "nll": [level, level + 1], "num_tokens": 7})
        for step, level in (("b", 2.0), ("tp", 3.0))
    }
    tables = {"p": table, **items}
    context = FakeContext(benchmark=BENCHMARKS[0], tables=tables, neuron_sets={"t": NeuronSet.of({0: [1]})})
    message = match.KIND.request([step], context).message
    assert message.treated == Intervention(clamp=MAGNITUDE_MATCHED, neurons={0: (1,)}, values={0: (2.0,)})
    assert message.treated_fraction == 0.25 and message.neighbour_beyond == 0.02
    recorded = [(one.role, one.fraction, one.windows, one.numbers, one.nll.tolist()) for one in message.evidence]
    assert recorded == [
        ("baseline", 0.0, "evidence", (0, 1), [2.0, 3.0]),
        ("treated", 0.25, "evidence", (0, 1), [3.0, 4.0]),
    ]
    assert message.texts == BENCHMARKS[0].request and message.ranking == {0: (0, 2, 3)}
