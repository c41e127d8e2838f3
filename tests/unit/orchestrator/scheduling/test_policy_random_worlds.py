"""`decide` in random worlds: DAGs, resources, failures, deaths of actors, nodes that go. See also `test_policy`."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.scheduling.cluster import ActorKind, Cluster
from orchestrator.scheduling.placement import Devices
from orchestrator.scheduling.ready_queues import MAX_ATTEMPTS, SINGLE_AFTER
from orchestrator.steps.step import BROKEN, Role, State, Step
from tests.tiers import first_tier
from tests.world import LARGE_NODE, Drawn, World, succeed, worlds


def has_room(step: Step, cluster: Cluster) -> bool:
    """Whether the step could run on the empty cluster."""
    if step.role is Role.DRIVER:
        return True
    return Devices(cluster.nodes).place(cluster.demands[ActorKind(step.model, step.role)]) is not None


@pytest.mark.parametrize("num_examples", first_tier([40, 150], kept=[40]))
def test_every_step_ends_whatever_happens(num_examples: int) -> None:
    property_ = given(
        drawn=worlds(),
        seed=st.integers(0, 2**32),
        deaths=st.floats(0, 0.6),
        failures=st.floats(0, 0.4),
        removals=st.floats(0, 0.2),
    )
    settings(max_examples=num_examples, deadline=None)(property_(check_that_every_step_ends))()


def check_that_every_step_ends(drawn: Drawn, seed: int, deaths: float, failures: float, removals: float) -> None:
    """deaths, failures, removals: probabilities, at each event, that an actor dies, a step fails, a node goes."""
    steps, costs, cluster = drawn
    generator = random.Random(seed)
    failed: set[str] = set()
    num_crashes = 0

    def event(world: World) -> None:
        nonlocal num_crashes
        actor = generator.choice(sorted(world.running))
        if generator.random() < removals and world.cluster.nodes:
            num_crashes += 1
            world.remove_node(generator.choice([node.id for node in world.cluster.nodes]))
        elif generator.random() < deaths:
            num_crashes += 1
            world.kill(actor)
        elif generator.random() < failures and world.running[actor]:
            failed.add(world.running[actor][0])
            world.answer(actor, State.FAILED)
        else:
            world.answer(actor, State.DONE)

    cached = {step.id: State.CACHED for step in steps if generator.random() < 0.2}
    world = World(steps, costs, cluster, cached).run(event)
    for step in steps:
        state, attempts = world.queues.states[step.id], world.queues.attempts.get(step.id, 0)
        assert attempts <= MAX_ATTEMPTS and world.started.count(step.id) <= MAX_ATTEMPTS
        assert (state is State.CACHED) == (step.id in cached)
        if state is State.FAILED and step.id not in failed:
            exhausted = attempts == MAX_ATTEMPTS and "given up after 4 attempts" in world.reasons[step.id]
            assert exhausted or not has_room(step, world.cluster)
        if step.id in failed:
            assert state is State.FAILED and world.started.count(step.id) == attempts + 1
    if not num_crashes:
        assert len(world.started) == len(set(world.started)), "nothing is computed twice"


@pytest.mark.parametrize("num_examples", first_tier([40, 100], kept=[40]))
def test_without_failures_every_step_that_has_room_is_done_once(num_examples: int) -> None:
    settings(max_examples=num_examples, deadline=None)(given(worlds())(check_without_failures))()


def check_without_failures(drawn: Drawn) -> None:
    steps, costs, cluster = drawn
    world = World(steps, costs, cluster).run(succeed)
    states = world.queues.states
    for step in steps:
        sources = {states[source] for source in step.inputs.values()}
        expected = State.DONE if has_room(step, cluster) else State.FAILED
        assert states[step.id] is (State.SKIPPED if sources & BROKEN else expected)
    assert sorted(world.started) == sorted(name for name, state in states.items() if state is State.DONE)


@settings(max_examples=40, deadline=None)
@given(drawn=worlds(kinds=("evaluate", "match"), most=10), data=st.data())
def test_a_step_that_kills_its_actor_does_not_take_its_siblings_down(drawn: Drawn, data: st.DataObject) -> None:
    steps, costs, cluster = drawn
    culprit = data.draw(st.sampled_from(steps)).id

    def event(world: World) -> None:
        actor = sorted(world.running)[0]
        if culprit in world.running[actor]:
            world.kill(actor)
        else:
            world.answer(actor, State.DONE)

    cluster = replace(cluster, nodes=[LARGE_NODE])
    world = World(steps, costs, cluster).run(event)
    assert world.queues.states[culprit] is State.FAILED and world.queues.attempts[culprit] == MAX_ATTEMPTS
    broken = {culprit}
    for step in steps:
        broken |= {step.id} if broken & set(step.inputs.values()) else set()
    assert {name for name, state in world.queues.states.items() if state in BROKEN} == broken
    assert all(count <= SINGLE_AFTER for name, count in world.queues.attempts.items() if name != culprit)
