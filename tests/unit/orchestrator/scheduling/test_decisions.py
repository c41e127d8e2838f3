"""What the scheduler decides, one turn or one small world at a time. See `test_scheduler` for random ones."""

from dataclasses import replace

import pytest

from orchestrator.scheduling.placement import Bundle, Demand, Node
from orchestrator.scheduling.policy import Evict, Fail, NoRoom, Resident, Start, Stop, decide
from orchestrator.scheduling.ready_queues import ReadyQueues, Skip
from orchestrator.steps.step import Role, State
from tests.world import ONE, OPENING, World, all_goes_well, cluster, step

HERE = (Bundle("n", 1.0),)


def decided(steps, *, states=(), deaths=(), residents=(), demands=None, cpus=4.0, costs=(), series=(), draining=False):
    """The decisions of one turn on one node; deaths: {step: how often its actor died}."""
    models = {one.model for one in steps} | {one.model for one in residents}
    where = cluster([Node("n", cpus)], demands or dict.fromkeys(models, ONE), series)
    queues = ReadyQueues({one.id: one for one in steps}, dict.fromkeys([one.id for one in steps], 1.0) | dict(costs))
    for name, state in dict(states).items():
        queues.set(name, state)
    for name, count in dict(deaths).items():
        for _ in range(count):
            queues.set(name, State.RUNNING)
            queues.lose(name)
    return decide(queues, {one.actor: one for one in residents}, where, draining=draining)


def resident(model, role=Role.ABLATION, *, busy=False, number=0):
    return Resident(actor=f"{model} {role} {number}", model=model, role=role, busy=busy, placement=HERE)


def opened(model, *steps, role=Role.ABLATION, number=0):
    return Start(role, steps, model, f"{model} {role} {number}", HERE)


def sent(model, *steps):
    return Start(Role.ABLATION, steps, model, f"{model} ablation 0")


def test_ready_steps_of_a_group_are_one_request_and_groups_are_not_mixed():
    steps = [step("x"), step("y"), step("z", group="h"), step("u", group=""), step("v", group="")]
    assert decided(steps) == [opened("a", "x", "y")]
    done = {"x": State.DONE, "y": State.DONE, "z": State.DONE}
    assert decided(steps, states=done) == [opened("a", "u")]


def test_a_request_waits_for_the_model_to_be_free():
    assert decided([step("x"), step("y")], states={"x": State.RUNNING}, residents=[resident("a", busy=True)]) == []


def test_a_step_runs_alone_after_two_crashes_while_its_siblings_stay_together():
    steps = [step("x"), step("y"), step("z")]
    assert set(decided(steps, deaths={"x": 1})[0].steps) == {"x", "y", "z"}
    assert decided(steps, deaths={"x": 2, "y": 2, "z": 2})[0].steps == ("x",)
    assert decided(steps, deaths={"x": 2}, costs={"x": 0.0})[0].steps == ("y", "z")


def test_a_step_whose_actor_died_four_times_has_failed():
    assert decided([step("x")], deaths={"x": 4}) == [Fail("x", "its actor died 4 times")]
    assert decided([step("x")], deaths={"x": 3}) == [opened("a", "x")]


def test_skips_come_first_and_name_the_culprit():
    steps = [step("x"), step("y", inputs=["x"]), step("z", inputs=["y"]), step("free")]
    assert decided(steps, states={"x": State.FAILED}) == [Skip("y", "x")]
    assert decided(steps, states={"x": State.FAILED, "y": State.SKIPPED}) == [Skip("z", "y")]


def test_driver_steps_run_at_once():
    steps = [step("x", "profile"), step("y", "select", inputs=["x"]), step("z")]
    assert decided(steps, states={"x": State.DONE}) == [Start(Role.DRIVER, ("y",))]


def test_the_critical_path_goes_first():
    steps = [step("short", group="s"), step("long", group="l"), step("end", inputs=["long"])]
    costs = {"short": 5, "long": 1, "end": 9}
    assert decided(steps, costs=costs) == [opened("a", "long")]
    queues = ReadyQueues({one.id: one for one in steps}, costs, {"end": State.CACHED})
    where = cluster([Node("n", 4.0)], {"a": ONE})
    assert decide(queues, {}, where) == [opened("a", "short")]


def test_models_run_side_by_side_where_there_is_room():
    steps = [step("x", model="a"), step("y", model="b"), step("z", model="c")]
    world = World(steps, {}, cluster([Node("n", 2.0)], dict.fromkeys("abc", ONE)))
    while world.turn():
        pass
    assert len(world.running) == 2


def test_a_resident_model_goes_before_one_that_must_be_loaded():
    steps = [step("x", model="a"), step("y", model="b")]
    found = decided(steps, costs={"x": 9}, residents=[resident("b")], cpus=1.0)
    assert found == [sent("b", "y")]


def test_an_actor_is_evicted_when_its_model_changes_roles():
    done = {"p": State.DONE}
    score = [resident("a", Role.SCORE)]
    steps = [step("p", "profile"), step("x", inputs=["p"])]
    assert decided(steps, states=done, residents=score, cpus=1.0) == [Evict("a score 0")]
    both = [step("p", "profile"), step("x"), step("y", "profile", inputs=["x"])]
    found = decided(both, states=done, residents=score, cpus=1.0)
    assert found == [Evict("a score 0")], "it is needed again later, but what is ready now goes first"
    assert decided(both, states=done, residents=score) == [opened("a", "x")], "beside it, where there is room"


def test_an_actor_that_nothing_needs_any_more_is_closed():
    steps = [step("x", model="a"), step("y", model="b")]
    states = {"x": State.DONE, "y": State.RUNNING}
    assert decided(steps, states=states, residents=[resident("a"), resident("b", busy=True)]) == [Evict("a ablation 0")]


def test_an_idle_actor_makes_room_for_a_model_that_waits():
    steps = [step("x", model="b"), step("y", model="a", inputs=["x"])]
    assert decided(steps, residents=[resident("a")], cpus=1.0) == [Evict("a ablation 0")]
    assert decided(steps, cpus=1.0) == [opened("b", "x")]


def test_a_model_that_fits_nowhere_is_told_with_what_it_needs_while_the_others_finish():
    steps = [step("x", model="big"), step("y", model="small"), step("z", model="big", inputs=["x"])]
    world = World(steps, {}, cluster([Node("n", 4.0)], {"big": Demand(8.0, 1.0), "small": ONE})).run(all_goes_well)
    assert world.queues.states == {"x": State.FAILED, "y": State.DONE, "z": State.SKIPPED}
    assert world.reasons["x"] == "needs 1 GPUs, 8 CPUs"
    assert isinstance(world.log[-3], NoRoom), "only when nothing else runs: a node may come back"


def test_nothing_left_is_stop():
    steps = [step("x"), step("y", inputs=["x"])]
    assert decided(steps, states={"x": State.DONE, "y": State.DONE}) == [Stop()]
    assert decided([]) == [Stop()]


def test_a_drained_study_starts_nothing_and_stops_when_nothing_runs():
    steps = [step("x"), step("y", group="h")]
    running = {"states": {"x": State.RUNNING}, "draining": True}
    assert decided(steps, residents=[resident("a", busy=True)], **running) == []
    assert decided(steps, residents=[resident("a")], draining=True) == [Stop()]


# -- replicas --------------------------------------------------------------------------------------------------------


def shares(costs, *, cpus, demands=None, models="a"):
    """{actor: its first request}, when everything has been started that can be."""
    steps = [step(f"{model}{i}", model=model) for model in models for i in range(len(costs))]
    where = cluster([Node("n", cpus)], demands or dict.fromkeys(models, ONE))
    world = World(steps, {one.id: costs[int(one.id[1:])] for one in steps}, where)
    while world.turn():
        pass
    return world.running


def test_free_devices_take_parts_of_a_long_queue_and_come_back_for_more():
    assert sorted(map(len, shares([10.0] * 64, cpus=4.0).values())) == [4, 4, 4, 4], (
        "640 s, a quarter of a quarter each"
    )
    assert len(shares([10.0] * 64, cpus=1.0)["a ablation 0"]) == 64, "nobody else could take any"


def test_a_part_is_worth_several_openings():
    assert sorted(map(len, shares([10.0] * 12, cpus=4.0).values())) == [4, 4, 4]


def test_a_replica_is_not_opened_for_less_work_than_opening_it_takes():
    assert len(shares([1.0] * 12, cpus=4.0)) == 1
    assert len(shares([5.0] * 12, cpus=4.0)) == 2, "60 s: 40 for the first, and 20 are worth opening another"
    assert len(shares([4.0] * 12, cpus=4.0)) == 1, "48 s: 40 for the first, and 8 are not"


def test_every_model_gets_an_actor_before_any_gets_a_replica():
    found = shares([50.0] * 8, cpus=3.0, models="abc")
    assert {actor.split()[0] for actor in found} == {"a", "b", "c"}
    assert sorted({actor.split()[0] for actor in shares([50.0] * 8, cpus=5.0, models="abc")}) == ["a", "b", "c"]


def test_while_a_model_waits_for_a_node_only_those_on_it_take_more_of_it():
    """The big one must wait until s is through, which replicas of s bring nearer; t would only put it off."""
    steps = [step("big", model="b"), *(step(f"{model}{i}", model=model, group="") for model in "st" for i in range(8))]
    demands = {"b": Demand(3.0, 0.0), "s": ONE, "t": ONE}
    costs = dict.fromkeys([one.id for one in steps], 50.0) | {"big": 100.0}
    world = World(steps, costs, cluster([Node("n", 3.0)], demands))
    world.residents["s ablation 0"], world.running["s ablation 0"] = resident("s", busy=True), ["s0"]
    world.queues.set("s0", State.RUNNING)
    while world.turn():
        pass
    assert sorted(world.running) == [f"s ablation {i}" for i in range(3)]
    world.run(all_goes_well)
    assert set(world.queues.states.values()) == {State.DONE}
    assert world.started.index("t0") > world.started.index("big")


# -- ahead -----------------------------------------------------------------------------------------------------------


def prewarming(model, role=Role.ABLATION, number=0):
    return Start(role, (), model, f"{model} {role} {number}", HERE)


PROFILED = [step("p", "profile"), step("s", "select", inputs=["p"]), step("x", inputs=["s"])]
SCORING = {"states": {"p": State.RUNNING}, "residents": [resident("a", Role.SCORE, busy=True)]}


def test_an_actor_is_opened_ahead_of_what_comes_where_devices_are_free():
    assert decided(PROFILED, **SCORING) == [prewarming("a")]
    assert decided(PROFILED, **SCORING, cpus=1.0) == []
    assert decided(PROFILED, **SCORING, costs={"p": 4 * OPENING + 1}) == [], "it would be idle for long"
    other = step("y", model="b")
    assert decided([*PROFILED, other], **SCORING) == [opened("b", "y")], "what is ready goes first"


def test_one_is_enough_for_one_step_that_comes():
    residents = [*SCORING["residents"], replace(resident("a", busy=True), prewarming=True)]
    assert decided(PROFILED, costs={"x": 90.0}, states=SCORING["states"], residents=residents) == []
    two = [*PROFILED, step("y", inputs=["s"])]
    found = decided(two, costs={"x": 90.0, "y": 90.0}, states=SCORING["states"], residents=residents)
    assert found == [prewarming("a", number=1)]


def test_a_lane_is_not_opened_ahead_again_after_that_has_failed():
    world = World(PROFILED, {"p": 1.0, "x": 1.0}, cluster([Node("n", 4.0)], {"a": ONE}))

    def event(world):
        opening = [actor for actor, steps in world.running.items() if not steps]
        world.die(opening[0]) if opening else all_goes_well(world)

    world.run(event)
    assert world.log.count(prewarming("a")) == 1 and set(world.queues.states.values()) == {State.DONE}


def test_an_idle_actor_is_closed_when_the_others_are_enough_for_what_is_left():
    steps = [step("x"), step("y", inputs=["x"], group="h")]
    idle = [resident("a", number=1), resident("a", number=2)]
    found = decided(steps, states={"x": State.RUNNING}, residents=[resident("a", busy=True), *idle])
    assert found == [Evict("a ablation 2")]


# -- the longest first -----------------------------------------------------------------------------------------------


def test_in_the_order_of_length_a_long_queue_gets_replicas_before_a_short_one_its_first_actor():
    steps = [step(f"x{i}", model="a", group="") for i in range(4)] + [step("y", model="b")]
    where = cluster([Node("n", 2.0)], {"a": ONE, "b": ONE})
    costs = {one.id: 50.0 for one in steps}
    first = {}
    for longest_first in (False, True):
        world = World(steps, costs, replace(where, longest_first=longest_first))
        while world.turn():
            pass
        first[longest_first] = sorted(world.running)
        world.run(all_goes_well)
        assert set(world.queues.states.values()) == {State.DONE}
    assert first == {False: ["a ablation 0", "b ablation 0"], True: ["a ablation 0", "a ablation 1"]}


COMING = [step("p", "profile"), *(step(f"x{i}", inputs=["p"], group="") for i in range(2)), step("y", model="b")]


def long_first(residents, cpus, ready=40.0):
    """Two steps of 100 s that will be ready when `p` is done, beside one that is."""
    where = replace(cluster([Node("n", cpus)], {"a": ONE, "b": ONE}), longest_first=True)
    costs = {"p": 10.0, "x0": 100.0, "x1": 100.0, "y": ready}
    queues = ReadyQueues({one.id: one for one in COMING}, costs, {})
    queues.set("p", State.RUNNING)
    here = [resident("a", Role.SCORE, busy=True), *residents]
    return decide(queues, {one.actor: one for one in here}, where)


def test_devices_are_held_for_long_steps_that_come():
    held = [resident("a", number=i) for i in range(2)]
    assert long_first([], 3.0) == [prewarming("a")]
    assert long_first(held[:1], 3.0) == [prewarming("a", number=1)]
    assert long_first(held, 4.0) == [opened("b", "y")], "one a step is enough"
    assert long_first(held, 3.0) == [], "what is ready does not drive them out"
    assert long_first([], 3.0, ready=1000.0) == [opened("b", "y")], "they are short beside all there is to do"


# -- checkpoints -----------------------------------------------------------------------------------------------------

SERIES = {"a": "s", "b": "s", "c": "s"}


def test_an_idle_actor_takes_another_checkpoint_and_a_free_device_the_next():
    steps = [step("x", model="b"), step("y", model="c")]
    taking = {"residents": [resident("a")], "series": SERIES, "costs": {"y": 2.0}}
    taken = Start(Role.ABLATION, ("y",), "c", "a ablation 0", reload=True)
    assert decided(steps, cpus=1.0, **taking) == [taken]
    where = cluster([Node("n", 2.0)], dict.fromkeys("abc", ONE), SERIES)
    world = World(steps, {"y": 2.0}, where)
    world.residents["a ablation 0"] = resident("a")
    while world.turn():
        pass
    assert world.log == [taken, opened("b", "x")]


def test_an_actor_stays_with_its_checkpoint_while_that_has_something_to_do():
    steps = [step("x", model="a"), step("y", model="b")]
    found = decided(steps, costs={"y": 9.0}, residents=[resident("a")], cpus=1.0, series=SERIES)
    assert found == [sent("a", "x")]


@pytest.mark.parametrize(
    "other", [resident("a", Role.SCORE), resident("d"), resident("a", busy=True)], ids=["role", "model", "busy"]
)
def test_an_actor_of_another_role_or_series_or_at_work_is_not_taken(other):
    found = decided([step("x", model="b")], residents=[other], cpus=1.0, series=SERIES)
    assert found == ([] if other.busy else [Evict(other.actor)])


def test_models_without_an_actor_go_before_further_checkpoints():
    steps = [step("x", model="a"), step("y", model="b"), step("z", model="d")]
    costs = {"x": 9.0, "y": 8.0, "z": 1.0}
    world = World(steps, costs, cluster([Node("n", 2.0)], dict.fromkeys("abd", ONE), SERIES))
    while world.turn():
        pass
    assert sorted(world.running) == ["a ablation 0", "d ablation 0"]


def test_profiles_of_checkpoints_go_before_the_first_engine():
    """One device: scoring all checkpoints in turn costs reloads; going to and fro between roles would cost starts."""
    steps = [step(f"p{m}", "profile", m) for m in "abc"] + [step(f"e{m}", "evaluate", m) for m in "abc"]
    costs = {f"e{m}": 50.0 for m in "abc"}
    world = World(steps, costs, cluster([Node("n", 1.0)], dict.fromkeys("abc", ONE), SERIES)).run(all_goes_well)
    kinds = [name[0] for name in world.started]
    assert kinds in (["e"] * 3 + ["p"] * 3, ["p"] * 3 + ["e"] * 3)
    assert sum(isinstance(one, Evict) for one in world.log) == 1, "one change of roles, no other engine"
