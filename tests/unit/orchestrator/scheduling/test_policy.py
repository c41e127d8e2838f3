"""The scheduler in random worlds: DAGs, resources, failures, deaths of actors, nodes that go. See `test_decisions`."""

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.scheduling.placement import Devices, Node
from orchestrator.scheduling.ready_queues import MAX_ATTEMPTS, SINGLE_AFTER, ActorKind
from orchestrator.steps.step import BROKEN, Role, State
from tests.world import World, all_goes_well, worlds


def runs_somewhere(one, where):
    return (
        one.role is Role.DRIVER or Devices(where.nodes).place(where.demands[ActorKind(one.model, one.role)]) is not None
    )


@settings(max_examples=150, deadline=None)
@given(
    world=worlds(),
    seed=st.integers(0, 2**32),
    deaths=st.floats(0, 0.6),
    failures=st.floats(0, 0.4),
    removals=st.floats(0, 0.2),
)
def test_every_step_ends_whatever_happens(world, seed, deaths, failures, removals):
    steps, costs, where = world
    generator = random.Random(seed)
    failed, crashes = set(), 0

    def event(world):
        nonlocal crashes
        actor = generator.choice(sorted(world.running))
        if generator.random() < removals and world.cluster.nodes:
            crashes += 1
            world.lose_node(generator.choice([node.id for node in world.cluster.nodes]))
        elif generator.random() < deaths:
            crashes += 1
            world.die(actor)
        elif generator.random() < failures and world.running[actor]:
            failed.add(world.running[actor][0])
            world.answer(actor, State.FAILED)
        else:
            world.answer(actor, State.DONE)

    cached = {one.id: State.CACHED for one in steps if generator.random() < 0.2}
    world = World(steps, costs, where, cached).run(event)
    for one in steps:
        state, attempts = world.queues.states[one.id], world.queues.attempts.get(one.id, 0)
        assert attempts <= MAX_ATTEMPTS and world.started.count(one.id) <= MAX_ATTEMPTS
        assert (state is State.CACHED) == (one.id in cached)
        if state is State.FAILED and one.id not in failed:
            retries_exhausted = attempts == MAX_ATTEMPTS and "died 4 times" in world.reasons[one.id]
            assert retries_exhausted or not runs_somewhere(one, world.cluster)
        if one.id in failed:
            assert state is State.FAILED and world.started.count(one.id) == attempts + 1
    if not crashes:
        assert len(world.started) == len(set(world.started)), "nothing is computed twice"


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_without_trouble_all_that_can_run_is_done_once(drawn):
    steps, costs, where = drawn
    world = World(steps, costs, where).run(all_goes_well)
    states = world.queues.states
    for one in steps:
        sources = [states[source] for source in one.inputs.values()]
        expected = State.DONE if runs_somewhere(one, where) else State.FAILED
        assert states[one.id] is (State.SKIPPED if set(sources) & BROKEN else expected)
    assert sorted(world.started) == sorted(name for name, state in states.items() if state is State.DONE)


@settings(max_examples=40, deadline=None)
@given(drawn=worlds(kinds=("evaluate", "match"), most=10), data=st.data())
def test_one_step_that_kills_its_actor_does_not_take_its_siblings_down(drawn, data):
    steps, costs, where = drawn
    culprit = data.draw(st.sampled_from(steps)).id

    def event(world):
        actor = sorted(world.running)[0]
        if culprit in world.running[actor]:
            world.die(actor)
        else:
            world.answer(actor, State.DONE)

    where = replace(where, nodes=[Node("n", 9.0, 9, {"kind": "big"})])
    world = World(steps, costs, where).run(event)
    assert world.queues.states[culprit] is State.FAILED and world.queues.attempts[culprit] == MAX_ATTEMPTS
    victims = {culprit}
    for one in steps:
        victims |= {one.id} if victims & set(one.inputs.values()) else set()
    assert {name for name, state in world.queues.states.items() if state in BROKEN} == victims
    assert all(count <= SINGLE_AFTER for name, count in world.queues.attempts.items() if name != culprit)
