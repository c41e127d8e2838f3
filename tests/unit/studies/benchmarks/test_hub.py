"""The hub's failures become one line."""

import sys
from types import SimpleNamespace

import pytest

from studies.benchmarks.harness.lm_eval import task_benchmark
from studies.benchmarks.hub import HubHeldBackError, config_names, held_back, load_rows
from studies.benchmarks.minimal_pairs import blimp
from tests.unit.studies.benchmarks.files import study_error


def offline(*arguments: object, **named: object) -> None:
    raise ConnectionError("no route to host\nsecond line")


def test_a_hub_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = SimpleNamespace(get_dataset_config_names=lambda path: ["x"], load_dataset=offline)
    monkeypatch.setitem(sys.modules, "datasets", stub)
    reason = "cannot be loaded from the hub: no route to host; give a local copy with --data-root or data: {root: ...}"
    assert study_error(lambda: load_rows("a/b", split="train")) == f"data set a/b (default, train) {reason}"
    assert study_error(lambda: load_rows("a/b", "c", split="test")) == f"data set a/b (c, test) {reason}"
    assert study_error(blimp, None, 2, True) == f"data set nyu-mll/blimp (x, train) {reason}"
    stub.get_dataset_config_names = offline
    assert study_error(config_names, "a/b") == f"data set a/b {reason}"
    assert study_error(blimp, None, 2, True) == f"data set nyu-mll/blimp {reason}"


def test_a_hub_that_is_held_back_is_asked_by_no_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace())
    look_ups = (
        lambda: load_rows("a/b", split="train"),
        lambda: config_names("a/b"),
        lambda: blimp(None, 2, True),
        lambda: task_benchmark("lm_eval", ["x"], items=None, fewshot=None, include=None),
    )
    for look_up in look_ups:
        with held_back(), pytest.raises(HubHeldBackError):
            look_up()
