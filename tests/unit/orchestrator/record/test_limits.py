"""What MLflow refuses, cuts or alters is refused before it is written."""

import pytest

from orchestrator.record.limits import check_metrics, check_name, check_path, check_series, check_texts


@pytest.mark.parametrize("name", ["blimp/accuracy", "a.b/c-d e:f_g", "é", "m" * 250])
def test_names_that_mlflow_takes_pass(name: str) -> None:
    assert check_metrics({name: 1}) == {name: 1.0}


@pytest.mark.parametrize("name", ["", "a@b", "a\n", "a//b", "/a", "../a", "..", ".", "a/", "m" * 251])
def test_names_that_mlflow_refuses_or_alters_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^metric "):
        check_name("metric", name)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "1", None])
def test_only_finite_numbers_are_metrics(value: float) -> None:
    with pytest.raises(ValueError, match=r"^metric 'x'"):
        check_metrics({"x": value})


def test_a_series_is_sorted_by_step() -> None:
    assert check_series({"x": {30: 1, 4: 0.5}}) == {"x": [(4, 0.5), (30, 1.0)]}
    with pytest.raises(ValueError, match="only finite numbers"):
        check_series({"x": {1: float("nan")}})


@pytest.mark.parametrize("name", ["step.blimp", "halfwave.kind", "invocation.x", "superseded_by", "adopted_from"])
def test_the_records_own_tags_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="the record sets itself"):
        check_texts("tag", {name: "x"}, 8000)
    assert check_texts("param", {name: "x"}, 6000) == {name: "x"}


def test_texts_that_mlflow_would_cut_are_refused() -> None:
    assert check_texts("param", {"x": "a" * 6000}, 6000) == {"x": "a" * 6000}
    with pytest.raises(ValueError, match="would cut it to 6000"):
        check_texts("param", {"x": "a" * 6001}, 6000)
    with pytest.raises(ValueError, match="not a string"):
        check_texts("param", {"x": 1}, 6000)


def test_the_folder_of_index_documents_is_reserved() -> None:
    check_path("items/steps.json")
    with pytest.raises(ValueError, match="belongs to the record"):
        check_path("steps/x.json")
