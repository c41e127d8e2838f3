"""The steps committed on a run: the tag that commits one, and the index document behind a long tag.

A step counts as committed if its run has the tag `step.<name>` and the tag can be read; nothing else on the run counts.
The tag holds the step's id, the digests of its artifacts, its metrics and its tags as JSON. If that is too long for a
tag, it moves into the artifact `steps/<name>.json` and the tag holds that document's digest. Every key is named here
and nowhere else, because stores keep them. These metrics are what every report and table uses; `edits` tells where
MLflow, on its own page, shows others, because somebody logged another value or deleted one.
"""

import json
import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from orchestrator.record.client.failures import RecordError, Unreachable
from orchestrator.record.encoding import digest
from orchestrator.record.entry import Entry, digests_of, metrics_of, parse, sha256_of, text_of, texts_of
from orchestrator.record.keys import Committed
from orchestrator.record.limits import INDEX_FOLDER, MAX_TAG, check_name
from orchestrator.record.mlflow_store import Store
from orchestrator.record.tags import STEP

log = logging.getLogger(__name__)

NUM_EDITS_SHOWN = 3
"""Edits that the line names; the others are counted."""


def committed_steps(
    store: Store, run_id: str, tags: Mapping[str, str], experiment: str, wanted: Collection[str] | None = None
) -> Iterator[Committed]:
    """The steps committed on a run, as its tags say: all, or those with a wanted step id.

    `experiment`: the name that they carry. A step whose tag or index is missing or damaged is left out, with a
    warning. Raises Unreachable if the store does not answer."""
    for tag, value in tags.items():
        if not tag.startswith(STEP):
            continue
        name = tag.removeprefix(STEP)
        try:
            content = parse(value)
            step_id = text_of(content, "id")
            if wanted is not None and step_id not in wanted:
                continue
            check_name("step", tag)
            if isinstance(content, dict) and "index" in content:
                content = parse(store.read(run_id, _index_path(name), sha256_of(content, "index")))
            yield Committed(
                step_id=step_id,
                step_name=name,
                experiment=experiment,
                run_id=run_id,
                artifacts=digests_of(content),
                metrics=metrics_of(content),
                tags=texts_of(content, "tags"),
            )
        except Unreachable:
            raise
        except (RecordError, ValueError) as error:
            log.warning("step %s of run %s counts as not done: %s", tag, run_id, error)


def commit_tag(store: Store, run_id: str, entry: Entry) -> dict[str, str]:
    """The tag that commits a step on a run. Uploads the index document if the tag needs one."""
    value = encode_tag(entry)
    if len(value) > MAX_TAG:
        index = encode_index(entry)
        store.put(run_id, index, _index_path(entry.step_name))
        value = encode_index_tag(entry, index)
    return {STEP + entry.step_name: value}


def encode_tag(entry: Entry) -> str:
    """The value of a tag that holds everything itself."""
    return json.dumps({"id": entry.step_id, **_content(entry)}, separators=(",", ":"))


def encode_index(entry: Entry) -> bytes:
    """The index document."""
    return json.dumps(_content(entry)).encode()


def encode_index_tag(entry: Entry, index: bytes) -> str:
    """The value of a tag that refers to an index document."""
    return json.dumps({"id": entry.step_id, "index": digest(index)}, separators=(",", ":"))


def _content(entry: Entry) -> dict[str, object]:
    return {
        "digests": dict(entry.digests),
        "metrics": dict(entry.metrics),
        "tags": dict(entry.tags),
        "adopted_from": entry.adopted_from,
    }


def _index_path(step_name: str) -> str:
    return f"{INDEX_FOLDER}/{step_name}.json"


class Edit(NamedTuple):
    """A metric of a run that differs from the committed one."""

    run_id: str
    run_name: str
    metric: str
    recorded: float
    found: float | None
    """In MLflow; None where the run has no such metric."""


def edits(run: Any, steps: Iterable[Committed]) -> list[Edit]:
    """The edited metrics of one of MLflow's runs, given the steps committed on it."""
    recorded: dict[str, list[float]] = {}
    for step in steps:
        for name, value in step.metrics.items():
            recorded.setdefault(name, []).append(value)
    metrics = run.data.metrics
    return [
        Edit(run.info.run_id, run.info.run_name, name, values[-1], metrics.get(name))
        for name, values in sorted(recorded.items())
        if not any(_equal(value, metrics.get(name)) for value in values)
    ]


def edits_line(found: list[Edit], safe_uri: str, remedy: str) -> str:
    """One line that says which metrics differ, and what is done about it."""
    shown = [
        f"{edit.metric} of run {edit.run_name} ({edit.run_id}) is {_shown(edit.found)} there and {edit.recorded:.10g} "
        "in the record"
        for edit in found[:NUM_EDITS_SHOWN]
    ]
    more = f", and {len(found) - NUM_EDITS_SHOWN} more" if len(found) > NUM_EDITS_SHOWN else ""
    return f"metrics were changed in MLflow at {safe_uri}: {'; '.join(shown)}{more}; {remedy}"


def _equal(recorded: float, found: float | None) -> bool:
    """Databases keep 64 bits, but not all of them print and read all of these."""
    return found is not None and math.isclose(recorded, found, rel_tol=1e-12, abs_tol=0.0)


def _shown(value: float | None) -> str:
    return "missing" if value is None else f"{value:.10g}"
