"""The indices of the queues against what the states say, over random histories."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.scheduling.cluster import ActorKind
from orchestrator.scheduling.ready_queues import MAX_ATTEMPTS, ReadyQueues
from orchestrator.steps.step import BROKEN, FINISHED, TERMINAL, Role, State, Step
from tests.tiers import first_tier
from tests.world import by_id, make_step

ABLATION = ActorKind("a", Role.ABLATION)


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[str, Step], dict[str, float], dict[str, State]]:
    """(steps in topological order, costs, states of those that have ended)."""
    steps: list[Step] = []
    for i in range(draw(st.integers(1, 12))):
        earlier = [step.id for step in steps]
        inputs = draw(st.lists(st.sampled_from(earlier), max_size=3, unique=True)) if earlier else []
        kind, model = draw(st.sampled_from(["profile", "evaluate", "select"])), draw(st.sampled_from("ab"))
        steps.append(make_step(f"s{i}", kind, model, inputs, draw(st.sampled_from(["", "g"]))))
    names = [step.id for step in steps]
    costs = {name: draw(st.sampled_from([0.0, 1.0, 2.5])) for name in names}
    ended = draw(st.dictionaries(st.sampled_from(names), st.sampled_from(sorted(TERMINAL))))
    return by_id(steps), costs, ended


def upcoming_steps(queues: ReadyQueues) -> set[str]:
    """Steps that wait only for running ones, or for steps of the driver that follow those at once."""
    under_way, upcoming = set(), set()
    for name, step in queues.steps.items():
        state, inputs = queues.states[name], set(step.inputs.values())
        waits = state is State.PENDING and inputs <= under_way
        if state in FINISHED or state is State.RUNNING or (waits and step.role is Role.DRIVER):
            under_way.add(name)
        if waits and step.role is not Role.DRIVER and any(queues.states[source] not in FINISHED for source in inputs):
            upcoming.add(name)
    return upcoming


def check(queues: ReadyQueues) -> None:
    """Compare every index with one computed anew from the states."""
    states, steps = queues.states, queues.steps
    pending = {name for name in steps if states[name] is State.PENDING}
    ready = {name for name in pending if all(states[source] in FINISHED for source in steps[name].inputs.values())}
    exhausted = {name for name in ready if queues.attempts.get(name, 0) >= MAX_ATTEMPTS}
    assert set(queues.retries_exhausted()) == exhausted
    assert set(queues.driver_steps()) == {name for name in ready - exhausted if steps[name].role is Role.DRIVER}
    upcoming = upcoming_steps(queues)
    assert set(queues.upcoming_kinds()) == {queues.actor_kind(name) for name in upcoming}
    queued = {name for name in ready - exhausted if steps[name].role is not Role.DRIVER}
    assert set(queues.ready_kinds()) == {queues.actor_kind(name) for name in queued}
    for actor_kind in (ActorKind(model, role) for model in "ab" for role in Role):
        check_kind(queues, actor_kind, queued, upcoming)
    broken = {name for name in pending if any(states[source] in BROKEN for source in steps[name].inputs.values())}
    skips = queues.skips()
    assert {skip.step for skip in skips} == broken and all(states[skip.culprit] in BROKEN for skip in skips)
    assert queues.ended == all(state in TERMINAL for state in states.values())


def check_kind(queues: ReadyQueues, actor_kind: ActorKind, queued: set[str], upcoming: set[str]) -> None:
    states, steps = queues.states, {name for name in queues.steps if queues.actor_kind(name) == actor_kind}

    def seconds(names: set[str]) -> float:
        return sum(queues.costs[name] for name in names)

    mine = queued & steps
    assert set(queues.ready_steps(actor_kind)) == mine
    assert queues.num_ready(actor_kind) == len(mine)
    assert abs(queues.seconds_ready(actor_kind) - seconds(mine)) < 1e-9
    running = {name for name in steps if states[name] is State.RUNNING}
    assert abs(queues.seconds_running[actor_kind] - seconds(running)) < 1e-9
    unfinished = {name for name in steps if states[name] not in TERMINAL}
    assert queues.num_unfinished[actor_kind] == len(unfinished)
    assert queues.num_pending[actor_kind] == sum(states[name] is State.PENDING for name in unfinished)
    assert abs(queues.seconds_unfinished[actor_kind] - seconds(unfinished)) < 1e-9
    if actor_kind in queues.upcoming_kinds():
        assert set(queues.upcoming_within(actor_kind, 2.5)) == upcoming & steps
    if mine:
        request = set(queues.request(actor_kind, 2.0))
        assert request <= mine and len({queues.steps[name].group for name in request}) == 1
        assert len(request) == 1 or seconds(request) <= 2.0 + 1e-6


@pytest.mark.parametrize("num_examples", first_tier([40, 150], kept=[40]))
def test_the_queues_agree_with_the_states_whatever_happens(num_examples: int) -> None:
    property_ = given(histories(), st.integers(0, 2**32), st.integers(0, 40))
    settings(max_examples=num_examples, deadline=None)(property_(check_history))()


def check_history(
    drawn: tuple[dict[str, Step], dict[str, float], dict[str, State]], seed: int, num_changes: int
) -> None:
    """Compare after every one of `num_changes` random changes."""
    queues, generator = ReadyQueues(*drawn), random.Random(seed)
    check(queues)
    for _ in range(num_changes):
        name = generator.choice([name for name in queues.steps if queues.states[name] not in BROKEN] or [""])
        if not name:
            break
        if queues.states[name] is State.RUNNING and generator.random() < 0.5:
            queues.lose(name)
        elif queues.states[name] in FINISHED:
            queues.set(name, State.PENDING)
        else:
            queues.set(name, generator.choice(list(State)))
        check(queues)


def test_urgency_is_the_longest_path_to_the_end_over_unfinished_steps() -> None:
    steps = [make_step("a"), *(make_step(name, inputs=["a"]) for name in "bc"), make_step("d", inputs=["b", "c"])]
    queues = ReadyQueues(by_id(steps), {"a": 1, "b": 10, "c": 2, "d": 4}, {"b": State.CACHED})
    assert queues.urgency == {"a": 7, "b": 4, "c": 6, "d": 4}


def test_upcoming_steps_are_listed_by_how_long_they_wait() -> None:
    steps = [make_step("p", "profile"), make_step("s", "select", inputs=["p"]), make_step("x", inputs=["s"])]
    steps.append(make_step("y", inputs=["x"]))
    queues = ReadyQueues(by_id(steps), {"p": 7.0, "x": 1.0, "y": 1.0})
    assert queues.upcoming_kinds() == []
    queues.set("p", State.RUNNING)
    assert queues.upcoming_kinds() == [ABLATION], "the driver's selection takes no time"
    assert queues.upcoming_within(ABLATION, 7.0) == ["x"] and queues.upcoming_within(ABLATION, 6.0) == []
    queues.never_prewarm(ABLATION)
    assert queues.upcoming_kinds() == []


def test_a_request_leaves_out_steps_with_a_much_shorter_path_after_them() -> None:
    steps = [make_step("x"), make_step("y"), make_step("z"), make_step("after y", inputs=["y"], group="h")]
    queues = ReadyQueues(by_id(steps), {"x": 1.0, "y": 1.0, "z": 1.0, "after y": 9.0})
    assert queues.request(ABLATION, 10.0) == ("y",)
    assert set(queues.request(ABLATION, math.inf)) == {"x", "y", "z"}, "where no other actor could take them"
    queues.set("y", State.RUNNING)
    assert queues.request(ABLATION, 10.0) == ("x", "z")
