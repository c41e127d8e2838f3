"""The steps committed on a run: the tag that commits one, and the index document behind a long tag.

A step counts as committed if its run has the tag `step.<name>` and the tag can be read; nothing else on the run counts.
The tag holds the step's id, the digests of its artifacts, its metrics and its tags as JSON. If that is too long for a
tag, it moves into the artifact `steps/<name>.json` and the tag holds that document's digest. Every key is named here
and nowhere else, because stores keep them.
"""

import json
import logging
from collections.abc import Collection, Iterator, Mapping

from orchestrator.record.client.failures import RecordError, Unreachable
from orchestrator.record.encoding import digest
from orchestrator.record.entry import Entry
from orchestrator.record.keys import Committed
from orchestrator.record.limits import INDEX_FOLDER, MAX_TAG
from orchestrator.record.mlflow_store import Store
from orchestrator.record.tags import STEP

log = logging.getLogger(__name__)


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
            content = json.loads(value)
            if wanted is not None and content["id"] not in wanted:
                continue
            if "index" in content:
                content |= json.loads(store.read(run_id, _index_path(name), content["index"]))
            yield Committed(
                step_id=content["id"],
                step_name=name,
                experiment=experiment,
                run_id=run_id,
                artifacts=content["digests"],
                metrics=content["metrics"],
                tags=content["tags"],
            )
        except Unreachable:
            raise
        except (RecordError, ValueError, KeyError, TypeError) as error:
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
