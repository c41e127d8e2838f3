"""The indices of the board against what its states say, over random histories."""

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.scheduling.ready_queues import MAX_ATTEMPTS, ActorKind, ReadyQueues
from orchestrator.steps.step import BROKEN, FINISHED, TERMINAL, Role, State
from tests.world import step


@st.composite
def boards(draw):
    """(steps in topological order, costs, states of those that have ended)."""
    steps = []
    for i in range(draw(st.integers(1, 12))):
        inputs = draw(st.lists(st.sampled_from([one.id for one in steps]), max_size=3, unique=True)) if steps else []
        kind, model = draw(st.sampled_from(["profile", "evaluate", "select"])), draw(st.sampled_from("ab"))
        steps.append(step(f"s{i}", kind, model, inputs, draw(st.sampled_from(["", "g"]))))
    costs = {one.id: draw(st.sampled_from([0.0, 1.0, 2.5])) for one in steps}
    ended = draw(st.dictionaries(st.sampled_from([one.id for one in steps]), st.sampled_from(sorted(TERMINAL))))
    return {one.id: one for one in steps}, costs, ended


def upcoming_steps(queues):
    """Those that wait for nothing but what runs, or what the driver will do as soon as that has finished."""
    under_way, upcoming = set(), set()
    for name, one in queues.steps.items():
        state, inputs = queues.states[name], set(one.inputs.values())
        waits = state is State.PENDING and inputs <= under_way
        if state in FINISHED or state is State.RUNNING or (waits and one.role is Role.DRIVER):
            under_way.add(name)
        if waits and one.role is not Role.DRIVER and any(queues.states[source] not in FINISHED for source in inputs):
            upcoming.add(name)
    return upcoming


def check(queues):
    """Every index, computed anew from the states."""
    states, steps = queues.states, queues.steps
    ready = {
        name
        for name, one in steps.items()
        if states[name] is State.PENDING and all(states[source] in FINISHED for source in one.inputs.values())
    }
    retries_exhausted = {name for name in ready if queues.attempts.get(name, 0) >= MAX_ATTEMPTS}
    assert set(queues.retries_exhausted()) == retries_exhausted
    assert set(queues.driver_steps()) == {name for name in ready - retries_exhausted if steps[name].role is Role.DRIVER}
    upcoming = upcoming_steps(queues)
    assert set(queues.upcoming()) == {queues.actor_kind(name) for name in upcoming}
    actor_kinds = {ActorKind(model, role) for model in "ab" for role in Role}
    for actor_kind in actor_kinds:
        mine = {
            name
            for name in ready - retries_exhausted
            if queues.actor_kind(name) == actor_kind and actor_kind.role is not Role.DRIVER
        }
        assert set(queues.ready_in(actor_kind)) == mine and queues.is_ready(actor_kind) == bool(mine)
        assert queues.num_queued(actor_kind) == len(mine)
        assert abs(queues.queued(actor_kind) - sum(queues.costs[name] for name in mine)) < 1e-9
        running = [
            queues.costs[name]
            for name in steps
            if states[name] is State.RUNNING and queues.actor_kind(name) == actor_kind
        ]
        assert abs(queues.running[actor_kind] - sum(running)) < 1e-9
        left = [name for name in steps if queues.actor_kind(name) == actor_kind and states[name] not in TERMINAL]
        assert queues.unfinished[actor_kind] == len(left)
        assert queues.pending[actor_kind] == sum(states[name] is State.PENDING for name in left)
        assert abs(queues.left[actor_kind] - sum(queues.costs[name] for name in left)) < 1e-9
        if actor_kind in queues.upcoming():
            assert set(queues.upcoming_within(actor_kind, 2.5)) == {
                name for name in upcoming if queues.actor_kind(name) == actor_kind
            }
        if mine:
            request = queues.request(actor_kind, 2.0)
            assert set(request) <= mine and len({steps[name].group for name in request}) == 1
            assert len(request) == 1 or sum(queues.costs[name] for name in request) <= 2.0 + 1e-6
    assert set(queues.ready()) == {actor_kind for actor_kind in actor_kinds if queues.is_ready(actor_kind)}
    broken = {
        name
        for name, one in steps.items()
        if states[name] is State.PENDING and any(states[source] in BROKEN for source in one.inputs.values())
    }
    skips = queues.skips()
    assert {skip.step for skip in skips} == broken and all(states[skip.culprit] in BROKEN for skip in skips)
    assert queues.ended == all(state in TERMINAL for state in states.values())


@settings(max_examples=150, deadline=None)
@given(boards(), st.integers(0, 2**32), st.integers(0, 40))
def test_the_queues_agree_with_the_states_whatever_happens(drawn, seed, num_changes):
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


def test_urgency_is_the_longest_path_to_the_end_over_what_has_not_ended():
    steps = [step("a"), step("b", inputs=["a"]), step("c", inputs=["a"]), step("d", inputs=["b", "c"])]
    queues = ReadyQueues({one.id: one for one in steps}, {"a": 1, "b": 10, "c": 2, "d": 4}, {"b": State.CACHED})
    assert queues.urgency == {"a": 7, "b": 4, "c": 6, "d": 4}


def test_what_comes_is_told_by_how_long_it_takes_until_then():
    steps = [step("p", "profile"), step("s", "select", inputs=["p"]), step("x", inputs=["s"]), step("y", inputs=["x"])]
    queues = ReadyQueues({one.id: one for one in steps}, {"p": 7.0, "x": 1.0, "y": 1.0})
    assert queues.upcoming() == []
    queues.set("p", State.RUNNING)
    actor_kind = ActorKind("a", Role.ABLATION)
    assert queues.upcoming() == [actor_kind], "the driver's selection takes no time"
    assert queues.upcoming_within(actor_kind, 7.0) == ["x"] and queues.upcoming_within(actor_kind, 6.0) == []
    queues.never_prewarm(actor_kind)
    assert queues.upcoming() == []


def test_a_step_that_much_waits_for_goes_out_without_those_that_little_waits_for():
    steps = [step("x"), step("y"), step("z"), step("after y", inputs=["y"], group="h")]
    queues = ReadyQueues({one.id: one for one in steps}, {"x": 1.0, "y": 1.0, "z": 1.0, "after y": 9.0})
    actor_kind = ActorKind("a", Role.ABLATION)
    assert queues.request(actor_kind, 10.0) == ("y",)
    assert set(queues.request(actor_kind, math.inf)) == {"x", "y", "z"}, "where nobody else could take them"
    queues.set("y", State.RUNNING)
    assert queues.request(actor_kind, 10.0) == ("x", "z")
