"""The indices of the board against what its states say, over random histories."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.board import BROKEN, FINISHED, MAX_ATTEMPTS, TERMINAL, Board, Lane, State
from orchestrator.steps import Role
from tests.unit.test_scheduler import step


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
    lanes = {Lane(model, role) for model in "ab" for role in Role}
    for lane in lanes:
        mine = {name for name in ready - worn if board.lane(name) == lane and lane.role is not Role.DRIVER}
        assert set(board.ready_in(lane)) == mine and board.is_ready(lane) == bool(mine)
        assert board.num_queued(lane) == len(mine)
        assert abs(board.queued(lane) - sum(board.costs[name] for name in mine)) < 1e-9
        running = [board.costs[name] for name in steps if states[name] is State.RUNNING and board.lane(name) == lane]
        assert abs(board.running[lane] - sum(running)) < 1e-9
        assert board.unfinished[lane] == sum(
            board.lane(name) == lane and states[name] not in TERMINAL for name in steps
        )
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
