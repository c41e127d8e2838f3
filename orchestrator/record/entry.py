"""One finished step on its way to MLflow, and the manifest that describes it on disk.

Owns the words of the manifest: `encode_manifest` and `decode_manifest` name every key, so that an outbox written by an
earlier version is still sent. Refuses to know where entries lie.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.record.encoding import digest
from orchestrator.record.keys import Committed, RunKey
from orchestrator.record.limits import MAX_TAG, check_key, check_metrics, check_name, check_texts
from orchestrator.record.tags import STEP


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A finished step, all but the bytes of its artifacts."""

    study: str
    key: RunKey
    step_id: str
    step_name: str
    metrics: Mapping[str, float]
    series: Mapping[str, Sequence[tuple[int, float]]]
    """{metric: (step, value) pairs}; MLflow's charts show them over the step."""
    tags: Mapping[str, str]
    digests: Mapping[str, str]
    """Artifact path to sha256 (hex)."""
    written_ns: int
    """Unix time in nanoseconds. It orders the entries and dates the metrics, so sending twice changes nothing."""
    adopted_from: str = ""
    """The run that these results were copied from."""

    @property
    def folder_name(self) -> str:
        """Step id and a digest of the run: the same step of two conditions makes two folders."""
        owner = [self.study, self.key.kind, self.key.model, self.key.condition, self.key.identity]
        return f"{self.step_id}.{digest(json.dumps(owner).encode())[:12]}"

    def committed(self, run_id: str = "") -> Committed:
        """The step as readers see it. `run_id`: the run it is on, empty while it waits."""
        return Committed(
            step_id=self.step_id,
            step_name=self.step_name,
            experiment=self.study,
            run_id=run_id,
            artifacts=self.digests,
            metrics=self.metrics,
            tags=self.tags,
        )


def check_entry(entry: Entry) -> Entry:
    """The entry with plain dicts. ValueError for a name or value that MLflow would refuse, cut or alter."""
    check_name("step", STEP + entry.step_name)
    key, metrics = check_key(entry.key), check_metrics(entry.metrics)
    for name in [*metrics, *entry.series]:
        if name in key.params:
            raise ValueError(f"metric {name!r}: the name is that of a param")
    return replace(entry, key=key, metrics=metrics, tags=check_texts("tag", entry.tags, MAX_TAG))


def encode_manifest(entry: Entry) -> bytes:
    """The entry as `manifest.json`."""
    key = entry.key
    manifest = {
        "study": entry.study,
        "key": {
            "kind": key.kind,
            "model": key.model,
            "name": key.name,
            "condition": key.condition,
            "identity": key.identity,
            "params": dict(key.params),
            "tags": dict(key.tags),
        },
        "step_id": entry.step_id,
        "step_name": entry.step_name,
        "metrics": dict(entry.metrics),
        "series": {name: [list(pair) for pair in pairs] for name, pairs in entry.series.items()},
        "tags": dict(entry.tags),
        "digests": dict(entry.digests),
        "written_ns": entry.written_ns,
        "adopted_from": entry.adopted_from,
    }
    return json.dumps(manifest, ensure_ascii=False, allow_nan=False).encode()


def decode_manifest(content: bytes) -> Entry:
    """The entry of a `manifest.json`; keys that are not ours are ignored. ValueError, KeyError or TypeError for content
    that is not a manifest."""
    manifest = json.loads(content)
    key = manifest["key"]
    return Entry(
        study=manifest["study"],
        key=RunKey(
            kind=key["kind"],
            model=key["model"],
            name=key["name"],
            condition=key["condition"],
            identity=key["identity"],
            params=key["params"],
            tags=key["tags"],
        ),
        step_id=manifest["step_id"],
        step_name=manifest["step_name"],
        metrics=manifest["metrics"],
        series={name: [(step, value) for step, value in pairs] for name, pairs in manifest["series"].items()},
        tags=manifest["tags"],
        digests=manifest["digests"],
        written_ns=manifest["written_ns"],
        adopted_from=manifest["adopted_from"],
    )
