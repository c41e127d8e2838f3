"""The scheduler against a simulated pool: random DAGs, resources, failures and deaths of actors."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.scheduler import (
    BROKEN,
    FINISHED,
    MAX_ATTEMPTS,
    SINGLE_AFTER,
    TERMINAL,
    Demand,
    Evict,
    Fail,
    Resident,
    Skip,
    Start,
    State,
    Stop,
    decide,
)
from orchestrator.steps import Role, Step


def step(name, kind="evaluate", model="a", inputs=(), group="g", work=1.0) -> Step:
    sources = {str(i): source for i, source in enumerate(inputs)}
    return Step(
        id=name, kind=kind, name=name, model=model, condition="", payload={}, inputs=sources, group=group, work=work
    )


class Pool:
    """Applies decisions as the runner and Ray would, and checks each of them on the way."""

    def __init__(self, steps, demands, capacity, states=(), series=()):
        self.steps = {one.id: one for one in steps}
        self.states = dict.fromkeys(self.steps, State.PENDING) | dict(states)
        self.attempts, self.residents, self.running = {}, {}, {}
        self.demands, self.capacity, self.series = demands, capacity, dict(series)
        self.reasons, self.log = {}, []
        self.started, self.stopped, self.turns = [], False, 0

    def turn(self) -> bool:
        """One call of `decide`, applied; False where it waits for an event."""
        self.turns += 1
        assert self.turns <= 20 + 12 * MAX_ATTEMPTS * len(self.steps), "the scheduler does not come to an end"
        known = (dict(self.states), dict(self.attempts), dict(self.residents))
        decisions = decide(
            self.steps, self.states, self.attempts, self.residents, self.demands, self.capacity, self.series
        )
        assert known == (self.states, self.attempts, self.residents), "decide is pure"
        for decision in decisions:
            self.log.append(decision)
            match decision:
                case Stop():
                    assert decisions == [Stop()]
                    self.stopped = True
                case Skip(name, culprit):
                    assert self.states[name] is State.PENDING and self.states[culprit] in BROKEN
                    assert culprit in self.steps[name].inputs.values()
                    self.states[name] = State.SKIPPED
                case Fail(name, reason):
                    assert self.states[name] is State.PENDING and reason
                    self.states[name], self.reasons[name] = State.FAILED, reason
                case Evict(model):
                    assert not self.residents.pop(model).busy
                case Start(role, model, names, takes):
                    if takes:
                        taken = self.residents.pop(takes)
                        assert not taken.busy and taken.role is role and model not in self.residents
                        assert self.series[takes] == self.series[model]
                    self.start(role, model, names)
            held = [self.demands[model] for model in self.residents]
            assert Demand(sum(d.cpus for d in held), sum(d.gpus for d in held)).fits(self.capacity)
        return bool(decisions)

    def start(self, role, model, names):
        members = [self.steps[name] for name in names]
        assert members and len(set(names)) == len(names)
        for one in members:
            assert self.states[one.id] is State.PENDING, "started twice"
            assert all(self.states[source] in FINISHED for source in one.inputs.values()), "started before its inputs"
            assert one.role is role and self.attempts.get(one.id, 0) < MAX_ATTEMPTS
            self.started.append(one.id)
        if role is Role.DRIVER:
            for one in members:
                self.states[one.id] = State.DONE
            return
        assert {one.model for one in members} == {model} and len({one.group for one in members}) == 1
        if any(self.attempts.get(name, 0) >= SINGLE_AFTER for name in names) or not members[0].group:
            assert len(names) == 1, "a step runs alone after so many crashes"
        else:
            assert set(names) == self.ready_together(members[0]), "ready steps of a group go together"
        if model in self.residents:
            assert self.residents[model].role is role and not self.residents[model].busy
        self.residents[model] = Resident(model=model, role=role, busy=True)
        self.running[model] = list(names)
        for name in names:
            self.states[name] = State.RUNNING

    def ready_together(self, first):
        return {
            one.id
            for one in self.steps.values()
            if (one.model, one.role, one.group) == (first.model, first.role, first.group)
            and self.states[one.id] is State.PENDING
            and self.attempts.get(one.id, 0) < SINGLE_AFTER
            and all(self.states[source] in FINISHED for source in one.inputs.values())
        }

    def answer(self, model, state):
        """The actor's next result; the request ends with the last one."""
        self.states[self.running[model].pop(0)] = state
        if not self.running[model]:
            del self.running[model]
            self.residents[model] = replace(self.residents[model], busy=False)

    def die(self, model):
        """The actor is lost with all that it has not answered."""
        del self.residents[model]
        for name in self.running.pop(model, ()):
            self.states[name] = State.PENDING
            self.attempts[name] = self.attempts.get(name, 0) + 1

    def run(self, event):
        """Until Stop; `event(pool)` happens whenever the scheduler waits."""
        while not self.stopped:
            if not self.turn():
                assert self.running, "nothing runs and nothing is decided"
                event(self)
        assert set(self.states.values()) <= TERMINAL
        for one in self.steps.values():
            sources = [self.states[source] for source in one.inputs.values()]
            if self.states[one.id] is State.DONE:
                assert set(sources) <= FINISHED
            if self.states[one.id] is State.SKIPPED:
                assert set(sources) & BROKEN
        return self


def all_goes_well(pool):
    pool.answer(sorted(pool.running)[0], State.DONE)


@st.composite
def worlds(draw, kinds=("profile", "evaluate", "match", "select"), most=14):
    """(steps in topological order, demands, capacity, series); some models may fit nowhere, some be checkpoints."""
    models = ["a", "b", "c"][: draw(st.integers(1, 3))]
    steps = []
    for i in range(draw(st.integers(1, most))):
        inputs = draw(st.lists(st.sampled_from([one.id for one in steps]), max_size=3, unique=True)) if steps else []
        kind, model = draw(st.sampled_from(kinds)), draw(st.sampled_from(models))
        group, work = draw(st.sampled_from(["", "g", "h"])), draw(st.sampled_from([0.0, 1.0, 5.0]))
        steps.append(step(f"s{i}", kind, model, inputs, group, work))
    sizes = st.tuples(st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([0.0, 0.5, 1.0]))
    series = {model: "s" for model in models if draw(st.booleans())}
    shared = Demand(*draw(sizes))
    demands = {model: shared if model in series else Demand(*draw(sizes)) for model in models}
    capacity = Demand(draw(st.sampled_from([1.0, 1.5, 3.0])), draw(st.sampled_from([0.0, 1.0, 2.0])))
    return steps, demands, capacity, series


def runs_somewhere(one, demands, capacity):
    return one.role is Role.DRIVER or demands[one.model].fits(capacity)


@settings(max_examples=100, deadline=None)
@given(world=worlds(), seed=st.integers(0, 2**32), deaths=st.floats(0, 0.6), failures=st.floats(0, 0.4))
def test_every_step_ends_whatever_happens(world, seed, deaths, failures):
    steps, demands, capacity, series = world
    generator = random.Random(seed)
    failed, crashes = set(), 0

    def event(pool):
        nonlocal crashes
        model = generator.choice(sorted(pool.running))
        if generator.random() < deaths:
            crashes += 1
            pool.die(model)
        elif generator.random() < failures:
            failed.add(pool.running[model][0])
            pool.answer(model, State.FAILED)
        else:
            pool.answer(model, State.DONE)

    cached = {one.id: State.CACHED for one in steps if generator.random() < 0.2}
    pool = Pool(steps, demands, capacity, cached, series).run(event)
    for one in steps:
        state, attempts = pool.states[one.id], pool.attempts.get(one.id, 0)
        assert attempts <= MAX_ATTEMPTS and pool.started.count(one.id) <= MAX_ATTEMPTS
        assert (state is State.CACHED) == (one.id in cached)
        if state is State.FAILED and one.id not in failed:
            worn = attempts == MAX_ATTEMPTS and "died 4 times" in pool.reasons[one.id]
            assert worn or not runs_somewhere(one, demands, capacity)
        if one.id in failed:
            assert state is State.FAILED and pool.started.count(one.id) == attempts + 1
    if not crashes:
        assert len(pool.started) == len(set(pool.started)), "nothing is computed twice"


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_without_trouble_all_that_can_run_is_done_once(world):
    steps, demands, capacity, series = world
    pool = Pool(steps, demands, capacity, series=series).run(all_goes_well)
    for one in steps:
        sources = [pool.states[source] for source in one.inputs.values()]
        expected = State.DONE if runs_somewhere(one, demands, capacity) else State.FAILED
        assert pool.states[one.id] is (State.SKIPPED if set(sources) & BROKEN else expected)
    assert sorted(pool.started) == sorted(name for name, state in pool.states.items() if state is State.DONE)


@settings(max_examples=40, deadline=None)
@given(world=worlds(kinds=("evaluate", "match"), most=10), data=st.data())
def test_one_step_that_kills_its_actor_does_not_take_its_siblings_down(world, data):
    steps, demands, _, series = world
    culprit = data.draw(st.sampled_from(steps)).id

    def event(pool):
        model = sorted(pool.running)[0]
        if culprit in pool.running[model]:
            pool.die(model)
        else:
            pool.answer(model, State.DONE)

    pool = Pool(steps, demands, Demand(9.0, 9.0), series=series).run(event)
    assert pool.states[culprit] is State.FAILED and pool.attempts[culprit] == MAX_ATTEMPTS
    victims = {culprit}
    for one in steps:
        victims |= {one.id} if victims & set(one.inputs.values()) else set()
    assert {name for name, state in pool.states.items() if state in BROKEN} == victims
    assert all(count <= SINGLE_AFTER for name, count in pool.attempts.items() if name != culprit)


# -- single decisions ------------------------------------------------------------------------------------------------

ONE, ROOM = Demand(1.0, 0.0), Demand(4.0, 0.0)


def decisions(steps, *, states=(), attempts=(), residents=(), demands=None, capacity=ROOM, series=()):
    steps = {one.id: one for one in steps}
    models = {one.model for one in steps.values()}
    return decide(
        steps,
        dict.fromkeys(steps, State.PENDING) | dict(states),
        dict(attempts),
        {one.model: one for one in residents},
        demands or dict.fromkeys(models, ONE),
        capacity,
        dict(series),
    )


def idle(model, role=Role.ABLATION):
    return Resident(model=model, role=role, busy=False)


def busy(model, role=Role.ABLATION):
    return Resident(model=model, role=role, busy=True)


def test_ready_steps_of_a_group_are_one_request_and_groups_are_not_mixed():
    steps = [step("x"), step("y"), step("z", group="h"), step("u", group=""), step("v", group="")]
    assert decisions(steps) == [Start(Role.ABLATION, "a", ("x", "y"))]
    done = {"x": State.DONE, "y": State.DONE, "z": State.DONE}
    assert decisions(steps, states=done) == [Start(Role.ABLATION, "a", ("u",))]


def test_a_request_waits_for_the_model_to_be_free():
    running = {"x": State.RUNNING}
    assert decisions([step("x"), step("y")], states=running, residents=[busy("a")]) == []


def test_a_step_runs_alone_after_two_crashes_while_its_siblings_stay_together():
    steps = [step("x"), step("y"), step("z")]
    assert decisions(steps, attempts={"x": 1}) == [Start(Role.ABLATION, "a", ("x", "y", "z"))]
    assert decisions(steps, attempts={"x": 2, "y": 2, "z": 2}) == [Start(Role.ABLATION, "a", ("x",))]
    assert decisions([replace(steps[0], work=0.0), *steps[1:]], attempts={"x": 2}) == [
        Start(Role.ABLATION, "a", ("y", "z"))
    ]


def test_a_step_whose_actor_died_four_times_has_failed():
    assert decisions([step("x")], attempts={"x": 4}) == [Fail("x", "its actor died 4 times")]
    assert decisions([step("x")], attempts={"x": 3}) == [Start(Role.ABLATION, "a", ("x",))]


def test_skips_come_first_and_name_the_culprit():
    steps = [step("x"), step("y", inputs=["x"]), step("z", inputs=["y"]), step("free")]
    states = {"x": State.FAILED}
    assert decisions(steps, states=states) == [Skip("y", "x")]
    assert decisions(steps, states=states | {"y": State.SKIPPED}) == [Skip("z", "y")]


def test_driver_steps_run_at_once():
    steps = [step("x", "profile"), step("y", "select", inputs=["x"]), step("z")]
    assert decisions(steps, states={"x": State.CACHED}) == [Start(Role.DRIVER, "", ("y",))]


def test_the_critical_path_goes_first():
    steps = [step("short", group="s", work=5), step("long", group="l", work=1), step("end", inputs=["long"], work=9)]
    assert decisions(steps) == [Start(Role.ABLATION, "a", ("long",))]
    finished = {"end": State.CACHED}
    assert decisions(steps, states=finished) == [Start(Role.ABLATION, "a", ("short",))]


def test_models_run_side_by_side_where_there_is_room():
    steps = [step("x", model="a"), step("y", model="b"), step("z", model="c")]
    assert {one.model for one in decisions(steps)} == {"a", "b", "c"}
    assert len(decisions(steps, capacity=Demand(2.0, 0.0))) == 2


def test_a_resident_model_goes_before_one_that_must_be_loaded():
    steps = [step("x", model="a", work=9), step("y", model="b", work=1)]
    assert decisions(steps, residents=[idle("b")], capacity=ONE) == [Start(Role.ABLATION, "b", ("y",))]


def test_an_actor_is_evicted_when_its_model_changes_roles():
    steps = [step("p", "profile"), step("x", inputs=["p"])]
    done = {"p": State.DONE}
    found = decisions(steps, states=done, residents=[idle("a", Role.SCORE)], capacity=ONE)
    assert found == [Evict("a"), Start(Role.ABLATION, "a", ("x",))]
    both = [step("p", "profile", work=1), step("x", work=9), step("y", "profile", inputs=["x"], work=1)]
    found = decisions(both, states=done, residents=[idle("a", Role.SCORE)], capacity=ONE)
    assert found == [Evict("a")], "its score actor is needed again later, but what is ready now goes first"
    assert decisions(both, states=done, capacity=ONE) == [Start(Role.ABLATION, "a", ("x",))]


def test_an_actor_that_nothing_needs_any_more_is_closed():
    steps = [step("x", model="a"), step("y", model="b")]
    states = {"x": State.DONE, "y": State.RUNNING}
    assert decisions(steps, states=states, residents=[idle("a"), busy("b")]) == [Evict("a")]


def test_an_idle_actor_makes_room_for_a_model_that_waits():
    steps = [step("x", model="b"), step("y", model="a", inputs=["x"])]
    assert decisions(steps, residents=[idle("a")], capacity=ONE) == [Evict("a")]
    assert decisions(steps, capacity=ONE) == [Start(Role.ABLATION, "b", ("x",))]


def test_a_model_that_fits_nowhere_fails_with_a_reason_while_the_others_finish():
    steps = [step("x", model="big"), step("y", model="small"), step("z", model="big", inputs=["x"])]
    demands = {"big": Demand(8.0, 1.0), "small": ONE}
    pool = Pool(steps, demands, ROOM).run(all_goes_well)
    assert pool.states == {"x": State.FAILED, "y": State.DONE, "z": State.SKIPPED}
    assert "big needs" in pool.reasons["x"] and "8.0" in pool.reasons["x"] and "4.0" in pool.reasons["x"]


def test_nothing_left_is_stop():
    steps = [step("x"), step("y", inputs=["x"])]
    assert decisions(steps, states={"x": State.CACHED, "y": State.DONE}) == [Stop()]
    assert decisions([]) == [Stop()]


@pytest.mark.parametrize(
    ("need", "free", "fits"), [((1, 1), (1, 1), True), ((1.1, 0), (1, 1), False), ((0, 2), (9, 1), False)]
)
def test_a_demand_fits_where_both_resources_do(need, free, fits):
    assert Demand(*need).fits(Demand(*free)) is fits
    assert Demand(0.1 + 0.2, 0).fits(Demand(0.3, 0)), "rounding does not keep a model out"


# -- checkpoints -----------------------------------------------------------------------------------------------------

SERIES = {"a": "s", "b": "s", "c": "s"}


def test_an_idle_actor_takes_another_checkpoint():
    steps = [step("x", model="b"), step("y", model="c", work=2.0)]
    one = {"demands": dict.fromkeys("abc", ONE), "series": SERIES, "capacity": ONE}
    assert decisions(steps, residents=[idle("a")], **one) == [Start(Role.ABLATION, "c", ("y",), "a")]
    room = one | {"capacity": Demand(2.0, 0.0)}
    both = [Start(Role.ABLATION, "c", ("y",), "a"), Start(Role.ABLATION, "b", ("x",))]
    assert decisions(steps, residents=[idle("a")], **room) == both, "a free device takes the other"


def test_an_actor_stays_with_its_checkpoint_while_that_has_something_to_do():
    steps = [step("x", model="a"), step("y", model="b", work=9.0)]
    one = {"demands": dict.fromkeys("ab", ONE), "series": SERIES, "capacity": ONE}
    assert decisions(steps, residents=[idle("a")], **one) == [Start(Role.ABLATION, "a", ("x",))]


def test_an_actor_of_another_role_series_or_model_is_not_taken():
    steps = [step("x", model="b")]
    demands = {"demands": dict.fromkeys("abd", ONE), "capacity": ONE}
    profile = step("p", kind="profile", model="a")
    found = decisions(
        [*steps, profile], states={"p": State.DONE}, residents=[idle("a", Role.SCORE)], series=SERIES, **demands
    )
    assert found[0] == Evict("a") and all(not one.takes for one in found if isinstance(one, Start))
    found = decisions(steps, residents=[idle("d")], series=SERIES, **demands)
    assert found[0] == Evict("d") and all(not one.takes for one in found if isinstance(one, Start))
    assert decisions(steps, residents=[busy("a")], series=SERIES, **demands) == []


def test_profiles_of_checkpoints_go_before_the_first_engine():
    """One device: scoring all checkpoints in turn costs reloads; going to and fro between roles would cost starts."""
    steps = [step(f"p{m}", "profile", m) for m in "abc"] + [step(f"e{m}", "evaluate", m, work=50.0) for m in "abc"]
    pool = Pool(steps, dict.fromkeys("abc", ONE), ONE, series=SERIES)
    pool.run(all_goes_well)
    kinds = [name[0] for name in pool.started]
    assert kinds in (["e"] * 3 + ["p"] * 3, ["p"] * 3 + ["e"] * 3)
    assert sum(isinstance(one, Evict) for one in pool.log) == 1, "one change of roles, no other engine"
