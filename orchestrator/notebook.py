"""Where a user's recorded studies are, and one of them: what `import halfwave` gives a notebook.

Owns what a user may name a store by: a tracking URI, its file, a working folder, or a project that has one. Creates
and writes nothing; what a store holds of a study, `record.recorded_study` says.
"""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.record.client.calls import is_tracking_uri
from orchestrator.record.client.failures import RecordError, Unreachable
from orchestrator.record.local_store import locate, sqlite_uri
from orchestrator.record.mlflow_store import Store
from orchestrator.record.outbox import Outbox
from orchestrator.record.reader import Reader
from orchestrator.record.recorded_study import RecordedStudy
from orchestrator.workspace import FOLDER, default_store, outbox_folder

if TYPE_CHECKING:
    import pandas

log = logging.getLogger(__name__)


def load(place: str | os.PathLike[str], study: str | None = None, artifact_root: str | None = None) -> RecordedStudy:
    """A recorded study.

    place: a tracking URI, the path of an `mlflow.db`, a working folder, or a project with a `.halfwave` in it. study:
    may be left out where the store has exactly one. artifact_root: as `--artifact-root` of the command, for a server
    that does not serve the artifacts itself. RecordError, one line, if there is no such store or study; Unreachable if
    the store does not answer. One logged line says where MLflow shows other metrics than were recorded.
    """
    return load_from(reader_of(place, artifact_root), study)


def load_from(reader: Reader, study: str | None = None) -> RecordedStudy:
    """As `load`, from an opened store."""
    name = study or only_study(reader)
    found = RecordedStudy(reader, name)
    reader.warn_of_edits(name)
    return found


def only_study(reader: Reader) -> str:
    """The name of the only study of a store; RecordError where there is none, or where there are several."""
    known = sorted(reader.studies())
    if len(known) == 1:
        return known[0]
    if not known:
        raise RecordError(f"the store {reader.uri} has no study yet")
    raise RecordError(f"the store {reader.uri} has several studies, name one of them: {', '.join(known)}")


def studies(place: str | os.PathLike[str], artifact_root: str | None = None) -> "pandas.DataFrame":
    """The studies of a store, last run first: study, models, conditions (their numbers), last_run (UTC), and how many
    claims are supported, contradicted, absent, undecided, not applicable. A report that cannot be read counts none, and
    one logged line says so. place, artifact_root, errors: as `load`."""
    import pandas

    reader = reader_of(place, artifact_root)
    table = pandas.DataFrame(
        [_about(reader, name) for name in sorted(reader.studies())],
        columns=["study", "models", "conditions", "last_run", *_statuses()],
    )
    table["last_run"] = pandas.to_datetime(table["last_run"], utc=True)
    return table.sort_values("last_run", ascending=False, kind="stable", ignore_index=True)


def _about(reader: Reader, name: str) -> dict[str, Any]:
    """The row of a study in the list of studies."""
    study = RecordedStudy(reader, name)
    last, runs = study.last_run, study.runs
    statuses: dict[str, int] = {}
    try:
        statuses = study.verdicts["status"].value_counts().to_dict()
    except Unreachable:
        raise
    except RecordError as error:
        log.warning("%s: %s", name, error)
    return {
        "study": name,
        "models": runs[runs["kind"].isin(("profile", "condition"))]["model"].nunique(),
        "conditions": int((runs["kind"] == "condition").sum()),
        "last_run": last.started if last else None,
        **{status: statuses.get(status, 0) for status in _statuses()},
    }


def _statuses() -> list[str]:
    """The verdicts, in the order of the rules."""
    from studies.claims.scorecard import Status  # numpy and pandas come with it

    return list(map(str, Status))


def reader_of(place: str | os.PathLike[str], artifact_root: str | None = None) -> Reader:
    """What reads the store at a place as of `load`, and what waits in the outbox beside a SQLite file. RecordError if
    there is no store."""
    named = os.fspath(place)
    uri = named if is_tracking_uri(named) else _store_at(Path(named).expanduser())
    database = locate(uri).database
    return open_reader(uri, None if database is None else outbox_folder(database.parent), artifact_root)


def open_reader(uri: str, outbox: Path | None, artifact_root: str | None = None) -> Reader:
    """What reads the store at a tracking URI and an outbox, which may be absent. RecordError if there is no store."""
    database = locate(uri).database
    if database is not None and not database.exists():  # MLflow would create an empty one
        raise RecordError(f"there is no MLflow store at {database}")
    return Reader(Store(uri, artifact_root), None if outbox is None else Outbox(outbox))


def _store_at(path: Path) -> str:
    """The tracking URI of the SQLite store at a path: the file itself, or in its folder, or in its `.halfwave`."""
    if not path.is_dir():
        return sqlite_uri(Path(os.path.abspath(path)))
    for workdir in (path, path / FOLDER):
        if (workdir / "mlflow.db").exists():
            return default_store(workdir)
    raise RecordError(
        f"there is no mlflow.db in {path}, nor in a {FOLDER} there; name the file of the store, or its tracking URI"
    )
