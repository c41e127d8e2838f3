"""What `decide` answers in one turn or one small world. See `test_policy_random_worlds` for random ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.scheduling.cluster import Resident
from orchestrator.scheduling.decisions import Decision, Evict, Fail, NoRoom, Skip, Start, Stop
from orchestrator.scheduling.placement import Bundle, Demand, Node
from orchestrator.scheduling.policy import decide
from orchestrator.scheduling.ready_queues import ReadyQueues
from orchestrator.steps.step import Role, State, Step
from tests.world import ONE_CPU, OPENING, World, by_id, make_cluster, make_step, succeed

HERE = (Bundle("n", 1.0),)
"""Where an actor with one CPU lies on the only node."""


def decide_once(
    steps: Sequence[Step],
    *,
    states: Mapping[str, State] = {},
    deaths: Mapping[str, int] = {},
    residents: Sequence[Resident] = (),
    demands: Mapping[str, Demand] | None = None,
    cpus: float = 4.0,
    costs: Mapping[str, float] = {},
    series: Mapping[str, str] = {},
    draining: bool = False,
) -> list[Decision]:
    """The decisions of one turn on one node; a step takes a second; deaths: {step: how often its actor died}."""
    models = {step.model for step in steps} | {resident.model for resident in residents}
    cluster = make_cluster([Node("n", cpus)], demands or dict.fromkeys(models, ONE_CPU), series)
    queues = ReadyQueues(by_id(steps), {step.id: 1.0 for step in steps} | dict(costs))
    for name, state in states.items():
        queues.set(name, state)
    for name, count in deaths.items():
        for _ in range(count):
            queues.set(name, State.RUNNING)
            queues.lose(name)
    return decide(queues, {resident.actor: resident for resident in residents}, cluster, draining=draining)


def resident(model: str, role: Role = Role.ABLATION, *, busy: bool = False, number: int = 0) -> Resident:
    return Resident(actor=f"{model} {role} {number}", model=model, role=role, busy=busy, placement=HERE)


def opened(model: str, *steps: str, role: Role = Role.ABLATION, number: int = 0) -> Start:
    return Start(role, steps, model, f"{model} {role} {number}", HERE)


def prewarmed(model: str, number: int = 0) -> Start:
    return opened(model, number=number)


def sent(model: str, *steps: str) -> Start:
    """To an actor that is there."""
    return Start(Role.ABLATION, steps, model, f"{model} ablation 0")


def members(decisions: Sequence[Decision]) -> tuple[str, ...]:
    """The steps of the only decision, a start."""
    (start,) = decisions
    assert isinstance(start, Start)
    return start.steps


# -- requests --------------------------------------------------------------------------------------------------------


def test_ready_steps_of_a_group_are_one_request_and_groups_are_not_mixed() -> None:
    steps = [make_step("x"), make_step("y"), make_step("z", group="h"), *(make_step(name, group="") for name in "uv")]
    assert decide_once(steps) == [opened("a", "x", "y")]
    done = {"x": State.DONE, "y": State.DONE, "z": State.DONE}
    assert decide_once(steps, states=done) == [opened("a", "u")]


def test_a_request_waits_while_the_actor_is_busy() -> None:
    busy = [resident("a", busy=True)]
    assert decide_once([make_step("x"), make_step("y")], states={"x": State.RUNNING}, residents=busy) == []


def test_a_step_runs_alone_after_two_crashes_while_its_siblings_stay_together() -> None:
    steps = [make_step("x"), make_step("y"), make_step("z")]
    assert set(members(decide_once(steps, deaths={"x": 1}))) == {"x", "y", "z"}
    assert members(decide_once(steps, deaths={"x": 2, "y": 2, "z": 2})) == ("x",)
    assert members(decide_once(steps, deaths={"x": 2}, costs={"x": 0.0})) == ("y", "z")


def test_a_step_whose_actor_died_four_times_fails() -> None:
    assert decide_once([make_step("x")], deaths={"x": 4}) == [Fail("x", "given up after 4 attempts")]
    assert decide_once([make_step("x")], deaths={"x": 3}) == [opened("a", "x")]


def test_skips_come_first_and_name_the_culprit() -> None:
    steps = [make_step("x"), make_step("y", inputs=["x"]), make_step("z", inputs=["y"]), make_step("free")]
    assert decide_once(steps, states={"x": State.FAILED}) == [Skip("y", "x")]
    assert decide_once(steps, states={"x": State.FAILED, "y": State.SKIPPED}) == [Skip("z", "y")]


def test_driver_steps_run_at_once() -> None:
    steps = [make_step("x", "profile"), make_step("y", "select", inputs=["x"]), make_step("z")]
    assert decide_once(steps, states={"x": State.DONE}) == [Start(Role.DRIVER, ("y",))]


def test_the_critical_path_goes_first() -> None:
    steps = [make_step("short", group="s"), make_step("long", group="l"), make_step("end", inputs=["long"])]
    costs = {"short": 5.0, "long": 1.0, "end": 9.0}
    assert decide_once(steps, costs=costs) == [opened("a", "long")]
    queues = ReadyQueues(by_id(steps), costs, {"end": State.CACHED})
    assert decide(queues, {}, make_cluster([Node("n", 4.0)], {"a": ONE_CPU})) == [opened("a", "short")]


def test_nothing_left_is_stop() -> None:
    steps = [make_step("x"), make_step("y", inputs=["x"])]
    assert decide_once(steps, states={"x": State.DONE, "y": State.DONE}) == [Stop()]
    assert decide_once([]) == [Stop()]


def test_a_drained_study_starts_nothing_and_stops_when_nothing_runs() -> None:
    steps, running = [make_step("x"), make_step("y", group="h")], {"x": State.RUNNING}
    assert decide_once(steps, states=running, residents=[resident("a", busy=True)], draining=True) == []
    assert decide_once(steps, residents=[resident("a")], draining=True) == [Stop()]


# -- first actors ----------------------------------------------------------------------------------------------------


def test_models_run_side_by_side_where_there_is_room() -> None:
    steps = [make_step("x", model="a"), make_step("y", model="b"), make_step("z", model="c")]
    world = World(steps, {}, make_cluster([Node("n", 2.0)], dict.fromkeys("abc", ONE_CPU)))
    assert len(world.start_all().running) == 2


def test_a_resident_model_goes_before_one_that_must_be_loaded() -> None:
    steps = [make_step("x", model="a"), make_step("y", model="b")]
    assert decide_once(steps, costs={"x": 9}, residents=[resident("b")], cpus=1.0) == [sent("b", "y")]


def test_an_actor_is_evicted_when_its_model_changes_roles() -> None:
    done = {"p": State.DONE}
    score = [resident("a", Role.SCORE)]
    steps = [make_step("p", "profile"), make_step("x", inputs=["p"])]
    assert decide_once(steps, states=done, residents=score, cpus=1.0) == [Evict("a score 0")]
    both = [make_step("p", "profile"), make_step("x"), make_step("y", "profile", inputs=["x"])]
    decisions = decide_once(both, states=done, residents=score, cpus=1.0)
    assert decisions == [Evict("a score 0")], "it is needed again later, but what is ready now goes first"
    assert decide_once(both, states=done, residents=score) == [opened("a", "x")], "beside it, where there is room"


def test_an_actor_that_nothing_needs_any_more_is_closed() -> None:
    steps = [make_step("x", model="a"), make_step("y", model="b")]
    states = {"x": State.DONE, "y": State.RUNNING}
    residents = [resident("a"), resident("b", busy=True)]
    assert decide_once(steps, states=states, residents=residents) == [Evict("a ablation 0")]


def test_an_idle_actor_is_closed_when_the_others_suffice_for_what_is_left() -> None:
    steps = [make_step("x"), make_step("y", inputs=["x"], group="h")]
    residents = [resident("a", busy=True), resident("a", number=1), resident("a", number=2)]
    assert decide_once(steps, states={"x": State.RUNNING}, residents=residents) == [Evict("a ablation 2")]


def test_an_idle_actor_makes_room_for_a_model_that_waits() -> None:
    steps = [make_step("x", model="b"), make_step("y", model="a", inputs=["x"])]
    assert decide_once(steps, residents=[resident("a")], cpus=1.0) == [Evict("a ablation 0")]
    assert decide_once(steps, cpus=1.0) == [opened("b", "x")]


def test_a_model_that_fits_no_node_fails_with_its_demand_while_the_others_finish() -> None:
    steps = [make_step("x", model="big"), make_step("y", model="small"), make_step("z", model="big", inputs=["x"])]
    demands = {"big": Demand(8.0, 1.0), "small": ONE_CPU}
    world = World(steps, {}, make_cluster([Node("n", 4.0)], demands)).run(succeed)
    assert world.queues.states == {"x": State.FAILED, "y": State.DONE, "z": State.SKIPPED}
    assert world.reasons["x"] == "needs 1 GPUs, 8 CPUs"
    assert isinstance(world.log[-3], NoRoom), "only when nothing else runs: a node may come back"


# -- replicas --------------------------------------------------------------------------------------------------------


def requests(costs: Sequence[float], *, cpus: float, models: str = "a") -> dict[str, list[str]]:
    """{actor: its first request}, when everything has been started that can be."""
    steps = [make_step(f"{model}{i}", model=model) for model in models for i in range(len(costs))]
    cluster = make_cluster([Node("n", cpus)], dict.fromkeys(models, ONE_CPU))
    return World(steps, {step.id: costs[int(step.id[1:])] for step in steps}, cluster).start_all().running


def test_free_devices_take_parts_of_a_long_queue_and_come_back_for_more() -> None:
    first = requests([10.0] * 64, cpus=4.0)
    assert sorted(map(len, first.values())) == [4, 4, 4, 4], "640 s, a quarter of a quarter each"
    assert len(requests([10.0] * 64, cpus=1.0)["a ablation 0"]) == 64, "no other actor could take any"


def test_a_part_is_worth_several_openings() -> None:
    assert sorted(map(len, requests([10.0] * 12, cpus=4.0).values())) == [4, 4, 4]


def test_a_replica_is_not_opened_for_less_work_than_opening_it_takes() -> None:
    assert len(requests([1.0] * 12, cpus=4.0)) == 1
    assert len(requests([5.0] * 12, cpus=4.0)) == 2, "60 s: 40 for the first, and 20 are worth opening another"
    assert len(requests([4.0] * 12, cpus=4.0)) == 1, "48 s: 40 for the first, and 8 are not"


def test_every_model_gets_an_actor_before_any_gets_a_replica() -> None:
    first = requests([50.0] * 8, cpus=3.0, models="abc")
    assert {actor.split()[0] for actor in first} == {"a", "b", "c"}
    assert sorted({actor.split()[0] for actor in requests([50.0] * 8, cpus=5.0, models="abc")}) == ["a", "b", "c"]


def test_while_a_model_waits_for_a_node_only_those_on_it_get_replicas() -> None:
    """The big model must wait until s is done, which replicas of s bring nearer; t would only put it off."""
    steps = [make_step("big", model="b")]
    steps += [make_step(f"{model}{i}", model=model, group="") for model in "st" for i in range(8)]
    demands = {"b": Demand(3.0, 0.0), "s": ONE_CPU, "t": ONE_CPU}
    costs = {step.id: 50.0 for step in steps} | {"big": 100.0}
    world = World(steps, costs, make_cluster([Node("n", 3.0)], demands))
    world.residents["s ablation 0"], world.running["s ablation 0"] = resident("s", busy=True), ["s0"]
    world.queues.set("s0", State.RUNNING)
    assert sorted(world.start_all().running) == [f"s ablation {i}" for i in range(3)]
    world.run(succeed)
    assert set(world.queues.states.values()) == {State.DONE}
    assert world.started.index("t0") > world.started.index("big")


# -- prewarming ------------------------------------------------------------------------------------------------------

PROFILED = [make_step("p", "profile"), make_step("s", "select", inputs=["p"]), make_step("x", inputs=["s"])]
SCORING: Mapping[str, Any] = {
    "states": {"p": State.RUNNING},
    "residents": [resident("a", Role.SCORE, busy=True)],
}
"""While the profile is running."""


def test_an_actor_is_prewarmed_for_upcoming_steps_where_devices_are_free() -> None:
    assert decide_once(PROFILED, **SCORING) == [prewarmed("a")]
    assert decide_once(PROFILED, **SCORING, cpus=1.0) == []
    assert decide_once(PROFILED, **SCORING, costs={"p": 4 * OPENING + 1}) == [], "it would be idle for long"
    other = make_step("y", model="b")
    assert decide_once([*PROFILED, other], **SCORING) == [opened("b", "y")], "what is ready goes first"


def test_one_upcoming_step_gets_one_prewarmed_actor() -> None:
    residents = [*SCORING["residents"], replace(resident("a", busy=True), prewarming=True)]
    scoring: Mapping[str, Any] = {"states": SCORING["states"], "residents": residents}
    assert decide_once(PROFILED, costs={"x": 90.0}, **scoring) == []
    two = [*PROFILED, make_step("y", inputs=["s"])]
    assert decide_once(two, costs={"x": 90.0, "y": 90.0}, **scoring) == [prewarmed("a", number=1)]


def test_a_kind_is_not_prewarmed_again_after_that_has_failed() -> None:
    def event(world: World) -> None:
        opening = [actor for actor, steps in world.running.items() if not steps]
        if opening:
            world.kill(opening[0])
        else:
            succeed(world)

    world = World(PROFILED, {"p": 1.0, "x": 1.0}, make_cluster([Node("n", 4.0)], {"a": ONE_CPU})).run(event)
    assert world.log.count(prewarmed("a")) == 1 and set(world.queues.states.values()) == {State.DONE}


# -- the longest first -----------------------------------------------------------------------------------------------


def test_longest_first_gives_a_long_queue_replicas_before_a_short_one_its_first_actor() -> None:
    steps = [make_step(f"x{i}", model="a", group="") for i in range(4)] + [make_step("y", model="b")]
    cluster = make_cluster([Node("n", 2.0)], {"a": ONE_CPU, "b": ONE_CPU})
    costs = {step.id: 50.0 for step in steps}
    first = {}
    for longest_first in (False, True):
        world = World(steps, costs, replace(cluster, longest_first=longest_first))
        first[longest_first] = sorted(world.start_all().running)
        world.run(succeed)
        assert set(world.queues.states.values()) == {State.DONE}
    assert first == {False: ["a ablation 0", "b ablation 0"], True: ["a ablation 0", "a ablation 1"]}


def decide_longest_first(residents: Sequence[Resident], cpus: float, ready: float = 40.0) -> list[Decision]:
    """Two steps of 100 s that will be ready when `p` is done; beside them one of another model that is ready now."""
    upcoming = [make_step(f"x{i}", inputs=["p"], group="") for i in range(2)]
    steps = [make_step("p", "profile"), *upcoming, make_step("y", model="b")]
    cluster = replace(make_cluster([Node("n", cpus)], {"a": ONE_CPU, "b": ONE_CPU}), longest_first=True)
    queues = ReadyQueues(by_id(steps), {"p": 10.0, "x0": 100.0, "x1": 100.0, "y": ready})
    queues.set("p", State.RUNNING)
    present = [resident("a", Role.SCORE, busy=True), *residents]
    return decide(queues, {actor.actor: actor for actor in present}, cluster)


def test_devices_are_reserved_for_long_upcoming_steps() -> None:
    idle = [resident("a", number=i) for i in range(2)]
    assert decide_longest_first([], 3.0) == [prewarmed("a")]
    assert decide_longest_first(idle[:1], 3.0) == [prewarmed("a", number=1)]
    assert decide_longest_first(idle, 4.0) == [opened("b", "y")], "one actor for each step is enough"
    assert decide_longest_first(idle, 3.0) == [], "what is ready does not evict them"
    assert decide_longest_first([], 3.0, ready=1000.0) == [opened("b", "y")], "they are short compared with all work"


# -- checkpoints -----------------------------------------------------------------------------------------------------

SERIES = {"a": "s", "b": "s", "c": "s"}


def test_an_idle_actor_loads_another_checkpoint_and_a_free_device_the_next() -> None:
    steps = [make_step("x", model="b"), make_step("y", model="c")]
    reloaded = Start(Role.ABLATION, ("y",), "c", "a ablation 0", reload=True)
    assert decide_once(steps, cpus=1.0, residents=[resident("a")], series=SERIES, costs={"y": 2.0}) == [reloaded]
    world = World(steps, {"y": 2.0}, make_cluster([Node("n", 2.0)], dict.fromkeys("abc", ONE_CPU), SERIES))
    world.residents["a ablation 0"] = resident("a")
    assert world.start_all().log == [reloaded, opened("b", "x")]


def test_an_actor_stays_with_its_checkpoint_while_that_has_ready_steps() -> None:
    steps = [make_step("x", model="a"), make_step("y", model="b")]
    decisions = decide_once(steps, costs={"y": 9.0}, residents=[resident("a")], cpus=1.0, series=SERIES)
    assert decisions == [sent("a", "x")]


@pytest.mark.parametrize(
    "other", [resident("a", Role.SCORE), resident("d"), resident("a", busy=True)], ids=["role", "model", "busy"]
)
def test_an_actor_of_another_role_or_series_or_at_work_is_not_reused(other: Resident) -> None:
    decisions = decide_once([make_step("x", model="b")], residents=[other], cpus=1.0, series=SERIES)
    assert decisions == ([] if other.busy else [Evict(other.actor)])


def test_models_without_an_actor_go_before_further_checkpoints() -> None:
    steps = [make_step("x", model="a"), make_step("y", model="b"), make_step("z", model="d")]
    cluster = make_cluster([Node("n", 2.0)], dict.fromkeys("abd", ONE_CPU), SERIES)
    world = World(steps, {"x": 9.0, "y": 8.0, "z": 1.0}, cluster)
    assert sorted(world.start_all().running) == ["a ablation 0", "d ablation 0"]


def test_profiles_of_checkpoints_go_before_the_first_engine() -> None:
    """One device: scoring all checkpoints in turn costs reloads; switching roles to and fro would cost openings."""
    steps = [make_step(f"p{m}", "profile", m) for m in "abc"] + [make_step(f"e{m}", "evaluate", m) for m in "abc"]
    cluster = make_cluster([Node("n", 1.0)], dict.fromkeys("abc", ONE_CPU), SERIES)
    world = World(steps, {f"e{m}": 50.0 for m in "abc"}, cluster).run(succeed)
    kinds = [name[0] for name in world.started]
    assert kinds in (["e"] * 3 + ["p"] * 3, ["p"] * 3 + ["e"] * 3)
    assert sum(isinstance(decision, Evict) for decision in world.log) == 1, "one change of roles, no other engine"
