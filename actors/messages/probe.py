"""The probe of an engine: a few texts under vLLM and under plain Transformers, to be compared by the driver."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

PROBE_VERSION = 1
"""Of the texts of the probe. Raised with them: then recorded references no longer count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """The probe under an engine, without any clamp."""

    model: str
    """Label of the model."""
    ids: tuple[tuple[int, ...], ...]
    """Token ids of each text."""
    log_probabilities: np.ndarray
    """[T] float32, in nats, of every token after a text's first, text after text."""
    start: Mapping[str, Any]
    """What the numbers of an engine of this model may depend on, as plain JSON: versions, device, dtype, ..."""
    is_exchanged: bool
    """Whether these weights were loaded into an engine that had served another checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The probe under plain Transformers."""

    model: str
    """Label of the model."""
    ids: tuple[tuple[int, ...], ...]
    """As in `Probed`."""
    log_probabilities: np.ndarray
    """[T] float32, in nats: as in `Probed`, computed in float32."""
    rounded: np.ndarray
    """[T] float32: the same, computed in the dtype of the model."""
    transformers: str
    """Version of Transformers."""
    version: int = PROBE_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRequest:
    """Ask an ablation actor for the reference of the model that its engine serves."""
