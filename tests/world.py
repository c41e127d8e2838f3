"""Simulated clusters: random ones, and one that holds every decision against what the runner and Ray would allow."""

from dataclasses import replace

import pytest
from hypothesis import strategies as st

from orchestrator.scheduling.placement import Demand, Devices, Node
from orchestrator.scheduling.policy import Cluster, Evict, Fail, NoRoom, Resident, Start, Stop, decide
from orchestrator.scheduling.ready_queues import MAX_ATTEMPTS, SINGLE_AFTER, ActorKind, ReadyQueues, Skip
from orchestrator.steps.step import BROKEN, FINISHED, TERMINAL, Role, State, Step

ONE = Demand(1.0, 0.0)
OPENING = 10.0


def step(name, kind="evaluate", model="a", inputs=(), group="g") -> Step:
    sources = {str(i): source for i, source in enumerate(inputs)}
    return Step(id=name, kind=kind, name=name, model=model, condition="", payload={}, inputs=sources, group=group)


def cluster(nodes, demands, series=(), opening=OPENING) -> Cluster:
    """demands: {model: Demand of both of its actors}."""
    actor_kinds = {
        ActorKind(model, role): demand for model, demand in demands.items() for role in (Role.SCORE, Role.ABLATION)
    }
    return Cluster(nodes=nodes, demands=actor_kinds, opening=dict.fromkeys(demands, opening), series=dict(series))


class World:
    """Applies decisions as the runner and Ray would, and checks each of them on the way."""

    def __init__(self, steps, costs, where, states=()):
        self.steps, self.cluster = {one.id: one for one in steps}, where
        self.queues = ReadyQueues(self.steps, costs, dict(states))
        self.residents, self.running = {}, {}
        self.reasons, self.log, self.started = {}, [], []
        self.stopped, self.turns = False, 0

    def turn(self) -> bool:
        """One call of `decide`, applied; False where it waits for an event."""
        self.turns += 1
        assert self.turns <= 40 + 20 * MAX_ATTEMPTS * len(self.steps), "the scheduler does not come to an end"
        known = (dict(self.queues.states), dict(self.queues.attempts), dict(self.residents))
        decisions = decide(self.queues, self.residents, self.cluster)
        assert known == (self.queues.states, self.queues.attempts, self.residents), "decide is pure"
        for decision in decisions:
            self.log.append(decision)
            match decision:
                case Stop():
                    assert decisions == [Stop()]
                    self.stopped = True
                case Skip(name, culprit):
                    assert self.queues.states[name] is State.PENDING and self.queues.states[culprit] in BROKEN
                    assert culprit in self.steps[name].inputs.values()
                    self.end(name, State.SKIPPED, f"needs {culprit}")
                case Fail(name, reason):
                    assert self.queues.states[name] is State.PENDING and reason
                    self.end(name, State.FAILED, reason)
                case NoRoom(actor_kind, demand):
                    assert not self.running and Devices(self.cluster.nodes).place(demand) is None
                    for name in self.queues.ready_in(actor_kind):
                        self.end(name, State.FAILED, f"needs {demand}")
                case Evict(actor):
                    assert not self.residents.pop(actor).busy
                case Start():
                    self.start(decision)
            self.check_devices()
        return bool(decisions)

    def end(self, name, state, reason):
        self.reasons[name] = reason
        self.queues.set(name, state)

    def start(self, start):
        members = [self.steps[name] for name in start.steps]
        assert len(set(start.steps)) == len(start.steps)
        for one in members:
            assert self.queues.states[one.id] is State.PENDING, "started twice"
            assert all(self.queues.states[source] in FINISHED for source in one.inputs.values()), "before its inputs"
            assert one.role is start.role and self.queues.attempts.get(one.id, 0) < MAX_ATTEMPTS
            self.started.append(one.id)
        if start.role is Role.DRIVER:
            for one in members:
                self.queues.set(one.id, State.DONE)
            return
        before = self.residents.get(start.actor)
        if members:
            assert {one.model for one in members} == {start.model} and len({one.group for one in members}) == 1
            if any(self.queues.attempts.get(name, 0) >= SINGLE_AFTER for name in start.steps) or not members[0].group:
                assert len(start.steps) == 1, "a step runs alone after so many crashes"
        else:
            assert before is None and self.queues.pending[ActorKind(start.model, start.role)], "opened ahead of nothing"
        assert (before is None) == bool(start.placement) and not (before and before.busy)
        if start.reload:
            series = self.cluster.series
            assert before.role is start.role and series[before.model] == series[start.model] != ""
        elif before:
            assert (before.model, before.role) == (start.model, start.role)
        placement = before.placement if before else start.placement
        self.residents[start.actor] = Resident(
            actor=start.actor,
            model=start.model,
            role=start.role,
            busy=True,
            prewarming=not members,
            placement=placement,
        )
        self.running[start.actor] = list(start.steps)
        for name in start.steps:
            self.queues.set(name, State.RUNNING)

    def check_devices(self):
        """No GPU has two owners, no node gives more than it has, and every actor has what it demands."""
        cpus, shares = {}, {}
        for one in self.residents.values():
            demand = self.cluster.demands[one.actor_kind]
            gpus = sum(share for bundle in one.placement for _, share in bundle.gpus)
            assert sum(bundle.cpus for bundle in one.placement) == pytest.approx(demand.copies * demand.cpus)
            assert gpus == pytest.approx(demand.copies * demand.gpus)
            for bundle in one.placement:
                cpus[bundle.node] = cpus.get(bundle.node, 0.0) + bundle.cpus
                for device, share in bundle.gpus:
                    shares[bundle.node, device] = shares.get((bundle.node, device), 0.0) + share
        for node in self.cluster.nodes:
            assert cpus.get(node.id, 0.0) <= node.cpus + 1e-6
            assert all(i < node.gpus for name, i in shares if name == node.id)
        assert all(share <= 1 + 1e-6 for share in shares.values()), "a GPU has two owners"

    def answer(self, actor, state):
        """The actor's next result; the request ends with the last one, an opening ahead of all with the first."""
        if self.running[actor]:
            self.queues.set(self.running[actor].pop(0), state)
        if not self.running[actor]:
            del self.running[actor]
            self.residents[actor] = replace(self.residents[actor], busy=False, prewarming=False)

    def die(self, actor):
        """The actor is lost with all that it has not answered."""
        if self.residents[actor].prewarming:
            self.queues.never_prewarm(self.residents[actor].actor_kind)
        del self.residents[actor]
        for name in self.running.pop(actor, ()):
            self.queues.lose(name)

    def lose_node(self, name):
        self.cluster = replace(self.cluster, nodes=[node for node in self.cluster.nodes if node.id != name])
        for actor, one in list(self.residents.items()):
            if any(bundle.node == name for bundle in one.placement):
                self.die(actor)

    def run(self, event):
        """Until Stop; `event(world)` happens whenever the scheduler waits."""
        while not self.stopped:
            if not self.turn():
                assert self.running, "nothing runs and nothing is decided"
                event(self)
        states = self.queues.states
        assert set(states.values()) <= TERMINAL
        for one in self.steps.values():
            sources = [states[source] for source in one.inputs.values()]
            if states[one.id] is State.DONE:
                assert set(sources) <= FINISHED
            if states[one.id] is State.SKIPPED:
                assert set(sources) & BROKEN and self.reasons[one.id]
        return self


def all_goes_well(world):
    world.answer(sorted(world.running)[0], State.DONE)


@st.composite
def worlds(draw, kinds=("profile", "evaluate", "match", "select"), most=14):
    """(steps in topological order, costs, cluster); some models may fit nowhere, some be checkpoints of one series."""
    models = ["a", "b", "c"][: draw(st.integers(1, 3))]
    steps = []
    for i in range(draw(st.integers(1, most))):
        inputs = draw(st.lists(st.sampled_from([one.id for one in steps]), max_size=3, unique=True)) if steps else []
        kind, model = draw(st.sampled_from(kinds)), draw(st.sampled_from(models))
        steps.append(step(f"s{i}", kind, model, inputs, draw(st.sampled_from(["", "g", "h"]))))
    costs = {one.id: draw(st.sampled_from([0.0, 1.0, 25.0])) for one in steps}
    labels = st.sampled_from([(), (("kind", "big"),)])
    sizes = st.tuples(st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 3.0]), labels)
    series = {model: "s" for model in models if draw(st.booleans())}
    shared = Demand(*draw(sizes))
    demands = {model: shared if model in series else Demand(*draw(sizes)) for model in models}
    nodes = [
        Node(f"n{i}", *draw(st.tuples(st.sampled_from([1.0, 1.5, 3.0]), st.integers(0, 2))), dict(draw(labels)))
        for i in range(draw(st.integers(1, 3)))
    ]
    where = cluster(nodes, demands, series)
    shards = draw(st.integers(1, 3))  # of every corpus
    divided = {
        actor_kind: one._replace(copies=shards)
        for actor_kind, one in where.demands.items()
        if actor_kind.role is Role.SCORE
    }
    longest_first = draw(st.booleans())
    return steps, costs, replace(where, demands={**where.demands, **divided}, longest_first=longest_first)
