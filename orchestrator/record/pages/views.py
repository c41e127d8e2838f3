"""The saved views of an experiment: which runs MLflow's table shows, in which order, under which columns and charts.

Owns the tags of the experiment that hold them, in the form that the interface of MLflow 3.17 keeps its own views in
(`ExperimentPageUIState` in its source). Two views: the conditions of the study, and the members of its schedules and
doses. Knows only the names of columns; `run_keys` of the plan sets the tags `view` and `order` by which runs are
chosen and sorted.
"""

import json
from collections.abc import Mapping, Sequence

from orchestrator.record.tags import KIND, VIEW

MEMBER_VIEW = "mlflow.sharedViewState.halfwave-members"
"""On the experiment: the view of the members of layer schedules and doses, and of neighbours of matched controls."""
EXPERIMENT_KIND = "mlflow.experimentKind"
"""On the experiment: `custom_model_development`, as MLflow's own dialog sets it. By it an interface without the switch
between GenAI and model training opens the experiment on its runs; one with the switch follows that, or an address."""

DELTA = "delta/"
"""Followed by a benchmark: the metric that says what a condition costs on it."""
SHOWN, ORDER = "view", "order"
"""Tags of a condition's run: in which view it is shown, and what it is sorted by."""
CONDITIONS, MEMBERS = "conditions", "members"
"""Values of `SHOWN`."""

PINNED_CHARTS = 8
"""Charts that are pinned, of the first metrics."""
NAME_WIDTH, TEXT_WIDTH, CHARACTER_WIDTH, PADDING = 300, 130, 8, 44
"""Widths, pixels: of a run's name, which holds the condition and the model; of a text; of a metric's name, on which the
width of its column depends."""
_NAME, _DATE = "attributes.`Run Name`", "runDateAndNestInfo"
"""Columns that MLflow always shows, by its own ids."""
_NUMBERS = ("fraction", "num_neurons")
"""Metrics of every condition, shown after what it costs."""
_PARAMS = ("intervention", "layers")
"""Params that a run's name does not say."""


def view_tags(metrics: Sequence[str]) -> dict[str, str]:
    """The tags of an experiment that hold its views. metrics: names of the metrics that both show, in this order."""
    return {
        VIEW: _view("Halfwave: conditions", CONDITIONS, metrics),
        MEMBER_VIEW: _view("Halfwave: members of schedules and doses", MEMBERS, metrics),
        EXPERIMENT_KIND: "custom_model_development",
    }


def _view(name: str, shown: str, metrics: Sequence[str]) -> str:
    deltas = [metric for metric in metrics if metric.startswith(DELTA)]
    others = [metric for metric in metrics if not metric.startswith(DELTA)]
    numbers = {f"metrics.`{metric}`": _width(metric) for metric in (*deltas, *_NUMBERS, *others)}
    params = dict.fromkeys((f"params.`{param}`" for param in _PARAMS), TEXT_WIDTH)
    charts = [_chart(metric) for metric in metrics[:PINNED_CHARTS]]
    state = {
        "searchFilter": f"tags.`{KIND}` = 'condition' AND tags.`{SHOWN}` = '{shown}'",
        "orderByKey": f"tags.`{ORDER}`",  # unless sorted by date, the interface lists child runs flat, not folded away
        "orderByAsc": True,
        "selectedColumns": [*numbers, *params],
        "columnOrder": [_NAME, _DATE, *numbers, *params],
        "columnWidths": {_NAME: NAME_WIDTH, **numbers, **params},
        "compareRunCharts": charts,
        "isAccordionReordered": True,  # else the section is sorted among those that MLflow makes
        "compareRunSections": [{"uuid": "halfwave", "name": "Halfwave", "display": True, "isReordered": False}],
    }
    return json.dumps({"name": name, "createdAt": 0, "state": json.dumps(state)})


def _width(metric: str) -> int:
    """Pixels of a column that shows the metric's name whole."""
    return CHARACTER_WIDTH * len(metric) + PADDING


def _chart(metric: str) -> Mapping[str, object]:
    """One bar a run."""
    return {
        "type": "BAR",
        "uuid": f"halfwave-{metric}",
        "metricSectionId": "halfwave",
        "isGenerated": False,
        "deleted": False,
        "runsCountToCompare": 20,
        "metricKey": metric,
        "displayName": metric,
    }
