"""The saved views of an experiment, as MLflow's interface reads them."""

import json
from typing import Any

from orchestrator.record.pages.views import PINNED_CHARTS, view_tags

WIDTHS = (132, 108, 132, 156, 130, 130)
"""Pixels: of a metric's column as many as its name needs."""


def states(metrics: list[str]) -> dict[str, Any]:
    """{tag: the state of its view}, of the tags that hold one."""
    views = {name: json.loads(value) for name, value in view_tags(metrics).items() if "sharedViewState" in name}
    return {name: json.loads(view["state"]) for name, view in views.items()}


def test_the_saved_views_are_written_as_ever() -> None:
    view = json.loads(view_tags(["delta/blimp", "blimp/accuracy"])["mlflow.sharedViewState.halfwave"])
    assert (view["name"], view["createdAt"]) == ("Halfwave: conditions", 0)
    numbers = ["metrics.`delta/blimp`", "metrics.`fraction`", "metrics.`num_neurons`", "metrics.`blimp/accuracy`"]
    columns = [*numbers, "params.`intervention`", "params.`layers`"]
    chart = {
        "type": "BAR",
        "metricSectionId": "halfwave",
        "isGenerated": False,
        "deleted": False,
        "runsCountToCompare": 20,
    }
    assert json.loads(view["state"]) == {
        "searchFilter": "tags.`halfwave.kind` = 'condition' AND tags.`view` = 'conditions'",
        "orderByKey": "tags.`order`",
        "orderByAsc": True,
        "selectedColumns": columns,
        "columnOrder": ["attributes.`Run Name`", "runDateAndNestInfo", *columns],
        "columnWidths": {"attributes.`Run Name`": 300, **dict(zip(columns, WIDTHS, strict=True))},
        "compareRunCharts": [
            {**chart, "uuid": f"halfwave-{metric}", "metricKey": metric, "displayName": metric}
            for metric in ("delta/blimp", "blimp/accuracy")
        ],
        "isAccordionReordered": True,
        "compareRunSections": [{"uuid": "halfwave", "name": "Halfwave", "display": True, "isReordered": False}],
    }


def test_the_two_views_differ_in_their_runs_alone() -> None:
    conditions, members = states(["delta/tse", "tse/accuracy"]).values()
    assert conditions.pop("searchFilter").replace("'conditions'", "'members'") == members.pop("searchFilter")
    assert conditions == members


def test_what_a_condition_costs_stands_before_all_other_numbers() -> None:
    (state, _) = states(["perplexity", "delta/perplexity", "delta/tse", "tse/accuracy"]).values()
    assert state["selectedColumns"][:2] == ["metrics.`delta/perplexity`", "metrics.`delta/tse`"]
    assert set(state["columnOrder"]) >= set(state["selectedColumns"]) and set(state["columnWidths"]) >= set(
        state["selectedColumns"]
    )


def test_a_tag_of_an_experiment_holds_the_view_of_many_benchmarks() -> None:
    tags = view_tags([f"delta/task_{i}" for i in range(40)] + [f"task_{i}/accuracy" for i in range(40)])
    assert all(len(value) < 20_000 for value in tags.values())
    charts = [state["compareRunCharts"] for state in states([f"m{i}" for i in range(9)]).values()]
    assert [len(of_view) for of_view in charts] == [PINNED_CHARTS, PINNED_CHARTS]


def test_the_experiment_is_one_of_models_and_not_of_chats() -> None:
    assert view_tags([])["mlflow.experimentKind"] == "custom_model_development"
