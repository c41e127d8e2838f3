"""What MLflow refuses, cuts or alters, as checks that run before anything is written.

Each check returns its argument as plain types, ready for a manifest, and raises ValueError for anything that would not
come back from MLflow as it went in. The numbers are those of mlflow/utils/validation.py.
"""

import math
import numbers
import posixpath
import re
from collections.abc import Mapping
from dataclasses import replace

from orchestrator.record.keys import RunKey
from orchestrator.record.tags import RESERVED

MAX_NAME = 250
"""Characters in a metric, param or tag name (MAX_ENTITY_KEY_LENGTH)."""
MAX_PARAM = 6000
"""Characters in a param; MLflow cuts longer ones with only a warning (MAX_PARAM_VAL_LENGTH), so we refuse them."""
MAX_TAG = 8000
"""Characters in a tag, cut likewise (MAX_TAG_VAL_LENGTH)."""
MAX_BATCH = 1000
"""Metrics in one request (MAX_METRICS_PER_BATCH)."""

INDEX_FOLDER = "steps"
"""Artifact folder for what does not fit in a step's tag; no step may write artifacts there."""
RUN_KINDS = ("profile", "condition", "schedule", "study")

_NAME = re.compile(r"[/\w.\- :]+")
_PATH = re.compile(r"[/\w.\- ]+")  # MLflow percent-decodes artifact paths and refuses '#'


def check_name(what: str, name: str, pattern: re.Pattern[str] = _NAME) -> None:
    """Raise ValueError for a name that MLflow would refuse (mlflow/utils/validation.py, `_validate_metric_name`).

    `what` names the thing in the message: "metric", "param", "tag"."""
    if not isinstance(name, str) or not pattern.fullmatch(name):
        raise ValueError(f"{what} {name!r}: allowed are letters, digits, '_', '-', '.', ' ' and '/'")
    if posixpath.normpath(name) != name or name == "." or name.startswith(("..", "/")):
        raise ValueError(f"{what} {name!r}: MLflow reads it as a relative path, without '.', '..' or empty parts")
    if len(name) > MAX_NAME:
        raise ValueError(f"{what} {name[:40]!r}... has {len(name)} characters; MLflow takes {MAX_NAME}")


def check_path(path: str) -> None:
    """Raise ValueError for an artifact path that MLflow would alter, or that belongs to the record."""
    check_name("artifact path", path, _PATH)
    if path.startswith(INDEX_FOLDER + "/"):
        raise ValueError(f"artifact path {path!r}: the folder {INDEX_FOLDER}/ belongs to the record")


def check_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics as floats. ValueError for names and values that MLflow would refuse, drop or change."""
    for name, value in metrics.items():
        check_name("metric", name)
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError(f"metric {name!r} is {value!r}, not a number")
        if not math.isfinite(value):  # the SQL store would record inf as 1.8e308 and NaN as 0
            raise ValueError(f"metric {name!r} is {value}; only finite numbers are recorded")
    return {name: float(value) for name, value in metrics.items()}


def check_series(series: Mapping[str, Mapping[int, float]]) -> dict[str, list[tuple[int, float]]]:
    """{metric: {step: value}} as {metric: (step, value) pairs in order of the step}. ValueError as `check_metrics`."""
    return {
        name: [(int(step), check_metrics({name: value})[name]) for step, value in sorted(values.items())]
        for name, values in series.items()
    }


def check_texts(what: str, texts: Mapping[str, str], limit: int) -> dict[str, str]:
    """Params or tags as a plain dict. ValueError for what MLflow would refuse or cut."""
    for name, value in texts.items():
        check_name(what, name)
        if not isinstance(value, str):
            raise ValueError(f"{what} {name!r} is {value!r}, not a string")
        if len(value) > limit:
            raise ValueError(f"{what} {name!r} has {len(value)} characters; MLflow would cut it to {limit}")
        if what == "tag" and name.startswith(RESERVED):
            raise ValueError(f"tag {name!r} is one that the record sets itself")
    return dict(texts)


def check_key(key: RunKey) -> RunKey:
    """The key with plain dicts. ValueError for what MLflow would refuse or cut."""
    if key.kind not in RUN_KINDS:
        raise ValueError(f"run kind {key.kind!r}: allowed are {', '.join(RUN_KINDS)}")
    if key.kind == "study" and (key.model or key.condition or key.identity):
        raise ValueError("a study has one parent run: its key has no model, condition or identity")
    if not 0 < len(key.name) <= MAX_NAME:
        raise ValueError(f"run name {key.name[:40]!r}: MLflow takes 1 to {MAX_NAME} characters")
    return replace(key, params=check_texts("param", key.params, MAX_PARAM), tags=check_texts("tag", key.tags, MAX_TAG))
