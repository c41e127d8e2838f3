"""What MLflow refuses, cuts or alters is refused before it is written."""

from collections.abc import Callable

import pytest

from orchestrator.record.limits import check_metrics, check_name, check_path, check_series, check_texts

CHARACTERS = "allowed are letters, digits, '_', '-', '.', ' ' and '/'"
OWN = "is one that the record sets itself"
NAN, INFINITY = float("nan"), float("inf")


def no_path(name: str) -> str:
    return f"metric {name!r}: MLflow reads it as a relative path, without '.', '..' or empty parts"


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "empty": (lambda: check_name("metric", ""), f"metric '': {CHARACTERS}"),
    "at": (lambda: check_name("metric", "a@b"), f"metric 'a@b': {CHARACTERS}"),
    "line break": (lambda: check_name("metric", "a\n"), f"metric 'a\\n': {CHARACTERS}"),
    "two slashes": (lambda: check_name("metric", "a//b"), no_path("a//b")),
    "root": (lambda: check_name("metric", "/a"), no_path("/a")),
    "folder above": (lambda: check_name("metric", "../a"), no_path("../a")),
    "above": (lambda: check_name("metric", ".."), no_path("..")),
    "here": (lambda: check_name("metric", "."), no_path(".")),
    "slash at the end": (lambda: check_name("metric", "a/"), no_path("a/")),
    "long": (lambda: check_name("metric", "m" * 251), f"metric '{'m' * 40}'... has 251 characters; MLflow takes 250"),
    "nan": (lambda: check_metrics({"x": NAN}), "metric 'x' is nan; only finite numbers are recorded"),
    "infinity": (lambda: check_metrics({"x": INFINITY}), "metric 'x' is inf; only finite numbers are recorded"),
    "truth": (lambda: check_metrics({"x": True}), "metric 'x' is True, not a number"),
    "text": (lambda: check_metrics({"x": "1"}), "metric 'x' is '1', not a number"),
    "nothing": (lambda: check_metrics({"x": None}), "metric 'x' is None, not a number"),
    "nan in a series": (lambda: check_series({"x": {1: NAN}}), "metric 'x' is nan; only finite numbers are recorded"),
    "tag of a step": (lambda: check_texts("tag", {"step.blimp": "x"}, 8000), f"tag 'step.blimp' {OWN}"),
    "tag of ours": (lambda: check_texts("tag", {"halfwave.kind": "x"}, 8000), f"tag 'halfwave.kind' {OWN}"),
    "tag of a start": (lambda: check_texts("tag", {"invocation.x": "x"}, 8000), f"tag 'invocation.x' {OWN}"),
    "superseded": (lambda: check_texts("tag", {"superseded_by": "x"}, 8000), f"tag 'superseded_by' {OWN}"),
    "adopted": (lambda: check_texts("tag", {"adopted_from": "x"}, 8000), f"tag 'adopted_from' {OWN}"),
    "long param": (
        lambda: check_texts("param", {"x": "a" * 6001}, 6000),
        "param 'x' has 6001 characters; MLflow would cut it to 6000",
    ),
    "number as param": (lambda: check_texts("param", {"x": 1}, 6000), "param 'x' is 1, not a string"),
    "folder of index documents": (
        lambda: check_path("steps/x.json"),
        "artifact path 'steps/x.json': the folder steps/ belongs to the record",
    ),
}


@pytest.mark.parametrize(("check", "message"), REFUSED.values(), ids=REFUSED)
def test_what_mlflow_refuses_or_alters_is_refused(check: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        check()
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["blimp/accuracy", "a.b/c-d e:f_g", "é", "m" * 250])
def test_names_that_mlflow_takes_pass(name: str) -> None:
    assert check_metrics({name: 1}) == {name: 1.0}


def test_a_series_is_sorted_by_step() -> None:
    assert check_series({"x": {30: 1, 4: 0.5}}) == {"x": [(4, 0.5), (30, 1.0)]}


@pytest.mark.parametrize("name", ["step.blimp", "halfwave.kind", "invocation.x", "superseded_by", "adopted_from"])
def test_the_records_own_tags_may_name_params(name: str) -> None:
    assert check_texts("param", {name: "x"}, 6000) == {name: "x"}


def test_a_text_as_long_as_mlflow_takes_passes() -> None:
    assert check_texts("param", {"x": "a" * 6000}, 6000) == {"x": "a" * 6000}


def test_other_folders_pass() -> None:
    check_path("items/steps.json")
