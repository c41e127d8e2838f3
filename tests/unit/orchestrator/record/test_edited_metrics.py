"""Metrics that are not what was recorded."""

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.record.commits import edits, edits_line
from orchestrator.record.keys import Committed


def step(name: str, **metrics: Any) -> Committed:
    return Committed(step_id=name, step_name=name, experiment="e", run_id="r9", artifacts={}, metrics=metrics)


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        ({"a": 1.0, "b": 2.0, "of_others": 3.0}, []),
        ({"a": 1.0 + 1e-15, "b": 2.0}, []),
        ({"a": 1.5, "b": 2.0}, [("a", 1.5)]),
        ({"a": float("nan"), "b": 2.0}, [("a", "nan")]),
        ({"b": 2.0}, [("a", None)]),
    ],
)
def test_what_differs_is_found(shown: dict[str, float], found: list[tuple[str, Any]]) -> None:
    run = SimpleNamespace(info=SimpleNamespace(run_id="r9", run_name="tiny"), data=SimpleNamespace(metrics=shown))
    told = edits(run, [step("one", a=1.0), step("two", b=2.0)])
    assert [(edit.metric, "nan" if edit.found != edit.found else edit.found) for edit in told] == found


def test_many_edits_are_one_line() -> None:
    run = SimpleNamespace(
        info=SimpleNamespace(run_id="r9", run_name="tiny"), data=SimpleNamespace(metrics={"a": 2.0, "c": 0.1})
    )
    line = edits_line(edits(run, [step("one", a=1.0, b=1.5, c=1 / 3, d=4.0)]), "http://host", "so")
    assert line == (
        "metrics were changed in MLflow at http://host: a of run tiny (r9) is 2 there and 1 in the record; b of run "
        "tiny (r9) is missing there and 1.5 in the record; c of run tiny (r9) is 0.1 there and 0.3333333333 in the "
        "record, and 1 more; so"
    )
