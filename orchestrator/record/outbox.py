"""The write-ahead folder: what a finished step hands over, complete on disk before MLflow hears of it.

Owns the words of a commit (`RunKey`, `Entry`, `Committed`), the checks that MLflow would refuse, truncate or alter
nothing of it, the bytes of its artifacts, and the folder `<spool>/<step id>.<run>/` that holds it until it has landed.
Knows nothing of MLflow's client. Invariant: an entry is absent or complete; it is written aside, synced, and renamed
into place, and the sha256 of each of its files stands in its manifest.
"""

import hashlib
import io
import json
import math
import numbers
import os
import posixpath
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # pandas takes half a second to import, and only reading and writing frames needs it
    import pandas

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

NOTHING: Mapping = MappingProxyType({})

_NAME = re.compile(r"[/\w.\- :]+")
_PATH = re.compile(r"[/\w.\- ]+")  # MLflow percent-decodes artifact paths and refuses '#'
_FILE_NAME = re.compile(r"[\w\-]+")
_RESERVED_TAGS = ("step.", "halfwave.", "invocation.", "superseded_by", "adopted_from")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKey:
    """Which MLflow run a result belongs to."""

    kind: str
    """`profile` (one run a model), `condition` and `schedule` (one a model and condition) or `study` (the parent)."""
    model: str = ""
    """Label of the model."""
    name: str
    """What the run is called in MLflow, such as "SmolLM2-135M-Instruct · wasserstein"."""
    condition: str = ""
    """Name of the condition; empty for a profile."""
    identity: str = ""
    """Hash of the definition (hex). Another identity in the same place is a new run that supersedes the old one."""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A finished step and where its results lie."""

    step_id: str
    step_name: str
    experiment: str
    """Name of the MLflow experiment, which is the name of a study."""
    run_id: str
    """Empty while the step has not reached MLflow and lies in the spool."""
    artifacts: Mapping[str, str]
    """Path to sha256 (hex)."""
    metrics: Mapping[str, float]
    tags: Mapping[str, str] = field(default_factory=dict)
    """The tags this step put on its run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The manifest of a spooled step."""

    study: str
    key: RunKey
    step_id: str
    step_name: str
    metrics: Mapping[str, float]
    series: Mapping[str, Sequence[tuple[int, float]]]
    """{metric: (step, value) pairs}; MLflow's charts show them over the step."""
    tags: Mapping[str, str]
    digests: Mapping[str, str]
    written_ns: int
    """Unix time in nanoseconds. It orders the entries and dates the metrics, so sending twice changes nothing."""
    adopted_from: str = ""
    """The run that these results were copied from."""

    @property
    def folder_name(self) -> str:
        """Step id and run: two conditions with the same step wait side by side."""
        owner = [self.study, self.key.kind, self.key.model, self.key.condition, self.key.identity]
        return f"{self.step_id}.{digest(json.dumps(owner).encode())[:12]}"

    def committed(self, run_id: str = "") -> Committed:
        return Committed(
            step_id=self.step_id, step_name=self.step_name, experiment=self.study, run_id=run_id,
            artifacts=self.digests, metrics=self.metrics, tags=self.tags,
        )  # fmt: skip


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


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


def encode(
    *, frames: Mapping[str, "pandas.DataFrame"], documents: Mapping[str, dict | list | str], files: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Artifact path to bytes: frames as parquet (the index is not kept), documents as JSON or text by suffix."""
    for path in [*frames, *documents, *files]:
        check_name("artifact path", path, _PATH)
        if path.startswith(INDEX_FOLDER + "/"):
            raise ValueError(f"artifact path {path!r}: the folder {INDEX_FOLDER}/ belongs to the record")
    if len({*frames, *documents, *files}) < len(frames) + len(documents) + len(files):
        raise ValueError(f"an artifact path is given twice: {sorted([*frames, *documents, *files])}")
    payload = {path: _parquet(path, frame) for path, frame in frames.items()}
    payload |= {path: _text(path, document).encode() for path, document in documents.items()}
    return payload | {path: bytes(content) for path, content in files.items()}


def _parquet(path: str, frame: "pandas.DataFrame") -> bytes:
    if not path.endswith(".parquet"):
        raise ValueError(f"artifact path {path!r}: a frame is written as .parquet")
    return frame.to_parquet(index=False, engine="pyarrow")


def _text(path: str, document: dict | list | str) -> str:
    if path.endswith(".json"):
        return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    if not isinstance(document, str):
        raise ValueError(f"artifact path {path!r}: a {type(document).__name__} is written as .json")
    return document


def decode_frame(content: bytes) -> "pandas.DataFrame":
    import pandas

    return pandas.read_parquet(io.BytesIO(content), engine="pyarrow")


def decode_document(path: str, content: bytes) -> dict | list | str:
    return json.loads(content) if path.endswith(".json") else content.decode()


class Spool:
    """The folder of entries. One driver writes it; anyone may read."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def write(self, entry: Entry, payload: Mapping[str, bytes]) -> None:
        """Put a complete entry on disk, in place of an earlier one of the same step and run.

        Raises OSError where the disk does not take it; what was there before stays.
        """
        if not _FILE_NAME.fullmatch(entry.step_id):
            raise ValueError(f"step id {entry.step_id!r} cannot name a folder")
        target = self.folder / entry.folder_name
        aside = self.folder / f".writing-{os.getpid()}-{entry.folder_name}"
        shutil.rmtree(aside, ignore_errors=True)
        manifest = json.dumps(asdict(entry), ensure_ascii=False, allow_nan=False).encode()
        files = {f"files/{path}": content for path, content in payload.items()} | {"manifest.json": manifest}
        try:
            for path, content in files.items():
                (aside / path).parent.mkdir(parents=True, exist_ok=True)
                with open(aside / path, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            for folder in [aside, *(f for f in aside.rglob("*") if f.is_dir())]:
                _sync_folder(folder)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        self.remove(entry)
        os.rename(aside, target)
        _sync_folder(self.folder)

    def entries(self, study: str | None = None) -> list[Entry]:
        """All entries (of one study), oldest first."""
        found = [_load(manifest) for manifest in self.folder.glob("[!.]*/manifest.json")]
        return sorted((e for e in found if study in (None, e.study)), key=lambda e: (e.written_ns, e.folder_name))

    def read(self, entry: Entry, path: str) -> bytes | None:
        """A spooled artifact, or None if it is missing or not what the manifest says."""
        try:
            content = self.file(entry, path).read_bytes()
        except FileNotFoundError:
            return None
        return content if digest(content) == entry.digests[path] else None

    def file(self, entry: Entry, path: str) -> Path:
        return self.folder / entry.folder_name / "files" / path

    def holding(self, committed: Committed) -> Iterator[Entry]:
        """The entries of this step with these very artifacts."""
        begins = f"{committed.step_id}."  # a glob would compile its pattern for every one of thousands of steps
        for name in os.listdir(self.folder):
            manifest = self.folder / name / "manifest.json"
            if name.startswith(begins) and manifest.exists():
                entry = _load(manifest)
                if dict(entry.digests) == dict(committed.artifacts):
                    yield entry

    def remove(self, entry: Entry) -> None:
        """Forget an entry; the manifest goes first, so that a kill in between leaves no half entry."""
        folder = self.folder / entry.folder_name
        (folder / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def leftovers(self) -> list[Path]:
        """Folders that killed drivers left half written or half removed."""
        written = [folder for folder in self.folder.glob(".writing-*") if not _alive(folder.name.split("-")[1])]
        entries = [folder for folder in self.folder.glob("[!.]*") if folder.is_dir()]
        return written + [folder for folder in entries if not (folder / "manifest.json").exists()]

    def sweep(self) -> None:
        """Clear away what killed drivers left."""
        for folder in self.leftovers():
            shutil.rmtree(folder, ignore_errors=True)


def _load(manifest: Path) -> Entry:
    fields = json.loads(manifest.read_bytes())
    return Entry(**{**fields, "key": RunKey(**fields["key"])})


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
