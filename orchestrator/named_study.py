"""A recorded study that a user names, by a study file or by its name alone, and the store that it is in.

Needs no model and no data: of a study file only `study` and `tracking_uri` are used, and nothing of it is run. Opens
nothing; StudyError, one line, where there is no such file or store.
"""

from pathlib import Path
from typing import NamedTuple

from orchestrator.record.local_store import locate
from orchestrator.study_file.catalog import found_study
from orchestrator.study_file.load import load_spec
from orchestrator.workspace import default_store, default_workdir, outbox_folder, store_of_study_file
from studies.errors import StudyError

SUFFIXES = (".yaml", ".yml")
"""Of study files: any other word without a folder is the name of a recorded study."""


class NamedStudy(NamedTuple):
    """Where a study is recorded."""

    uri: str
    """Tracking URI of the store."""
    outbox: Path | None
    """Where results wait for this store; None where those of the working folder may be for another one."""
    name: str
    """Empty where none was named."""


def named_study(text: str, *, workdir: Path | None = None, tracking_uri: str | None = None) -> NamedStudy:
    """The study that a text names; an empty text names a store alone.

    workdir: default that of the study file, or of the current folder. tracking_uri: default that of the file, else the
    store in the working folder.
    """
    path = Path(text)
    if path.is_file() or path.suffix in SUFFIXES or len(path.parts) > 1:
        file = found_study(path)
        place = workdir or default_workdir(file)
        spec, located = load_spec(file, trusted=True)
        uri = tracking_uri or store_of_study_file(spec.tracking_uri, located, place)
        found = NamedStudy(uri, outbox_folder(place), spec.study)
    else:
        place = workdir or default_workdir(Path("study.yaml"))
        is_of_place = workdir is not None or tracking_uri is None
        found = NamedStudy(tracking_uri or default_store(place), outbox_folder(place) if is_of_place else None, text)
    database = locate(found.uri).database
    if database is not None and not database.exists():
        raise StudyError(
            f"there is no MLflow store at {database}; run a study first, or name its store with --workdir or "
            "--tracking-uri"
        )
    return found
