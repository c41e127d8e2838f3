"""One finished step on its way to MLflow, and the manifest that describes it on disk.

Owns the words of the manifest: `encode_manifest` and `decode_manifest` name every key, so that an outbox written by an
earlier version is still sent. Refuses to know where entries lie. Whatever is read back, here or of a run (`commits`),
passes through the same checks, because others may have written it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from orchestrator.record.encoding import digest
from orchestrator.record.keys import Committed, RunKey
from orchestrator.record.limits import MAX_TAG, check_key, check_metrics, check_name, check_path, check_texts
from orchestrator.record.tags import STEP

_Kind = TypeVar("_Kind")
_SHA256 = re.compile(r"[0-9a-f]{64}")


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
    for path in entry.digests:
        check_path(path)
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
    """The entry of a `manifest.json`; keys that are not ours are ignored.

    ValueError for content that is not a manifest: cut short, no JSON, of another shape, with values of another type."""
    manifest = parse(content)
    key = _field(manifest, "key", dict)
    return Entry(
        study=text_of(manifest, "study"),
        key=RunKey(
            kind=text_of(key, "kind"),
            model=text_of(key, "model"),
            name=text_of(key, "name"),
            condition=text_of(key, "condition"),
            identity=text_of(key, "identity"),
            params=texts_of(key, "params"),
            tags=texts_of(key, "tags"),
        ),
        step_id=text_of(manifest, "step_id"),
        step_name=text_of(manifest, "step_name"),
        metrics=metrics_of(manifest),
        series={name: _pairs(name, pairs) for name, pairs in _field(manifest, "series", dict).items()},
        tags=texts_of(manifest, "tags"),
        digests=digests_of(manifest),
        written_ns=_whole(manifest, "written_ns"),
        adopted_from=text_of(manifest, "adopted_from"),
    )


def parse(content: str | bytes) -> object:
    """Plain JSON. ValueError for anything else."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None


def text_of(holder: object, name: str) -> str:
    """A text. ValueError as `_field`."""
    return _field(holder, name, str)


def _field(holder: object, name: str, kind: type[_Kind]) -> _Kind:
    """A value of this type. ValueError if it is missing, of another type, or a text that UTF-8 cannot hold."""
    if not isinstance(holder, dict) or name not in holder:
        raise ValueError(f"it has no {name!r}")
    value = holder[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"its {name!r} is of the type {type(value).__name__}, not {kind.__name__}")
    if isinstance(value, str):
        value.encode()
    return value


def _whole(holder: object, name: str) -> int:
    """An integer that MLflow's databases can hold."""
    value = _field(holder, name, int)
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"its {name!r} does not fit into 64 bits")
    return value


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"the metric {name!r} is of the type {type(value).__name__}, not a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"the metric {name!r} is too large") from None


def metrics_of(holder: object) -> dict[str, float]:
    """Its `metrics`. ValueError for other values than numbers."""
    return {name: _number(name, value) for name, value in _field(holder, "metrics", dict).items()}


def texts_of(holder: object, name: str) -> dict[str, str]:
    """A mapping of texts to texts. ValueError for anything else."""
    texts = _field(holder, name, dict)
    return {key: text_of(texts, key) for key in texts}


def digests_of(holder: object) -> dict[str, str]:
    """{artifact path: sha256}. ValueError for a path that leads out of the folder of the artifacts."""
    digests = texts_of(holder, "digests")
    for path in digests:
        check_path(path)
        sha256_of(digests, path)
    return digests


def sha256_of(holder: object, name: str) -> str:
    """A digest. ValueError for anything else."""
    sha256 = text_of(holder, name)
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"the sha256 of {name!r} is {sha256[:80]!r}")
    return sha256


def _pairs(name: str, pairs: object) -> list[tuple[int, float]]:
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise ValueError(f"the series {name!r} is no list of pairs")
    return [(_whole({name: step}, name), _number(name, value)) for step, value in pairs]
