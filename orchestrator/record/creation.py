"""A SQLite store that is there in full or not at all.

Owns the look at a store's file before MLflow opens it, and its creation: MLflow's tables are made in a file beside it,
whose name carries our mark, and that file gets its place in one step, so that a kill at any moment leaves no store or a
complete one. One process creates at a time. What is left of a killed creation by MLflow itself, which can be neither
opened nor finished, is renamed, never deleted; a file that holds anything else is left as it is, and is an error.
Invariant: where a complete store lies, nothing is written.
"""

import contextlib
import errno
import functools
import logging
import os
import re
import shlex
import sqlite3
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.record.client.failures import RecordError
from orchestrator.record.ownership import (
    MARK,
    PATIENCE_SECONDS,
    TOLD_SECONDS,
    is_abandoned,
    other_user,
    own_mark,
    sole_holder,
    try_lock,
)
from studies.errors import first_line

log = logging.getLogger(__name__)

QUIET_SECONDS = 5.0
"""A half-made store that has changed more recently may still be being created, by a program without our lock."""
ATTEMPTS = 5
"""How often a store is created before the file at its place counts as one that cannot be replaced."""
_LOCKED_SECONDS = 20.0
"""How long SQLite waits for a file that another process is writing, as in MLflow."""
_COMPANIONS = ("-journal", "-wal", "-shm")
"""Endings of the files that SQLite keeps beside a database."""
_WRITTEN_BY_SCHEMA = {"alembic_version", "workspaces"}
"""Tables in which the creation itself puts rows."""
_ELSEWHERE = "move it away, or name another store with --tracking-uri"


class Contents(NamedTuple):
    """What a SQLite file holds."""

    revision: str
    """Of MLflow's schema; empty where none is noted."""
    tables: frozenset[str]
    """Names of tables and views."""
    has_rows: bool
    """Whether anything is in them that the creation of a store does not put there."""


class Schema(NamedTuple):
    """The schema that the installed MLflow works with."""

    revision: str
    earlier: frozenset[str]
    tables: frozenset[str]
    version: str
    """Of MLflow."""


def ensure_database(database: Path, uri: str) -> None:
    """Create the SQLite store at this path unless a complete one is there; mlflow is imported.

    uri: the store's tracking URI, for the command that upgrades it. Safe against other processes that do the same.
    Raises RecordError, one line, for a file that is no complete store and holds something, and for a place at which
    nothing can be created."""
    file = Path(os.path.realpath(database))
    is_complete = _is_complete(file, uri)
    _remove_leftovers(file)
    if is_complete:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with sole_holder(_lock(file), lambda holder: log.warning("%s is creating the store %s: waiting", holder, file)):
            for _ in range(ATTEMPTS):
                _wait_for_other_program(file, uri)
                if _is_complete(file, uri):
                    return
                _set_aside(file)
                _create(file)
            raise RecordError(f"another program creates the MLflow store {file} again and again; {_ELSEWHERE}")
    except TimeoutError as error:
        raise RecordError(
            f"{error} has been creating the MLflow store {file} for too long; wait for it or stop it"
        ) from None
    except OSError as error:
        raise RecordError(f"cannot create the MLflow store {file}: {error.strerror}") from None


# -- the look at a file ----------------------------------------------------------------------------------------------


def _is_complete(file: Path, uri: str) -> bool:
    """Whether a store is there that MLflow can open; false for none, and for one that was never finished.

    RecordError for anything else."""
    contents = _look(file)
    if contents is None:
        return False
    schema = _schema()
    own = contents.tables - {"alembic_version"}
    if own and not own & {"experiments", "_alembic_tmp_experiments"}:
        shown = ", ".join(sorted(own)[:3])
        raise RecordError(f"{file} is the database of another program (it has the tables {shown}); {_ELSEWHERE}")
    missing = sorted(schema.tables - contents.tables)
    if contents.revision == schema.revision and not missing:
        return True
    if not contents.has_rows:
        return False
    if contents.revision == schema.revision:
        raise _damaged(file, f"it lacks the table {missing[0]}")
    if contents.revision and contents.revision not in schema.earlier:
        raise RecordError(
            f"the MLflow store {file} has a schema ({contents.revision}) that MLflow {schema.version} does not know: a "
            "newer MLflow wrote it; install that version (pip install --upgrade mlflow), or name another store with "
            "--tracking-uri"
        )
    raise RecordError(
        f"the MLflow store {file} was written by an earlier MLflow (schema {contents.revision or 'without a version'}; "
        f"MLflow {schema.version} needs {schema.revision}); make a copy of the file, then upgrade it: "
        f"mlflow db upgrade {shlex.quote(uri)}"
    )


def _look(file: Path) -> Contents | None:
    """What is in the file; None if there is none. RecordError if it is no SQLite database that can be read.

    SQLite alone opens the file: closing it by other means would drop the locks that this process has on it."""
    try:
        status = os.stat(file)
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise RecordError(f"the MLflow store {file} is {what}; {_ELSEWHERE}")
        if not os.access(file, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordError(f"the MLflow store {file} cannot be read: {error.strerror}") from None
    if not status.st_size:  # as SQLite leaves it until the first table is written
        return Contents("", frozenset(), False)
    try:
        with contextlib.closing(_opened(file)) as connection:
            return _read(connection)
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_NOTADB:
            raise RecordError(f"the MLflow store {file} is not a SQLite database; {_ELSEWHERE}") from None
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise RecordError(
                f"the MLflow store {file} is locked by another process ({error}); run again once that has ended"
            ) from None
        raise _damaged(file, str(error)) from None


def _opened(file: Path) -> sqlite3.Connection:
    """A connection that creates no file. What a killed writer left half written is rolled back where that is allowed;
    otherwise nothing is written."""
    return sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=_LOCKED_SECONDS)


def _read(connection: sqlite3.Connection) -> Contents:
    connection.execute("begin")  # one view of it all, while another program changes its tables
    select = "select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite\\_%' escape '\\'"
    tables = frozenset(name for (name,) in connection.execute(select))
    revision = ""
    if "alembic_version" in tables:
        with contextlib.suppress(sqlite3.OperationalError):  # a table of this name without MLflow's column
            revisions = connection.execute("select version_num from alembic_version").fetchall()
            revision = " ".join(str(found) for (found,) in revisions)
    return Contents(revision, tables, any(_has_row(connection, table) for table in tables - _WRITTEN_BY_SCHEMA))


def _has_row(connection: sqlite3.Connection, table: str) -> bool:
    quoted = table.replace('"', '""')
    return connection.execute(f'select 1 from "{quoted}" limit 1').fetchone() is not None


def _damaged(file: Path, how: str) -> RecordError:
    return RecordError(f"the MLflow store {file} is damaged ({how}); put a copy of it back, or {_ELSEWHERE}")


@functools.cache
def _schema() -> Schema:
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils
    from mlflow.version import VERSION

    scripts = ScriptDirectory.from_config(utils._get_alembic_config(db_url=""))
    latest = utils._get_latest_schema_revision()
    revisions = frozenset(script.revision for script in scripts.walk_revisions())
    return Schema(latest, revisions - {latest}, frozenset(utils.Base.metadata.tables), VERSION)


def _wait_for_other_program(file: Path, uri: str) -> None:
    """Wait until a half-made store is complete, or nobody has it open and it has not changed for a while: a program
    without our lock may be creating it, here or on another machine. TimeoutError after PATIENCE_SECONDS."""
    start = changed = time.monotonic()
    before, is_told = None, False
    while (state := _state(file)) is not None and not _is_complete(file, uri):
        now = time.monotonic()
        if state != before:
            before, changed = state, now
        if time.time() - state[0] > QUIET_SECONDS or now - changed > QUIET_SECONDS:
            user = other_user(file)
            if user is None:
                return
            if now - start > PATIENCE_SECONDS:
                raise TimeoutError(f"process {user}")
        if now - start > TOLD_SECONDS and not is_told:
            log.warning("another program may be creating the store %s: waiting", file)
            is_told = True
        time.sleep(0.1)


def _state(file: Path) -> tuple[float, int] | None:
    try:
        status = os.stat(file)
    except FileNotFoundError:
        return None
    return status.st_mtime, status.st_size


# -- creation --------------------------------------------------------------------------------------------------------


def _create(file: Path) -> None:
    """Put an empty store at this path, unless something lies there by then."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    fresh = file.with_name(f".{file.name}.{own_mark()}")
    try:
        _write_tables(fresh)
        with open(fresh, "rb+") as written:
            os.fsync(written.fileno())
        _publish(fresh, file)
    except (SQLAlchemyError, sqlite3.Error, MlflowException) as error:
        reason = first_line(str(getattr(error, "orig", None) or error))
        raise RecordError(f"cannot create the MLflow store {file}: {reason}") from None
    finally:
        for path in (fresh, *(fresh.with_name(fresh.name + ending) for ending in _COMPANIONS)):
            with contextlib.suppress(OSError):
                path.unlink()


def _write_tables(file: Path) -> None:
    """MLflow's tables in a new file. Nobody reads the file before it is complete, so SQLite need not secure each step
    against a crash."""
    import sqlalchemy
    from mlflow.store.db import utils

    url = sqlalchemy.URL.create("sqlite", database=str(file))
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)

    @sqlalchemy.event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        connection.execute("pragma synchronous = off")
        connection.execute("pragma journal_mode = memory")

    try:
        utils._initialize_tables(engine)
    finally:
        engine.dispose()


def _publish(fresh: Path, file: Path) -> None:
    """Give a file its place, unless something is there."""
    with contextlib.suppress(FileExistsError):
        try:
            os.link(fresh, file)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if not os.path.lexists(file):
                os.rename(fresh, file)


def _set_aside(file: Path) -> None:
    """Rename a half-made store and the files that SQLite kept beside it, which would spoil another one."""
    found = [path for ending in ("", *_COMPANIONS) if os.path.lexists(path := file.with_name(file.name + ending))]
    if not found:
        return
    stamp = f"half-made-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    for aside in _names(file.with_name(f"{file.name}.{stamp}")):
        if not any(os.path.lexists(f"{aside}{ending}") for ending in ("", *_COMPANIONS)):
            break
    for path in found:
        os.rename(path, f"{aside}{path.name.removeprefix(file.name)}")
    log.warning("the store %s was never finished (it holds no experiment and no run): renamed to %s", file, aside.name)


def _names(path: Path) -> Iterator[Path]:
    yield path
    for number in range(2, 1000):
        yield path.with_name(f"{path.name}-{number}")


def _remove_leftovers(file: Path) -> None:
    """Remove what killed creations left beside a store: regular files of exactly our names, of processes that are gone.

    What cannot be removed stays."""
    endings = "|".join(_COMPANIONS)
    pattern = re.compile(rf"\.{re.escape(file.name)}\.({MARK})(?:{endings})?")
    with contextlib.suppress(OSError):
        names = os.listdir(file.parent)
        for name in names:
            path = file.with_name(name)
            match = pattern.fullmatch(name)
            if match and stat.S_ISREG(os.lstat(path).st_mode) and is_abandoned(path, match[1]):
                path.unlink()
        if any(name.startswith(_lock(file).name) for name in names) and (release := try_lock(_lock(file))) is not None:
            release()


def _lock(file: Path) -> Path:
    return file.with_name(f".{file.name}.halfwave-lock")
