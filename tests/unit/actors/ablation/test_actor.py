"""The ablation actor on an engine without vLLM: a number that is not finite is a failure, never a result."""

from collections.abc import Iterator

import pytest

from actors.ablation import actor as ablation
from actors.messages.ablation import EvaluateRequest, Intervention, Matched, MatchRequest, Scored
from actors.messages.stream import StepFailed
from studies.benchmarks.texts import Sentences, Windows
from studies.neurons.clamps import Clamp
from tests.fakes import losses
from tests.unit.actors.ablation.fake_engine import D_MLP, NUM_LAYERS, FakeEngine, source, tokenizer

NEGATIVE = Clamp(floor=0.0)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    fake = FakeEngine()
    monkeypatch.setattr(ablation, "Engine", lambda source: fake)
    monkeypatch.setattr(ablation, "load_tokenizer", lambda source: tokenizer)
    yield fake


def test_a_number_that_is_not_finite_fails_its_own_step_on_the_flat_route(engine: FakeEngine) -> None:
    actor = ablation.AblationActor(source(route="flat"))
    engine.broken_above = 2
    interventions = {
        "baseline": Intervention(),
        "one": Intervention(clamp=NEGATIVE, neurons={0: (1,)}),
        "two": Intervention(clamp=NEGATIVE, neurons={0: (1,), 1: (2,)}),
    }
    request = EvaluateRequest(benchmark="b", texts=Sentences(texts=("ab", "ac")), interventions=interventions)
    answers = {m.step: m for m in actor.evaluate(request) if isinstance(m, Scored | StepFailed)}
    assert isinstance(answers["baseline"], Scored) and isinstance(answers["one"], Scored)
    assert answers["two"] == StepFailed(step="two", error="tiny: 3 of 3 log-probabilities are not finite")


@pytest.mark.parametrize("route", ["flat", "tree"])
def test_a_search_that_meets_such_a_number_fails(engine: FakeEngine, route: str) -> None:
    actor = ablation.AblationActor(source(route=route))
    engine.broken_above = 1
    request = MatchRequest(
        step="m",
        benchmark="perplexity",
        texts=Windows(text="a text of some length", window=8, stride=8),
        ranking={layer: tuple(range(D_MLP)) for layer in range(NUM_LAYERS)},
        clamp=NEGATIVE,
        treated=Intervention(clamp=NEGATIVE, neurons={0: (1,)}),
        treated_fraction=0.25,
        evidence=(losses("baseline", "evidence", 0.0, 2.0), losses("treated", "evidence", 0.25, 2.2)),
        within=0.01,
        within_rise=0.05,
        max_evaluations=4,
    )
    answers = [m for m in actor.match(request) if isinstance(m, Matched | StepFailed)]
    (failed,) = answers
    assert isinstance(failed, StepFailed) and failed.step == "m"
    assert failed.error.startswith("tiny: under the treated condition ") and failed.error.endswith("are not finite")
