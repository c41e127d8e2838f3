"""What the harness's evaluator returns for a document, and what of it can be graded and read.

Owns which samples count, their metrics as numbers, and a document's requests as people read them. Refuses to know how a
task is loaded or run; imports nothing of the harness.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from studies.errors import StudyError

Sample = dict[str, Any]
"""What the harness's evaluator returns for one document; the keys are its own."""


def metric_value(value: Any) -> float | list[float]:
    """A document's metric: a number, or the target and prediction that F1 and Matthews' correlation aggregate."""
    is_scalar: bool = np.isscalar(value)
    return float(value) if is_scalar else [float(part) for part in value]


def require_gradable(samples: Mapping[str, list[Sample]]) -> None:
    """Raises StudyError unless every document is right or wrong and its metrics are numbers."""
    for task, (first, *_) in samples.items():
        if "acc" not in first["metrics"] and len(first["arguments"]) > 1 and isinstance(first["target"], str):
            raise StudyError(f"lm-eval's task {task} has neither an accuracy nor the number of a choice as its target")
        for metric in first["metrics"]:
            try:
                metric_value(first[metric])
            except (TypeError, ValueError):
                kind = type(first[metric]).__name__
                raise StudyError(
                    f"lm-eval's task {task}: the metric {metric} of a document is not a number but {kind}"
                ) from None


def first_filter(samples: list[Sample]) -> list[Sample]:
    """One sample for each document."""
    return [sample for sample in samples if sample["filter"] == samples[0]["filter"]]


def gold(target: Any, num_choices: int) -> int | None:
    """A target that is the number of one choice."""
    is_number = isinstance(target, int | np.integer) and not isinstance(target, bool)
    return int(target) if is_number and 0 <= target < num_choices else None


def readable(requests: Sequence[tuple[str, str]]) -> tuple[str, list[str]]:
    """(context, choices) of a document's (context, continuation) pairs, for people to read.

    Choices with contexts of their own stand behind them, and the context is empty. Requests for the choices alone, from
    which the harness takes the mutual information, are left out.
    """
    half = len(requests) // 2
    if half and list(requests[half:]) == [("", continuation) for _, continuation in requests[:half]]:
        requests = requests[:half]
    contexts = {context for context, _ in requests}
    if len(contexts) == 1:
        return contexts.pop(), [continuation.lstrip() for _, continuation in requests]
    return "", [context + continuation for context, continuation in requests]
