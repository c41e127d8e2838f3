"""What MLflow refuses, cuts or alters: the checks that keep a commit from it, before anything is written."""

import math
import numbers
import posixpath
import re
from collections.abc import Mapping
from dataclasses import replace

from orchestrator.record.keys import RunKey

MAX_NAME = 250
"""Characters in a metric, param or tag name; mlflow/utils/validation.py, MAX_ENTITY_KEY_LENGTH."""


MAX_PARAM = 6000
"""Characters in a param; MLflow cuts longer ones with only a warning (MAX_PARAM_VAL_LENGTH), so we refuse them."""


MAX_TAG = 8000
"""Characters in a tag, cut likewise (MAX_TAG_VAL_LENGTH)."""


INDEX_FOLDER = "steps"
"""Where the record keeps what does not fit in a step's tag; no step may write artifacts there."""


PROGRESS = "progress/"
"""Prefix of live metrics. MLflow shows the value at a metric's largest step, so a live value could hide a result."""


RUN_KINDS = ("profile", "condition", "schedule", "study")


_NAME = re.compile(r"[/\w.\- :]+")


_PATH = re.compile(r"[/\w.\- ]+")  # MLflow percent-decodes artifact paths and refuses '#'


_RESERVED_TAGS = ("step.", "halfwave.", "invocation.", "superseded_by", "adopted_from")


def check_name(what: str, name: str, pattern: re.Pattern[str] = _NAME) -> None:
    """Raise ValueError for a name that MLflow would refuse (mlflow/utils/validation.py, `_validate_metric_name`)."""
    if not isinstance(name, str) or not pattern.fullmatch(name):
        raise ValueError(f"{what} {name!r}: allowed are letters, digits, '_', '-', '.', ' ' and '/'")
    if posixpath.normpath(name) != name or name == "." or name.startswith(("..", "/")):
        raise ValueError(f"{what} {name!r} does not stay itself as a path; it would be {posixpath.normpath(name)!r}")
    if len(name) > MAX_NAME:
        raise ValueError(f"{what} {name[:40]!r}... has {len(name)} characters; MLflow takes {MAX_NAME}")


def check_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics as floats. ValueError for names and values that MLflow would refuse, drop or change."""
    for name, value in metrics.items():
        check_name("metric", name)
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError(f"metric {name!r} is {value!r}, not a number")
        if not math.isfinite(value):  # the SQL store would record inf as 1.8e308 and NaN as 0
            raise ValueError(f"metric {name!r} is {value}; a number that is not finite is never recorded")
    return {name: float(value) for name, value in metrics.items()}


def check_texts(what: str, texts: Mapping[str, str], limit: int) -> dict[str, str]:
    """Params or tags as a plain dict. ValueError for what MLflow would refuse or cut."""
    for name, value in texts.items():
        check_name(what, name)
        if not isinstance(value, str):
            raise ValueError(f"{what} {name!r} is {value!r}, not a string")
        if len(value) > limit:
            raise ValueError(f"{what} {name!r} has {len(value)} characters; MLflow would cut it to {limit}")
        if what == "tag" and name.startswith(_RESERVED_TAGS):
            raise ValueError(f"tag {name!r} is one that the record sets itself")
    return dict(texts)


def check_key(key: RunKey) -> RunKey:
    """The key with plain dicts, ready for a manifest."""
    if key.kind not in RUN_KINDS:
        raise ValueError(f"run kind {key.kind!r}: allowed are {', '.join(RUN_KINDS)}")
    if not 0 < len(key.name) <= MAX_NAME:
        raise ValueError(f"run name {key.name[:40]!r}: MLflow takes 1 to {MAX_NAME} characters")
    return replace(key, params=check_texts("param", key.params, MAX_PARAM), tags=check_texts("tag", key.tags, MAX_TAG))
