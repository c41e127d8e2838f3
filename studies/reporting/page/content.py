"""What the page shows, as plain data.

Owns the shape of everything that a page is made from; whoever builds it reads the record. Callers rely on: a part that
the record does not have is empty, and its section is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd


class Picture(NamedTuple):
    """A recorded figure."""

    svg: bytes | None
    png: bytes | None
    title: str
    caption: str


class Cell(NamedTuple):
    """Where flipped items belong."""

    model: str
    condition: str
    benchmark: str


class Passages(NamedTuple):
    """Texts whose tokens were scored under the baseline and several conditions."""

    model: str
    benchmark: str
    texts: Mapping[int, str]
    """{document: its text}."""
    tokens: Mapping[str, pd.DataFrame]
    """{condition: columns document, start, end, before, after}: nats under the baseline and the condition."""


class Proof(NamedTuple):
    """How one evaluation was computed."""

    model: str
    condition: str
    benchmark: str
    num_neurons: int
    layers_confirmed: int
    """Layers in which the engine confirmed the neurons of the condition."""
    clipped_fraction: float
    """Share of the selected pre-activations that the clamp changed on the probe's texts."""
    route: str
    engine: str
    """Device, dtype and versions: `cpu, float32, vllm 0.32.0, torch 2.13.0`."""
    difference: float | None
    """Largest difference of a log-probability to plain Transformers on the probe's texts, nats."""
    tolerance: float | None


class Match(NamedTuple):
    """How a search for a matched control ended."""

    model: str
    condition: str
    fraction: float | None
    target: float | None
    """Perplexity of the treated condition on the search's windows."""
    reached: float | None
    """Perplexity of the accepted control on the same windows."""
    why_unmatched: str


class Link(NamedTuple):
    """Something recorded, and where MLflow shows it."""

    name: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Everything on a page."""

    study: str
    report: Mapping[str, Any]
    """The recorded report, as `records.completed` returns it."""
    comparisons: pd.DataFrame = field(default_factory=pd.DataFrame)
    """`comparisons.parquet` with the column model; empty where there is none."""
    flips: Mapping[Cell, pd.DataFrame] = field(default_factory=dict)
    """Flipped items with their texts, as `flips.flips` joined with the texts."""
    passages: Sequence[Passages] = ()
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    """{name in the record: figure}."""
    proofs: Sequence[Proof] = ()
    matches: Sequence[Match] = ()
    definition: str = ""
    """The text of the study file."""
    resolved: Mapping[str, Any] = field(default_factory=dict)
    """What its names stood for: `resolved.json`."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """What it was run with: `environment.json`."""
    finished: str = ""
    """When the report was made: 2026-12-01."""
    run_since: str = ""
    """When the study was last run, where that was after the run of the report; then the study file, what its names
    stood for and the environment are those of the later run."""
    links: Sequence[Link] = ()
    run_links: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """{(model, condition): where MLflow shows its run}."""
    store: str = ""
    """The tracking URI, without secrets."""
    command: str = ""
    """The command that runs the study again."""
