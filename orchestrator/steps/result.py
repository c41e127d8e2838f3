"""What an actor's answer becomes in the record: metrics, tables, documents and tags of a step.

Pure translation, the other way than `requests`. Names of metrics and artifacts are those that others rely on.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from orchestrator.record.keys import NOTHING


class StepResult(NamedTuple):
    """Of one step, as `Record.commit` takes them."""

    metrics: Mapping[str, float]
    frames: Mapping[str, pd.DataFrame]
    documents: Mapping[str, dict]
    tags: Mapping[str, str] = NOTHING
    series: Mapping[str, Mapping[int, float]] = NOTHING


def plain(value: Any) -> Any:
    """Dataclasses and mappings as plain JSON types."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, float) and value != value:
        return None
    return value
