"""A store on this machine: a SQLite file, and below the same folder the artifacts of its runs.

People move such a folder, copy it, mount it read-only or under two paths, while the database keeps the absolute places
of the day it was written. So Halfwave finds artifacts by the folder of the database that was opened, whatever the
database says, and nothing is written or removed outside that folder. `relocate` corrects what the database says, for
MLflow's own pages.
Knows nothing of MLflow's client, and imports none of it.
"""

import contextlib
import os
import re
import shutil
import sqlite3
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from orchestrator.record.tags import KIND, VIEW

SCHEMES = ("sqlite:///", "sqlite+pysqlite:///")
"""How the URI of a SQLite file begins: what follows is a path, percent-encoded."""
ARTIFACTS = "artifacts"
"""The folder beside the database, and in it the last part of each run's folder."""
BUSY_SECONDS = 20.0
"""How long to wait for another process that writes the database, as MLflow does."""

_RUN_ID = re.compile(r"[\w\-]+")


class Location(NamedTuple):
    """Where a store is."""

    uri: str
    """Valid in any working folder."""
    database: Path | None
    """The file of a SQLite store."""


def locate(tracking_uri: str) -> Location:
    """Resolve a tracking URI against the current folder."""
    scheme = next((scheme for scheme in SCHEMES if tracking_uri.startswith(scheme)), "")
    if not scheme:
        return Location(tracking_uri, None)
    path, question, options = tracking_uri.removeprefix(scheme).partition("?")
    file = Path(os.path.abspath(unquote(path)))
    return Location(f"{sqlite_uri(file)}{question}{options}", file)


def sqlite_uri(database: Path) -> str:
    """The tracking URI of a SQLite file, given by its absolute path, whatever characters that has.

    The driver is named only where the path must be encoded: MLflow creates the folder of a plain `sqlite:///` URI
    without decoding it (mlflow/store/db/utils.py, `_make_parent_dirs_if_sqlite`), beside the one that is meant.
    """
    path = str(database)
    encoded = path.replace("%", "%25").replace("?", "%3F")
    return f"{SCHEMES[0] if encoded == path else SCHEMES[1]}{encoded}"


class LocalStore:
    """The folder of a SQLite store."""

    SERVED = (
        "has its artifacts on a tracking server; open the store through that server, with --tracking-uri "
        "http://HOST:PORT"
    )
    """Of a run or a study, in an error."""

    def __init__(self, database: Path) -> None:
        """`database`: its absolute path."""
        self.database = database
        self.artifacts = database.parent / ARTIFACTS

    @property
    def identity(self) -> str:
        """Another one for a copy of the database, the same for the file under another path; empty if it is gone."""
        try:
            return str(self.database.stat().st_ino)
        except OSError:
            return ""

    @staticmethod
    def is_served(recorded: str) -> bool:
        """Whether only a tracking server can reach artifacts at this URI, and no file or key of this machine."""
        return recorded.startswith("mlflow-artifacts:")

    def run_folder(self, run_id: str, recorded: str) -> Path | None:
        """Where the artifacts of a run lie: below this folder. None where the database names storage elsewhere, such as
        a bucket. `recorded`: the URI that the database has. ValueError for a run id that cannot name a folder, and for
        artifacts that only a tracking server can reach."""
        if not _RUN_ID.fullmatch(run_id):
            raise ValueError(f"run id {run_id!r} cannot name a folder")
        if self.is_served(recorded):
            raise ValueError(f"run {run_id} {self.SERVED}")
        place = folder_of(recorded)
        return place if place is None or self._holds(place) else self._own_folder(run_id)

    def _own_folder(self, run_id: str) -> Path:
        """Where the artifacts of a run lie unless others have made its experiment here."""
        return self.artifacts / run_id / ARTIFACTS

    def _holds(self, place: Path) -> bool:
        return place.resolve().is_relative_to(self.database.parent.resolve())

    def relocate(self) -> None:
        """Write the present places of our experiments and runs into the database, in one transaction, where it has
        others. Raises sqlite3.Error if the database cannot be written."""
        connection = sqlite3.connect(self.database, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            moved = self._moved(connection)
            if not moved.experiments and not moved.runs:
                return
            connection.execute("BEGIN IMMEDIATE")
            moved = self._moved(connection)
            change = "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?"
            connection.executemany(change, [(place, experiment) for experiment, place in moved.experiments.items()])
            change = "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?"
            connection.executemany(change, [(place, run_id) for run_id, place in moved.runs.items()])
            connection.execute("COMMIT")
        finally:
            connection.close()

    def _moved(self, connection: sqlite3.Connection) -> "_Moved":
        """What the database has at another place than where it is looked for here."""
        experiments = connection.execute(
            "SELECT experiment_id, artifact_location FROM experiments WHERE experiment_id IN "
            "(SELECT experiment_id FROM experiment_tags WHERE key = ?)",
            (VIEW,),
        )
        runs = connection.execute(
            "SELECT run_uuid, artifact_uri FROM runs WHERE run_uuid IN (SELECT run_uuid FROM tags WHERE key = ?)",
            (KIND,),
        )
        return _Moved(
            {
                experiment: self.artifacts.as_uri()
                for experiment, recorded in experiments
                if (place := self._elsewhere(recorded)) and place.name == ARTIFACTS and place != self.artifacts
            },
            {
                run_id: here.as_uri()
                for run_id, recorded in runs
                if (place := self._elsewhere(recorded)) and place != (here := self._own_folder(run_id))
            },
        )

    def _elsewhere(self, recorded: str | None) -> Path | None:
        """The folder of an artifact URI, if it is not below this one."""
        place = folder_of(recorded) if recorded else None
        return None if place is None or self._holds(place) else place


class _Moved(NamedTuple):
    experiments: dict[int, str]
    """{experiment: where its new runs are to have their artifacts}"""
    runs: dict[str, str]
    """{run: where its artifacts are}"""


def folder_of(recorded: str) -> Path | None:
    """The folder of an artifact URI; None where it names no folder of a machine."""
    parts = urlsplit(recorded)
    if parts.scheme not in ("", "file"):
        return None
    return Path(os.path.normpath(url2pathname(parts.path) if parts.scheme else recorded))


def write_file(file: Path, content: bytes) -> None:
    """Write a file, and the folders above it, so that it is absent, as before or complete. Raises OSError.

    What a kill leaves beside it is written over by the next attempt."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.writing")
    try:
        aside.write_bytes(content)
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)


def remove_run_folder(folder: Path) -> None:
    """Remove the artifacts of a run, and its own folder above them if nothing else lies there. Raises OSError."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()
