"""Why a step is not cached: the parameter that changed, however far upstream, as the study file names it."""

import pytest

from orchestrator.explanation.causes import root_causes
from orchestrator.explanation.explanation import Cause
from orchestrator.explanation.wording import Named, parameter
from orchestrator.planning.plan import Plan
from orchestrator.record.client.failures import DamagedArtifact
from orchestrator.steps.artifacts import identity_document
from tests import plans
from tests.fakes import FakeRecord


def recorded(plan: Plan) -> FakeRecord:
    """A record with every step of a plan."""
    record = FakeRecord()
    for step in plan.steps.values():
        documents = {identity_document(step.name): dict(step.payload)}
        (key, *_) = plan.runs[step.id]
        record.commit(key, step.id, step.name, metrics={}, frames={}, documents=documents)
    return record


def causes(old: Plan, new: Plan, name: str, condition: str) -> list[Cause]:
    """What changed for a step between two plans."""
    record, step = recorded(old), new.steps[plans.step_id(new, name, condition)]
    return root_causes(new, record, step, record.steps[plans.step_id(old, name, condition)])


def texts(found: list[Cause]) -> list[str]:
    return [cause.text for cause in found]


def test_a_fraction_is_found_through_the_selection() -> None:
    new = plans.plan(plans.changed("select: top, fraction: 0.1", "select: top, fraction: 0.2"))
    (cause,) = causes(plans.plan(), new, "evaluate.embedded_pairs", "treated")
    assert (cause.text, cause.through) == ("treated.fraction 0.1 -> 0.2", ("select a treated",))
    (cause,) = causes(plans.plan(), new, "evaluate.embedded_pairs", "random/seed=0")
    assert cause.through == ("select a random/seed=0", "select a treated"), "of whose size it is"
    (cause,) = causes(plans.plan(), new, "select", "treated")
    assert (cause.change.before, cause.change.after, cause.through) == (0.1, 0.2, ())


def test_a_parameter_that_reaches_a_step_by_several_ways_is_one_cause() -> None:
    new = plans.plan(plans.changed("tokens: 4096, window: 128", "tokens: 8192, window: 128"))
    (cause,) = causes(plans.plan(), new, "evaluate.embedded_pairs", "random/seed=1")
    assert cause.text == "profile.tokens 4096 -> 8192" and cause.through[-1] == "profile a"
    (cause,) = causes(plans.plan(), new, "match", "matched")
    assert cause.text == "profile.tokens 4096 -> 8192"


def test_several_parameters_are_several_causes_the_own_one_first() -> None:
    text = plans.changed("fraction: 0.1, clamp: negative", "fraction: 0.2, clamp: positive")
    found = texts(causes(plans.plan(), plans.plan(text), "evaluate.embedded_pairs", "treated"))
    assert found[-1] == "treated.fraction 0.1 -> 0.2" and len(found) > 1
    assert all(one.startswith("treated.clamp.") for one in found[:-1])
    found = texts(causes(plans.plan(), plans.plan(text), "match", "matched"))
    assert any(one.startswith("treated.clamp.") for one in found), "the clamp of the condition that it is matched to"


def test_the_files_of_a_model_and_its_dtype() -> None:
    new = plans.plan(models=[plans.model(digest="d2")])
    assert set(texts(causes(plans.plan(), new, "evaluate.embedded_pairs", "treated"))) == {
        'the files of a "d1" -> "d2"'
    }
    new = plans.plan(models=[plans.model(dtype="bfloat16")])
    assert set(texts(causes(plans.plan(), new, "evaluate.embedded_pairs", "baseline"))) == {
        'a.dtype "float32" -> "bfloat16"'
    }


def test_an_input_that_is_recorded_no_more_is_named_itself() -> None:
    old, new = plans.plan(), plans.plan(plans.changed("select: top, fraction: 0.1", "select: top, fraction: 0.2"))
    record = recorded(old)
    del record.steps[plans.step_id(old, "select", "treated")]
    step = new.steps[plans.step_id(new, "evaluate.embedded_pairs", "treated")]
    last = record.steps[plans.step_id(old, "evaluate.embedded_pairs", "treated")]
    (cause,) = root_causes(new, record, step, last)
    assert cause.parameter == "the input 'neurons' of evaluate.embedded_pairs a treated" and cause.through == ()


def test_what_cannot_be_read_is_the_callers() -> None:
    old, record = plans.plan(), recorded(plans.plan())
    record.unreadable = {identity_document("profile")}
    step = plans.step_id(old, "profile", "")
    with pytest.raises(DamagedArtifact):
        root_causes(old, record, old.steps[step], record.steps[step])


@pytest.mark.parametrize(
    ("place", "step", "name"),
    [
        ("version", Named("evaluate", "evaluate.blimp", "m", "c"), "Halfwave's version of `evaluate`"),
        ("params.digest", Named("evaluate", "evaluate.blimp", "m", "c"), "the texts of blimp"),
        ("params.window", Named("evaluate", "evaluate.perplexity", "m", "c"), "perplexity.window"),
        ("params.pack_nodes", Named("evaluate", "noise_floor.blimp", "m", ""), "noise_floor of blimp: pack_nodes"),
        ("params.engine.quantization", Named("evaluate", "evaluate.blimp", "m", "c"), "m.engine.quantization"),
        ("params.clamp.floor", Named("evaluate", "evaluate.blimp", "m", "top/layers=0-3"), "top.clamp.floor"),
        ("params.within", Named("match", "match", "m", "matched"), "matched.match.within"),
        ("params.score", Named("match", "match", "m", "matched"), "matched.score"),
        ("params.treated_clamp.floor", Named("match", "match", "m", "matched", "top"), "top.clamp.floor"),
        ("params.before", Named("weights", "weights", "m", ""), "the files of the previous checkpoint"),
        ("params.seed", Named("examples", "examples", "m", ""), "profile.seed"),
    ],
)
def test_a_parameter_has_the_name_of_the_study_file(place: str, step: Named, name: str) -> None:
    assert parameter(place, step) == name
