"""How far a run is: counts, requests, failures and the time left, under a clock of the test's own."""

from types import SimpleNamespace
from typing import Any

import pytest

from actors.messages.stream import Progress
from orchestrator.progress.run_progress import RunProgress
from orchestrator.progress.snapshot import Failure
from orchestrator.steps.step import State


def step(name: str, condition: str = "", model: str = "m") -> Any:
    title = " ".join(part for part in (name, model, condition) if part)
    return SimpleNamespace(id=title, name=name, model=model, condition=condition, title=title)


PROFILE = step("profile")
TREATED, RANDOM, OTHER = (step("evaluate.blimp", name) for name in ("treated", "random/seed=0", "random/seed=1"))
STEPS = (PROFILE, TREATED, RANDOM, OTHER)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def report(of: Any, done: int, total: int = 100, unit: str = "packs") -> Progress:
    return Progress(step=of.id, done=done, total=total, unit=unit)


def test_every_transition_is_counted(clock: Clock) -> None:
    progress = RunProgress(STEPS, clock=clock, host="node7")
    progress.transition(PROFILE, State.CACHED)
    progress.transition(TREATED, State.RUNNING)
    progress.transition(TREATED, State.PENDING, "actor lost")
    progress.transition(RANDOM, State.FAILED, "no memory")
    progress.transition(OTHER, State.SKIPPED, "needs it")
    clock.now += 60
    found = progress.snapshot()
    assert found.counts == {
        "profile": {State.CACHED: 1},
        "evaluate.blimp": {State.PENDING: 1, State.FAILED: 1, State.SKIPPED: 1},
    }
    assert (found.num_ended, found.num_steps, found.elapsed, found.host) == (3, 4, 60.0, "node7")
    assert found.failures == (Failure("evaluate.blimp m random/seed=0", "no memory"),)


def test_a_failed_step_that_is_computed_again_is_no_failure(clock: Clock) -> None:
    progress = RunProgress(STEPS, clock=clock)
    progress.transition(TREATED, State.FAILED, "no memory")
    progress.transition(TREATED, State.PENDING)
    assert progress.snapshot().failures == ()


def test_steps_that_go_out_together_are_one_request(clock: Clock) -> None:
    progress = RunProgress(STEPS, clock=clock)
    progress.transition(TREATED, State.RUNNING)
    progress.transition(RANDOM, State.RUNNING)
    progress.report(TREATED, report(TREATED, 10))
    clock.now += 10
    progress.report(TREATED, report(TREATED, 30))
    progress.transition(OTHER, State.RUNNING)  # to another actor, as the first has reported already
    first, second = progress.snapshot().requests
    assert first.conditions == ("treated", "random/seed=0") and (first.done, first.total, first.unit) == (
        30, 100, "packs",
    )  # fmt: skip
    assert first.seconds_left == pytest.approx(70 / 2), "20 packs in 10 s; the first report says nothing of the rate"
    assert second.conditions == ("random/seed=1",) and second.seconds_left is None


def test_what_has_ended_is_not_running(clock: Clock) -> None:
    progress = RunProgress(STEPS, clock=clock)
    progress.transition(TREATED, State.RUNNING)
    progress.transition(RANDOM, State.RUNNING)
    progress.transition(TREATED, State.DONE)
    assert progress.snapshot().requests[0].conditions == ("random/seed=0",)
    progress.transition(RANDOM, State.FAILED, "no memory")
    progress.report(RANDOM, report(RANDOM, 1))  # a late report
    assert progress.snapshot().requests == ()


def test_the_time_left_follows_the_work_done_since_the_first_step_ran(clock: Clock) -> None:
    work = {PROFILE.id: 10.0, TREATED.id: 30.0, RANDOM.id: 30.0, OTHER.id: 30.0}
    progress = RunProgress(STEPS, work=work, clock=clock)
    clock.now += 500  # Ray starts
    assert progress.seconds_left is None
    progress.transition(PROFILE, State.RUNNING)
    clock.now += 20
    assert progress.seconds_left is None
    progress.transition(PROFILE, State.DONE)
    assert progress.seconds_left == pytest.approx(90 * 2.0)
    progress.transition(TREATED, State.RUNNING)
    progress.report(TREATED, report(TREATED, 50))
    clock.now += 30
    assert progress.seconds_left == pytest.approx(75 * 50 / 25), "half of the treated condition counts as done"


def test_what_is_cached_or_failed_counts_neither_as_done_nor_as_left(clock: Clock) -> None:
    progress = RunProgress(STEPS, clock=clock)
    progress.transition(PROFILE, State.CACHED)
    progress.transition(TREATED, State.RUNNING)
    clock.now += 10
    progress.transition(TREATED, State.DONE)
    progress.transition(RANDOM, State.FAILED, "no memory")
    assert progress.seconds_left == pytest.approx(10.0), "one step is left, and one took 10 s"
    progress.transition(OTHER, State.NOT_APPLICABLE)
    assert progress.seconds_left == 0.0
