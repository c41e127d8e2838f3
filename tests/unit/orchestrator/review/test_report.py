"""What the review makes of names."""

import hashlib
from types import SimpleNamespace

import pytest

from orchestrator.planning.inputs import Inputs
from orchestrator.planning.outcome import Outcome
from orchestrator.record.encoding import encode
from orchestrator.record.keys import RunKey
from orchestrator.review.drawings import file_name
from orchestrator.review.findings import Findings
from orchestrator.review.mean_accuracy import record_mean_accuracies
from orchestrator.steps.step import State
from studies.benchmarks.choices import ChoiceBenchmark


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("matched", "matched"),
        ("matched/layers=0-3,8", "matched_layers_0-3_8"),
        ("org/model@main", "org_model_main"),
        ("a b.c-d_e", "a b.c-d_e"),
        ("x" * 300, "x" * 91 + "_" + hashlib.sha256(b"x" * 300).hexdigest()[:8]),
    ],
)
def test_any_name_becomes_part_of_an_artifact_path(name, expected):
    assert file_name(name) == expected
    path = f"figures/{file_name(name)}-curve.png"
    assert encode(frames={}, documents={}, files={path: b""}) == {path: b""}


class Recorded:
    """In place of the record: what was asked of it."""

    def __init__(self):
        self.commits, self.finished = {}, {}

    def intact(self, step_ids):
        return {}

    def commit(self, key, step_id, step_name, *, metrics, **tables):
        self.commits[key.name] = metrics

    def finish(self, key, status):
        self.finished[key.name] = status


def test_the_mean_accuracy_closes_its_run_again_as_its_steps_ended():
    """A commit opens a run; left open it would get the status of the whole study."""
    benchmarks = [ChoiceBenchmark(name=name, label=name, items=()) for name in ("arc", "piqa")]
    evaluations, runs, states, committed = {}, {}, {}, {}
    for condition, other in (("top", State.DONE), ("zero", State.FAILED), ("flip", State.DONE)):
        key = RunKey(kind="condition", name=condition)
        ids = evaluations["m", condition] = {name: f"{name} {condition}" for name in ("arc", "piqa", "blimp")}
        runs |= dict.fromkeys(ids.values(), (key,))
        states |= dict.fromkeys(ids.values(), State.DONE) | {ids["blimp"]: other}
        committed |= {
            ids[name]: SimpleNamespace(metrics={f"{name}/accuracy": 0.5}, tags={}) for name in ("arc", "piqa")
        }
    del committed["piqa flip"]
    plan = SimpleNamespace(study=SimpleNamespace(benchmarks=benchmarks), evaluations=evaluations, runs=runs)
    record = Recorded()
    record_mean_accuracies(Findings(plan, Outcome(states, {}, committed, Inputs(record, committed)), record))
    mean = {"multiple_choice/mean_accuracy": 0.5}
    assert record.commits == {"top": mean, "zero": mean}
    assert record.finished == {"top": "FINISHED", "zero": "FAILED"}
