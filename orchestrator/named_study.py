"""The recorded study that a command names: by its study file, by its name, or as the only one of a store.

Owns where its record is looked for. Needs the record alone: of a study file only `study` and `tracking_uri` are used,
nothing of it is looked up or run, and nothing is written. Raises StudyError, one line, where there is no such store.
"""

from pathlib import Path
from typing import NamedTuple

from orchestrator.notebook import open_reader, reader_of
from orchestrator.record.local_store import locate
from orchestrator.record.reader import Reader
from orchestrator.study_file.load import load_spec
from orchestrator.study_file.located import Located
from orchestrator.workspace import default_store, default_workdir, outbox_folder, store_of_study_file
from studies.errors import StudyError


class NamedStudy(NamedTuple):
    """Where the record of a study is."""

    reader: Reader
    name: str | None
    """None where neither a file nor a name was given."""
    workdir: Path
    """The working folder, which may be absent."""
    file: Path | None
    """The study file, where one was given."""
    located: Located | None
    """What it says."""


def named_study(
    file: Path | None,
    name: str | None,
    *,
    workdir: Path | None = None,
    tracking_uri: str | None = None,
    artifact_root: str | None = None,
    wanted: str = "record",
) -> NamedStudy:
    """Where the study of a file, or of this name, is recorded.

    workdir: default as of every verb. tracking_uri: default that of the file, else the store in the working folder.
    wanted: what the error says that there is none of, where the store is absent. Whether the store knows the study is
    for the caller to ask.
    """
    if file is not None and name is not None:
        raise StudyError(f"--study: {file} names its study itself; give the file or the name")
    place = workdir or default_workdir(file or Path("study.yaml"))
    if file is None:
        uri = tracking_uri or default_store(place)
        _require_store(uri, name, wanted)
        is_of_place = workdir is not None or tracking_uri is None  # else what waits in its outbox is for another store
        reader = open_reader(uri, outbox_folder(place), artifact_root) if is_of_place else reader_of(uri, artifact_root)
        return NamedStudy(reader, name, place, None, None)
    spec, located = load_spec(file, trusted=True)  # nothing of it is run
    uri = tracking_uri or store_of_study_file(spec.tracking_uri, located, place)
    _require_store(uri, spec.study, wanted)
    return NamedStudy(open_reader(uri, outbox_folder(place), artifact_root), spec.study, place, file, located)


def _require_store(uri: str, name: str | None, wanted: str) -> None:
    """StudyError where a SQLite store is absent, so that there is no such record in it."""
    database = locate(uri).database
    if database is not None and not database.exists():
        whose = f"no {wanted}" if name is None else f"{name} has no {wanted} yet"
        remedy = "run the study first, or name its store with --workdir or --tracking-uri"
        raise StudyError(f"{whose}: there is no MLflow store at {database}; {remedy}")
