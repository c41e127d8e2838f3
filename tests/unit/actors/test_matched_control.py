"""The search for a matched control on a model that is a formula: windows, roles, and what the evidence decides."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

from actors.matched_control import matched_control
from actors.messages.ablation import Intervention, Matched, MatchRequest, Receipt, WindowLosses
from actors.messages.model import ModelSource
from actors.messages.stream import Progress, StepFailed
from studies.benchmarks.texts import Windows
from studies.neurons.clamps import Clamp
from tests.unit.actors.ablation.fake_engine import source

D_MLP, NUM_TOKENS = 100, 63
NEGATIVE = Clamp(floor=0.0)
TEXTS = Windows(text="", window=64, stride=64, num_tokens=8 * 64)
NUM_WITHOUT_LIMIT = 8
TREATED = Intervention(clamp=NEGATIVE, neurons={0: (99,), 1: (99,)})


class FakeModel:
    """Every window's loss is 2, plus the rise under an intervention, times a factor of the window's own."""

    def __init__(self, num_windows: int, factor: Callable[[int], float] = lambda window: 1.0) -> None:
        self.source: ModelSource = source(d_mlp=D_MLP, num_layers=2)
        self.total, self.factor, self.applied = num_windows, factor, list[Intervention]()

    def num_windows(self, texts: Windows) -> int:
        return min(self.total, texts.num_tokens // texts.window if texts.num_tokens else self.total)

    def plan(self, benchmark: str, texts: Windows, max_nodes: int | None) -> range:
        assert max_nodes == 512 and benchmark == "perplexity"
        return range(self.num_windows(texts)) if texts.only is None else texts.only

    def losses(self, intervention: Intervention, plan: Any) -> tuple[np.ndarray, np.ndarray, Receipt]:
        self.applied.append(intervention)
        per_layer = intervention.num_neurons / 2
        rise = 0.2 if intervention == TREATED else 0.5 * per_layer / D_MLP
        if rise > 0.49:
            raise FloatingPointError("3 of 9 log-probabilities are not finite")
        counts = np.full(len(plan), NUM_TOKENS)
        receipt = Receipt(
            layers_matched=2, neurons_per_layer=(int(per_layer),) * 2, digest="d", probe_tokens=9, clipped_fraction=0.5
        )
        factors = np.array([self.factor(i) if intervention != TREATED else 1.0 for i in plan])
        return -counts * (2.0 + factors * rise), counts, receipt


def recorded(role: Literal["baseline", "treated"], fraction: float, loss: float, num: int = 8) -> WindowLosses:
    """What an evaluation found on the windows of the evidence."""
    return WindowLosses(
        role=role,
        fraction=fraction,
        windows="evidence",
        numbers=tuple(range(num)),
        nll=np.full(num, loss),
        num_tokens=np.full(num, NUM_TOKENS),
    )


def request(**fields: Any) -> MatchRequest:
    texts = fields.get("texts", TEXTS)
    num = texts.num_tokens // texts.window if texts.num_tokens else NUM_WITHOUT_LIMIT
    values: dict[str, Any] = {
        "step": "m",
        "benchmark": "perplexity",
        "texts": TEXTS,
        "evidence": (recorded("baseline", 0.0, 2.0, num), recorded("treated", 0.01, 2.2, num)),
        "ranking": {layer: tuple(range(98)) for layer in range(2)},
        "clamp": NEGATIVE,
        "treated": TREATED,
        "treated_fraction": 0.01,
        "within": 0.01,
        "within_rise": 0.05,
        "max_evaluations": 12,
        "neighbour_beyond": 0.02,
        "max_nodes": 512,
    }
    return MatchRequest(**values | fields)


def search(model: FakeModel, **fields: Any) -> Matched:
    messages = list(matched_control(model, request(**fields)))
    *progress, answer = messages
    assert isinstance(answer, Matched) and all(isinstance(one, Progress) for one in progress)
    num_recorded = 2 if answer.matched else 0
    assert len(progress) == len(answer.losses) - num_recorded == len(model.applied)
    return answer


def rows(answer: Matched) -> list[tuple[str, str]]:
    return [(one.role, one.windows) for one in answer.losses]


def test_the_search_measures_on_its_own_windows_and_the_accepted_point_on_the_evidence() -> None:
    model = FakeModel(30)
    answer = search(model)
    assert answer.matched and abs(answer.fraction - 0.4) < 0.02
    assert answer.windows == (range(8, 16), range(8), True)
    tries = [("try", "search")] * len(answer.curve)
    levels = [[("baseline", part), ("treated", part)] for part in ("search", "evidence")]
    assert rows(answer)[: len(tries) + 5] == [*levels[0], *tries, *levels[1], ("accepted", "evidence")]
    for one in answer.losses:
        assert one.numbers == tuple(range(8, 16) if one.windows == "search" else range(8))
        assert len(one.nll) == 8 and one.num_tokens.tolist() == [NUM_TOKENS] * 8
    assert [one.fraction for one in answer.losses if one.windows == "search"][:2] == [0.0, 0.01]
    for (fraction, level), one in zip(answer.curve, answer.losses[2:], strict=False):
        assert one.fraction == fraction and level == pytest.approx(math.exp(one.nll.mean()))
    assert answer.receipt is not None
    assert answer.receipt.neurons_per_layer == (round(100 * answer.fraction),) * 2, "of the accepted point"
    assert {len(neurons) for neurons in answer.neurons.values()} == {round(100 * answer.fraction)}


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_evidence_that_disagrees_with_the_search_gets_a_neighbour_on_the_other_side(factor: float) -> None:
    answer = search(FakeModel(16, lambda window: factor if window < 8 else 1.0))
    fraction = answer.neighbour.fraction
    assert fraction is not None and (fraction > answer.fraction) == (factor < 1)
    assert rows(answer)[-1] == ("neighbour", "evidence") and answer.losses[-1].fraction == fraction
    levels = {one.role: one.nll.mean() for one in answer.losses if one.windows == "evidence"}
    assert (levels["accepted"] - levels["treated"]) * (levels["neighbour"] - levels["treated"]) < 0
    assert {len(neurons) for neurons in answer.neighbour_neurons.values()} == {round(100 * fraction)}
    assert answer.neighbour_neurons[0][: len(answer.neurons[0])] == answer.neurons[0] or factor > 1


def test_evidence_that_agrees_needs_none() -> None:
    answer = search(FakeModel(16), within_rise=0.015)
    assert answer.neighbour == (None, "not needed: within 2 % of the rise") and not answer.neighbour_neurons
    assert rows(answer)[-1] == ("accepted", "evidence")


def test_a_control_whose_evidence_no_claim_rests_on_gets_none() -> None:
    answer = search(FakeModel(16, lambda window: 0.8 if window < 8 else 1.0), neighbour_beyond=None)
    assert answer.neighbour.fraction is None and answer.neighbour.why.startswith("not needed: nothing rests")
    assert rows(answer)[-1] == ("accepted", "evidence")


def test_evidence_out_of_reach_says_how_far_it_came() -> None:
    answer = search(FakeModel(16, lambda window: 0.1 if window < 8 else 1.0))
    assert answer.matched and answer.neighbour.why.startswith("none found: perplexity above ")
    assert [role for role, part in rows(answer) if part == "evidence"][3:] == ["try"] * answer.neighbour.why.count("% ")


def test_without_further_windows_every_second_one_is_searched_and_the_others_decide() -> None:
    """The searched windows of the evidence agree with the target; those held out do not."""
    answer = search(FakeModel(8, lambda window: 1.0 if window % 2 else 0.8))
    assert answer.windows == (range(1, 8, 2), range(0, 8, 2), False)
    assert {one.numbers for one in answer.losses if one.windows == "search"} == {(1, 3, 5, 7)}
    assert {one.numbers for one in answer.losses if one.windows == "evidence"} == {tuple(range(8))}
    assert abs(answer.fraction - 0.4) < 0.02
    held_out = {one.role: one.nll[::2].mean() for one in answer.losses if one.windows == "evidence"}
    assert held_out["accepted"] < held_out["treated"] < held_out["neighbour"]


def test_a_search_that_fails_measures_nothing_on_the_evidence() -> None:
    answer = search(FakeModel(16, lambda window: 0.1))
    assert not answer.matched and {part for _, part in rows(answer)} == {"search"}
    assert answer.neighbour == (None, "not needed: no fraction was accepted") and math.isnan(answer.fraction)


def test_a_number_that_is_not_finite_fails_the_step_and_says_where() -> None:
    model = FakeModel(16, lambda window: 0.1)
    wide = dataclasses.replace(request(), ranking={layer: tuple(range(100)) for layer in range(2)})
    *_, failed = matched_control(model, wide)
    assert failed == StepFailed(step="m", error="tiny: at a fraction of 1 3 of 9 log-probabilities are not finite")
