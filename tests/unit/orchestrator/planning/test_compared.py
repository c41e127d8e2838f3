"""Which results are compared, and what `plan` foresees after an upgrade."""

from orchestrator.planning.compared import compared, evaluated_again, unlike
from orchestrator.planning.plan import Plan
from orchestrator.record.keys import Committed
from orchestrator.steps.comparability import TAG, Key
from tests.plans import plan, step_id

OLD, NEW = {"torch": "2.12.0", "vllm": "0.32.0"}, {"torch": "2.13.0", "vllm": "0.32.0"}


def key(versions: dict[str, str], pack_plan: str = "a" * 16) -> Key:
    return Key("tree", pack_plan, "float32", "cpu", tuple(versions.items()))


def recorded(study: Plan, versions: dict[str, str], *but: str) -> dict[str, Committed]:
    """All steps of a plan but some, as if these versions had recorded them."""
    return {
        step.id: Committed(
            step_id=step.id,
            step_name=step.name,
            experiment="e",
            run_id="r",
            artifacts={},
            metrics={},
            tags={TAG + step.name: key(versions).text} if step.kind.name == "evaluate" else {},
        )
        for step in study.steps.values()
        if step.id not in but
    }


def titles(study: Plan, steps: dict[str, str]) -> set[str]:
    return {study.steps[step].title for step in steps}


def test_all_conditions_of_a_model_and_benchmark_are_compared() -> None:
    study = plan()
    groups = [[study.steps[step] for step in group] for group in compared(study)]
    assert len(groups) == 3 and {step.id for group in groups for step in group} == {
        step.id for step in study.steps.values() if step.kind.name == "evaluate"
    }
    for group in groups:
        assert group[0].condition == "baseline" and len({step.params["benchmark"] for step in group}) == 1


def test_where_nothing_is_to_run_nothing_is_evaluated_again() -> None:
    study = plan()
    assert evaluated_again(study, recorded(study, OLD), NEW) == {}


def test_what_a_step_to_run_is_compared_with_is_evaluated_again() -> None:
    study = plan()
    missing = step_id(study, "evaluate.embedded_pairs", "treated")
    again = evaluated_again(study, recorded(study, OLD, missing), NEW)
    assert titles(study, again) == {
        "noise_floor.embedded_pairs a baseline",
        *(f"evaluate.embedded_pairs a {name}" for name in ("baseline", "random/seed=0", "random/seed=1", "matched")),
        "evaluate.embedded_pairs a matched/neighbour",
    }
    assert set(again.values()) == {
        "cached under torch 2.12.0; evaluated again with torch 2.13.0 because evaluate.embedded_pairs treated is"
    }
    assert evaluated_again(study, recorded(study, OLD, missing), NEW, idle=[missing]) == {}
    assert evaluated_again(study, recorded(study, NEW, missing), NEW) == {}


def test_a_package_that_is_not_installed_here_foretells_nothing() -> None:
    study = plan()
    missing = step_id(study, "evaluate.embedded_pairs", "treated")
    assert evaluated_again(study, recorded(study, OLD, missing), {}) == {}
    assert evaluated_again(study, recorded(study, OLD, missing), {"vllm": "0.32.0"}) == {}


def test_a_run_that_was_killed_half_way_is_foreseen_to_its_end() -> None:
    study = plan()
    done = step_id(study, "evaluate.embedded_pairs", "treated")
    cached = recorded(study, OLD) | {done: recorded(study, NEW)[done]}
    again = evaluated_again(study, cached, NEW)
    assert done not in again and len(again) == 6
    assert set(again.values()) == {
        "cached under torch 2.12.0; evaluated again with torch 2.13.0 because evaluate.embedded_pairs treated is"
    }


def test_results_of_the_installed_versions_stay_else_those_that_most_share() -> None:
    keys = {"a": key(OLD), "b": key(OLD), "c": key(NEW)}
    assert unlike(keys, NEW) == (key(NEW), "c", ("a", "b"))
    assert unlike(keys, {"torch": "2.14.0"}) == (key(OLD), "a", ("c",))
    assert unlike({"a": key(OLD), "b": key(OLD)}, NEW) is None and unlike({}, NEW) is None


def test_the_packs_of_the_noise_floor_do_not_matter_but_its_versions_do() -> None:
    assert unlike({"a": key(OLD), "floor": key(OLD, "")}, NEW) is None
    assert unlike({"a": key(NEW), "floor": key(OLD, "")}, NEW) == (key(NEW), "a", ("floor",))
    assert unlike({"floor": key(OLD, "")}, NEW) is None
