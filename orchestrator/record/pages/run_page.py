"""What the page of one run shows beside what was committed on it: a note, tags and metrics to search by, its inputs.

All of it follows from results that are recorded elsewhere, so it is no step: a page is brought up to date whenever the
study is reviewed, and only what differs is written. Owns the difference between a run and its page. Knows neither
MLflow nor what a number means.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

_HEX = re.compile(r"[0-9a-f]{32,}")
DIGEST_LENGTH = 32
"""Characters of a digest that MLflow shows; it takes 36 (MAX_DATASET_DIGEST_SIZE)."""


class RunInput(NamedTuple):
    """A data set, or a model, that a run was computed from."""

    name: str
    digest: str
    """The whole one; a sha256 in hex, or what contains a commit."""
    source: str
    """Where it comes from, as text."""
    context: str
    """`model`, `benchmark`, `scoring text`."""

    @property
    def short_digest(self) -> str:
        """As MLflow takes it: the first digits of what is hexadecimal in it."""
        found = _HEX.search(self.digest)
        return (found[0] if found else hashlib.sha256(self.digest.encode()).hexdigest())[:DIGEST_LENGTH]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """What a run's page should show. What it does not name stays as it is."""

    note: str | None = None
    """Markdown; empty = none; None = as it is."""
    tags: Mapping[str, str] = field(default_factory=dict)
    owned: tuple[str, ...] = ()
    """Prefixes of tags: those on the run that are not in `tags` are removed."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    inputs: tuple[RunInput, ...] = ()


class Difference(NamedTuple):
    """What has to be written for a run to show its page."""

    tags: dict[str, str]
    removed: list[str]
    """Tags to remove."""
    new_metrics: dict[str, float]
    changed_metrics: dict[str, float]
    """Metrics that the run shows with another value."""
    inputs: list[RunInput]


def difference(
    page: RunPage, note_tag: str, tags: Mapping[str, str], metrics: Mapping[str, float], inputs: set[tuple[str, str]]
) -> Difference:
    """The difference between a page and a run's tags, metrics and inputs: {(name, short digest)}."""
    wanted, removed = dict(page.tags), [name for name in tags if name.startswith(page.owned) and name not in page.tags]
    if page.note:
        wanted[note_tag] = page.note
    elif page.note == "" and note_tag in tags:
        removed.append(note_tag)
    return Difference(
        tags={name: value for name, value in wanted.items() if tags.get(name) != value},
        removed=removed,
        new_metrics={name: value for name, value in page.metrics.items() if name not in metrics},
        changed_metrics={n: value for n, value in page.metrics.items() if n in metrics and metrics[n] != value},
        inputs=[one for one in page.inputs if (one.name, one.short_digest) not in inputs],
    )
