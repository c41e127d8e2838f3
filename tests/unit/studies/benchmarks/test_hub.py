"""The hub's failures become one line."""

import sys
from types import SimpleNamespace

import pytest

from studies.benchmarks.hub import config_names, load_rows
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
