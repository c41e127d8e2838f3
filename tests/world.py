"""Simulated clusters for tests of the scheduler: random ones, and one that applies decisions and checks each of them.

`World` does what the runner and Ray would do with a decision, and asserts that they could: states, devices, attempts.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import strategies as st

from orchestrator.scheduling.cluster import ActorKind, Cluster, Resident
from orchestrator.scheduling.decisions import Decision, Evict, Fail, NoRoom, Skip, Start, Stop
from orchestrator.scheduling.placement import Demand, Devices, Node
from orchestrator.scheduling.policy import decide
from orchestrator.scheduling.ready_queues import MAX_ATTEMPTS, SINGLE_AFTER, ReadyQueues
from orchestrator.steps import evaluate, match, profile, select
from orchestrator.steps.step import BROKEN, FINISHED, TERMINAL, Role, State, Step

ONE_CPU = Demand(1.0, 0.0)
OPENING = 10.0
"""Seconds to open an actor, unless a test says otherwise."""

Drawn = tuple[list[Step], dict[str, float], Cluster]
"""(steps in topological order, seconds by step id, cluster)."""


KINDS = {module.KIND.name: module.KIND for module in (profile, select, match, evaluate)}


def make_step(
    name: str, kind: str = "evaluate", model: str = "a", inputs: Collection[str] = (), group: str = "g"
) -> Step:
    sources = {str(i): source for i, source in enumerate(inputs)}
    return Step(
        id=name, kind=KINDS[kind], name=name, model=model, condition="", payload={}, inputs=sources, group=group
    )


def by_id(steps: Sequence[Step]) -> dict[str, Step]:
    return {step.id: step for step in steps}


def make_cluster(
    nodes: Collection[Node], demands: Mapping[str, Demand], series: Mapping[str, str] = {}, opening: float = OPENING
) -> Cluster:
    """demands: {model: resources of its score actor and of its ablation actor}."""
    by_kind = {
        ActorKind(model, role): demand for model, demand in demands.items() for role in (Role.SCORE, Role.ABLATION)
    }
    return Cluster(nodes=nodes, demands=by_kind, opening=dict.fromkeys(demands, opening), series=dict(series))


class World:
    """Steps, actors and devices; see the module."""

    def __init__(
        self,
        steps: Sequence[Step],
        costs: Mapping[str, float],
        cluster: Cluster,
        states: Mapping[str, State] = {},
    ):
        """costs: seconds by step id; states: of steps that have ended."""
        self.steps, self.cluster = by_id(steps), cluster
        self.queues = ReadyQueues(self.steps, costs, states)
        self.residents: dict[str, Resident] = {}
        self.running: dict[str, list[str]] = {}
        """{actor: steps of its request without a result; empty while it is only being opened}."""
        self.reasons: dict[str, str] = {}
        self.log: list[Decision] = []
        self.started: list[str] = []
        self.stopped, self.num_turns = False, 0

    def turn(self) -> bool:
        """One call of `decide`, applied; False when it waits for an event."""
        self.num_turns += 1
        assert self.num_turns <= 40 + 20 * MAX_ATTEMPTS * len(self.steps), "the scheduler does not come to an end"
        before = (dict(self.queues.states), dict(self.queues.attempts), dict(self.residents))
        decisions = decide(self.queues, self.residents, self.cluster)
        assert before == (self.queues.states, self.queues.attempts, self.residents), "decide changes nothing"
        for decision in decisions:
            self.log.append(decision)
            if decision == Stop():
                assert decisions == [Stop()]
                self.stopped = True
            else:
                self._apply(decision)
            self._check_devices()
        return bool(decisions)

    def _apply(self, decision: Decision) -> None:
        match decision:
            case Skip(name, culprit):
                assert self.queues.states[name] is State.PENDING and self.queues.states[culprit] in BROKEN
                assert culprit in self.steps[name].inputs.values()
                self._end(name, State.SKIPPED, f"needs {culprit}")
            case Fail(name, reason):
                assert self.queues.states[name] is State.PENDING and reason
                self._end(name, State.FAILED, reason)
            case NoRoom(actor_kind, demand):
                assert not self.running and Devices(self.cluster.nodes).place(demand) is None
                for name in self.queues.ready_steps(actor_kind):
                    self._end(name, State.FAILED, f"needs {demand}")
            case Evict(actor):
                assert not self.residents.pop(actor).busy
            case Start():
                self._start(decision)

    def _end(self, name: str, state: State, reason: str) -> None:
        self.reasons[name] = reason
        self.queues.set(name, state)

    def _start(self, start: Start) -> None:
        members = [self.steps[name] for name in start.steps]
        assert len(set(start.steps)) == len(start.steps)
        for step in members:
            assert self.queues.states[step.id] is State.PENDING, "started twice"
            assert all(self.queues.states[source] in FINISHED for source in step.inputs.values()), "before its inputs"
            assert step.role is start.role and self.queues.attempts.get(step.id, 0) < MAX_ATTEMPTS
            self.started.append(step.id)
        if start.role is Role.DRIVER:
            for step in members:
                self.queues.set(step.id, State.DONE)
            return
        if members:
            self._check_request(start, members)
        else:
            assert start.actor not in self.residents
            assert self.queues.num_pending[ActorKind(start.model, start.role)], "prewarmed for no step"
        before = self.residents.get(start.actor)
        self._check_actor(start, before)
        self.residents[start.actor] = Resident(
            actor=start.actor,
            model=start.model,
            role=start.role,
            busy=True,
            prewarming=not members,
            placement=before.placement if before else start.placement,
        )
        self.running[start.actor] = list(start.steps)
        for name in start.steps:
            self.queues.set(name, State.RUNNING)

    def _check_request(self, start: Start, members: Sequence[Step]) -> None:
        assert {step.model for step in members} == {start.model} and len({step.group for step in members}) == 1
        crashed = any(self.queues.attempts.get(name, 0) >= SINGLE_AFTER for name in start.steps)
        if crashed or not members[0].group:
            assert len(start.steps) == 1, "a step runs alone after two crashes, and without a group"

    def _check_actor(self, start: Start, before: Resident | None) -> None:
        assert (before is None) == bool(start.placement) and not (before and before.busy)
        if start.reload:
            series = self.cluster.series
            assert before is not None and before.role is start.role
            assert series[before.model] == series[start.model] != ""
        elif before:
            assert (before.model, before.role) == (start.model, start.role)

    def _check_devices(self) -> None:
        """No GPU has two owners, no node gives more than it has, and every actor has what it demands."""
        cpus: dict[str, float] = {}
        shares: dict[tuple[str, int], float] = {}
        for resident in self.residents.values():
            demand = self.cluster.demands[resident.actor_kind]
            gpus = sum(share for bundle in resident.placement for _, share in bundle.gpus)
            assert sum(bundle.cpus for bundle in resident.placement) == pytest.approx(demand.copies * demand.cpus)
            assert gpus == pytest.approx(demand.copies * demand.gpus)
            for bundle in resident.placement:
                cpus[bundle.node] = cpus.get(bundle.node, 0.0) + bundle.cpus
                for device, share in bundle.gpus:
                    shares[bundle.node, device] = shares.get((bundle.node, device), 0.0) + share
        for node in self.cluster.nodes:
            assert cpus.get(node.id, 0.0) <= node.cpus + 1e-6
            assert all(device < node.gpus for name, device in shares if name == node.id)
        assert all(share <= 1 + 1e-6 for share in shares.values()), "a GPU has two owners"

    # -- events ------------------------------------------------------------------------------------------------------

    def answer(self, actor: str, state: State) -> None:
        """The actor's next step ends; its request ends with the last step, and prewarming ends at once."""
        if self.running[actor]:
            self.queues.set(self.running[actor].pop(0), state)
        if not self.running[actor]:
            del self.running[actor]
            self.residents[actor] = replace(self.residents[actor], busy=False, prewarming=False)

    def kill(self, actor: str) -> None:
        """The actor dies, and its steps without a result are lost."""
        if self.residents[actor].prewarming:
            self.queues.never_prewarm(self.residents[actor].actor_kind)
        del self.residents[actor]
        for name in self.running.pop(actor, ()):
            self.queues.lose(name)

    def remove_node(self, name: str) -> None:
        """The node goes, and its actors die."""
        self.cluster = replace(self.cluster, nodes=[node for node in self.cluster.nodes if node.id != name])
        for actor, resident in list(self.residents.items()):
            if any(bundle.node == name for bundle in resident.placement):
                self.kill(actor)

    def start_all(self) -> "World":
        """Turns until the scheduler waits for an event."""
        while self.turn():
            pass
        return self

    def run(self, event: Callable[["World"], None]) -> "World":
        """Turns until Stop; `event(world)` happens whenever the scheduler waits."""
        while not self.stopped:
            if not self.turn():
                assert self.running, "nothing runs and nothing is decided"
                event(self)
        states = self.queues.states
        assert set(states.values()) <= TERMINAL
        for step in self.steps.values():
            sources = {states[source] for source in step.inputs.values()}
            if states[step.id] is State.DONE:
                assert sources <= FINISHED
            if states[step.id] is State.SKIPPED:
                assert sources & BROKEN and self.reasons[step.id]
        return self


LARGE_NODE = Node("large", 9.0, 9, {"kind": "big"})
"""Has room for every actor that `worlds` may ask for."""


def succeed(world: World) -> None:
    """An event: the first actor's next step succeeds."""
    world.answer(sorted(world.running)[0], State.DONE)


@st.composite
def worlds(draw: st.DrawFn, kinds: Sequence[str] = ("profile", "evaluate", "match", "select"), most: int = 14) -> Drawn:
    """Up to `most` random steps on a random cluster.

    Some models may fit no node, some may be checkpoints of one series.
    """
    models = ["a", "b", "c"][: draw(st.integers(1, 3))]
    steps: list[Step] = []
    for i in range(draw(st.integers(1, most))):
        earlier = [step.id for step in steps]
        inputs = draw(st.lists(st.sampled_from(earlier), max_size=3, unique=True)) if earlier else []
        kind, model = draw(st.sampled_from(kinds)), draw(st.sampled_from(models))
        steps.append(make_step(f"s{i}", kind, model, inputs, draw(st.sampled_from(["", "g", "h"]))))
    costs = {step.id: draw(st.sampled_from([0.0, 1.0, 25.0])) for step in steps}
    labels = st.sampled_from([(), (("kind", "big"),)])
    sizes = st.tuples(st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 3.0]), labels)
    series = {model: "s" for model in models if draw(st.booleans())}
    of_series = Demand(*draw(sizes))
    demands = {model: of_series if model in series else Demand(*draw(sizes)) for model in models}
    nodes = [
        Node(f"n{i}", *draw(st.tuples(st.sampled_from([1.0, 1.5, 3.0]), st.integers(0, 2))), dict(draw(labels)))
        for i in range(draw(st.integers(1, 3)))
    ]
    cluster = make_cluster(nodes, demands, series)
    shards = draw(st.integers(1, 3))  # of every corpus
    in_shards = {
        actor_kind: demand._replace(copies=shards)
        for actor_kind, demand in cluster.demands.items()
        if actor_kind.role is Role.SCORE
    }
    longest_first = draw(st.booleans())
    return steps, costs, replace(cluster, demands={**cluster.demands, **in_shards}, longest_first=longest_first)
