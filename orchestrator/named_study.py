"""The recorded study that a command names: by its study file, by its name, or as the only one of a store.

Owns where its record is looked for. Needs the record alone: of a study file only `study` and `tracking_uri` are used,
nothing of it is looked up or run, and nothing is written. Raises StudyError, one line, where there is no such store.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from orchestrator.notebook import open_reader, reader_of
from orchestrator.record.local_store import locate
from orchestrator.record.reader import Reader
from orchestrator.study_file.catalog import found_study, is_of_catalog
from orchestrator.study_file.load import load_spec
from orchestrator.study_file.located import Located
from orchestrator.workspace import default_store, default_workdir, outbox_folder, store_of_study_file
from studies.errors import StudyError

SUFFIXES = (".yaml", ".yml")
"""Of study files: any other word without a folder is a name of the catalog, or else of a recorded study."""


@dataclass(frozen=True, kw_only=True)
class NamedStudy:
    """Where the record of a study is."""

    uri: str
    """Tracking URI of the store."""
    outbox: Path | None
    """Where results wait for this store; None where those of the working folder may be for another one."""
    name: str | None
    """None where neither a file nor a name was given."""
    workdir: Path
    """The working folder, which may be absent."""
    file: Path | None = None
    """The study file, where one was given."""
    located: Located | None = None
    """What it says."""
    artifact_root: str | None = None

    @cached_property
    def reader(self) -> Reader:
        """What is recorded there."""
        if self.outbox is None:
            return reader_of(self.uri, self.artifact_root)
        return open_reader(self.uri, self.outbox, self.artifact_root)


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
    located = None
    if file is None:
        uri = tracking_uri or default_store(place)
        is_of_place = workdir is not None or tracking_uri is None
    else:
        spec, located = load_spec(file, trusted=True)  # nothing of it is run
        name, uri, is_of_place = (
            spec.study,
            tracking_uri or store_of_study_file(spec.tracking_uri, located, place),
            True,
        )
    _require_store(uri, name, wanted)
    return NamedStudy(
        uri=uri,
        outbox=outbox_folder(place) if is_of_place else None,
        name=name,
        workdir=place,
        file=file,
        located=located,
        artifact_root=artifact_root,
    )


def file_or_name(text: str) -> tuple[Path | None, str | None]:
    """(study file, None) or (None, name), whichever a text is; (None, None) for an empty text."""
    path = Path(text)
    if text and (path.suffix in SUFFIXES or len(path.parts) > 1 or path.is_file() or is_of_catalog(path)):
        return found_study(path), None
    return None, text or None


def _require_store(uri: str, name: str | None, wanted: str) -> None:
    """StudyError where a SQLite store is absent, so that there is no such record in it."""
    database = locate(uri).database
    if database is not None and not database.exists():
        whose = f"no {wanted}" if name is None else f"{name} has no {wanted} yet"
        remedy = "run the study first, or name its store with --workdir or --tracking-uri"
        raise StudyError(f"{whose}: there is no MLflow store at {database}; {remedy}")
