"""The indices of the board against what its states say, over random histories."""

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.board import BROKEN, FINISHED, MAX_ATTEMPTS, TERMINAL, Board, Lane, State
from orchestrator.steps import Role
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


def coming_steps(board):
    """Those that wait for nothing but what runs, or what the driver will do as soon as that has finished."""
    under_way, coming = set(), set()
    for name, one in board.steps.items():
        state, inputs = board.states[name], set(one.inputs.values())
        waits = state is State.PENDING and inputs <= under_way
        if state in FINISHED or state is State.RUNNING or (waits and one.role is Role.DRIVER):
            under_way.add(name)
        if waits and one.role is not Role.DRIVER and any(board.states[source] not in FINISHED for source in inputs):
            coming.add(name)
    return coming


def check(board):
    """Every index, computed anew from the states."""
    states, steps = board.states, board.steps
    ready = {
        name
        for name, one in steps.items()
        if states[name] is State.PENDING and all(states[source] in FINISHED for source in one.inputs.values())
    }
    worn = {name for name in ready if board.attempts.get(name, 0) >= MAX_ATTEMPTS}
    assert set(board.worn()) == worn
    assert set(board.driver_steps()) == {name for name in ready - worn if steps[name].role is Role.DRIVER}
    coming = coming_steps(board)
    assert set(board.coming()) == {board.lane(name) for name in coming}
    lanes = {Lane(model, role) for model in "ab" for role in Role}
    for lane in lanes:
        mine = {name for name in ready - worn if board.lane(name) == lane and lane.role is not Role.DRIVER}
        assert set(board.ready_in(lane)) == mine and board.is_ready(lane) == bool(mine)
        assert board.num_queued(lane) == len(mine)
        assert abs(board.queued(lane) - sum(board.costs[name] for name in mine)) < 1e-9
        running = [board.costs[name] for name in steps if states[name] is State.RUNNING and board.lane(name) == lane]
        assert abs(board.running[lane] - sum(running)) < 1e-9
        left = [name for name in steps if board.lane(name) == lane and states[name] not in TERMINAL]
        assert board.unfinished[lane] == len(left)
        assert board.pending[lane] == sum(states[name] is State.PENDING for name in left)
        assert abs(board.left[lane] - sum(board.costs[name] for name in left)) < 1e-9
        if lane in board.coming():
            assert set(board.coming_within(lane, 2.5)) == {name for name in coming if board.lane(name) == lane}
        if mine:
            request = board.request(lane, 2.0)
            assert set(request) <= mine and len({steps[name].group for name in request}) == 1
            assert len(request) == 1 or sum(board.costs[name] for name in request) <= 2.0 + 1e-6
    assert set(board.ready()) == {lane for lane in lanes if board.is_ready(lane)}
    broken = {
        name
        for name, one in steps.items()
        if states[name] is State.PENDING and any(states[source] in BROKEN for source in one.inputs.values())
    }
    skips = board.skips()
    assert {skip.step for skip in skips} == broken and all(states[skip.culprit] in BROKEN for skip in skips)
    assert board.ended == all(state in TERMINAL for state in states.values())


@settings(max_examples=150, deadline=None)
@given(boards(), st.integers(0, 2**32), st.integers(0, 40))
def test_the_queues_agree_with_the_states_whatever_happens(drawn, seed, num_changes):
    board, generator = Board(*drawn), random.Random(seed)
    check(board)
    for _ in range(num_changes):
        name = generator.choice([name for name in board.steps if board.states[name] not in BROKEN] or [""])
        if not name:
            break
        if board.states[name] is State.RUNNING and generator.random() < 0.5:
            board.lose(name)
        elif board.states[name] in FINISHED:
            board.set(name, State.PENDING)
        else:
            board.set(name, generator.choice(list(State)))
        check(board)


def test_urgency_is_the_longest_path_to_the_end_over_what_has_not_ended():
    steps = [step("a"), step("b", inputs=["a"]), step("c", inputs=["a"]), step("d", inputs=["b", "c"])]
    board = Board({one.id: one for one in steps}, {"a": 1, "b": 10, "c": 2, "d": 4}, {"b": State.CACHED})
    assert board.urgency == {"a": 7, "b": 4, "c": 6, "d": 4}


def test_what_comes_is_told_by_how_long_it_takes_until_then():
    steps = [step("p", "profile"), step("s", "select", inputs=["p"]), step("x", inputs=["s"]), step("y", inputs=["x"])]
    board = Board({one.id: one for one in steps}, {"p": 7.0, "x": 1.0, "y": 1.0})
    assert board.coming() == []
    board.set("p", State.RUNNING)
    lane = Lane("a", Role.ABLATION)
    assert board.coming() == [lane], "the driver's selection takes no time"
    assert board.coming_within(lane, 7.0) == ["x"] and board.coming_within(lane, 6.0) == []
    board.never_ahead(lane)
    assert board.coming() == []


def test_a_step_that_much_waits_for_goes_out_without_those_that_little_waits_for():
    steps = [step("x"), step("y"), step("z"), step("after y", inputs=["y"], group="h")]
    board = Board({one.id: one for one in steps}, {"x": 1.0, "y": 1.0, "z": 1.0, "after y": 9.0})
    lane = Lane("a", Role.ABLATION)
    assert board.request(lane, 10.0) == ("y",)
    assert set(board.request(lane, math.inf)) == {"x", "y", "z"}, "where nobody else could take them"
    board.set("y", State.RUNNING)
    assert board.request(lane, 10.0) == ("x", "z")
