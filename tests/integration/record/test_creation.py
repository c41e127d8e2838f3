"""A SQLite store comes into being in full or not at all: real kills, real half-made stores, real schemas."""

import contextlib
import os
import re
import resource
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy
from alembic import command
from mlflow.store.db import utils
from mlflow.version import VERSION

from orchestrator.record import creation, ownership
from orchestrator.record.client.failures import RecordError
from orchestrator.record.creation import ensure_database
from orchestrator.record.local_store import sqlite_uri
from orchestrator.record.mlflow_store import Store
from orchestrator.record.ownership import own_mark, try_lock
from studies.errors import StudyError

HEAD = utils._get_latest_schema_revision()
EARLIER = "1b5f0d9ad7c1"
"""A revision of MLflow's schema before `HEAD`."""
NEXT_STEP = "move it away, or name another store with --tracking-uri"


def forked(act: Callable[[], object]) -> int:
    """The id of a process that does this, ends with 0, or 1 after an error, and has everything imported already."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            act()
            code = 0
        except StudyError as error:
            print(error, file=sys.stderr)
        finally:
            os._exit(code)
    return process


def ended(process: int) -> int:
    """How a process has ended: its exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill_me(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_statement(number: int, act: Callable[[], object]) -> None:
    """From now on this process does something before its `number`-th SQL statement."""
    seen = []

    @sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "before_cursor_execute")
    def count(*_: object) -> None:
        seen.append(None)
        if len(seen) == number:
            act()


def make_with_mlflow(file: Path, revision: str = "heads") -> None:
    """MLflow's own creation of a store, as it was before Halfwave's."""
    engine = sqlalchemy.create_engine(sqlalchemy.URL.create("sqlite", database=str(file)))
    utils.InitialBase.metadata.create_all(engine)
    config = utils._get_alembic_config(str(engine.url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def opened(file: Path) -> list[str]:
    """Names of the experiments, as any verb would find them."""
    return list(Store(sqlite_uri(file)).experiments().values())


def ensure(file: Path) -> None:
    ensure_database(file, sqlite_uri(file))


def message(file: Path) -> str:
    with pytest.raises(StudyError) as caught:
        ensure(file)
    return str(caught.value)


def shape(file: Path) -> dict[str, object]:
    """Columns and indexes of all tables, and what holds of the whole file."""
    with contextlib.closing(sqlite3.connect(file)) as connection:

        def all_of(statement: str) -> list[tuple[object, ...]]:
            return connection.execute(statement).fetchall()

        names = all_of("select type, name, tbl_name from sqlite_master")
        tables = [str(name) for (kind, name, _) in names if kind == "table"]
        columns = {table: all_of(f"pragma table_info('{table}')") for table in tables}
        whole = [all_of(f"pragma {name}") for name in ("journal_mode", "page_size", "encoding", "auto_vacuum")]
        return {**columns, "file": whole, "names": set(names), "revision": all_of("select * from alembic_version")}


def listed(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def grow_old(folder: Path) -> None:
    """As if nobody had touched the files for an hour."""
    for path in folder.iterdir():
        os.utime(path, (time.time() - 3600,) * 2)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a store may be; nothing is there."""
    return tmp_path / "mlflow.db"


# ---- kills

MOMENTS = {
    "first table": lambda: at_statement(1, kill_me),
    "tables": lambda: at_statement(12, kill_me),
    "migrations": lambda: at_statement(200, kill_me),
    "before it has its place": lambda: setattr(creation.os, "link", kill_me),
    "just after": lambda: setattr(creation.Path, "unlink", kill_me),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_leaves_nothing_or_a_complete_store(file: Path, moment: str) -> None:
    def create() -> None:
        MOMENTS[moment]()
        ensure(file)

    assert ended(forked(create)) == -signal.SIGKILL
    assert file.exists() == (moment == "just after")
    assert listed(file.parent) - {"mlflow.db"}  # it was killed within
    assert opened(file) == ["Default"]
    assert listed(file.parent) == {"mlflow.db"}


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_an_interruption_leaves_nothing(file: Path, end: type[BaseException]) -> None:
    def interrupt() -> None:
        raise end

    def create() -> None:
        at_statement(50, interrupt)
        with contextlib.suppress(end):
            ensure(file)

    assert ended(forked(create)) == 0 and listed(file.parent) == set()


def test_three_processes_at_once_make_one_store(file: Path) -> None:
    processes = [forked(lambda: opened(file)) for _ in range(3)]
    assert [ended(process) for process in processes] == [0, 0, 0]
    assert listed(file.parent) == {"mlflow.db"} and opened(file) == ["Default"]


def test_one_that_waits_says_so(file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "TOLD_SECONDS", 0.1)
    monkeypatch.setattr(ownership, "PATIENCE_SECONDS", 0.3)
    release = try_lock(file.with_name(".mlflow.db.halfwave-lock"))
    assert release is not None
    assert re.fullmatch(
        rf"process {os.getpid()} on [\w.\-]+ has been creating the MLflow store {re.escape(str(file))} for too long; "
        "wait for it or stop it",
        message(file),
    )
    release()
    (line,) = caplog.messages
    assert re.fullmatch(rf"process {os.getpid()} on [\w.\-]+ is creating the store {file}: waiting", line)


def test_a_new_store_is_as_mlflow_would_have_made_it(file: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.db"

    def create() -> None:
        os.umask(0o002)
        ensure(file)
        make_with_mlflow(plain)

    assert ended(forked(create)) == 0
    assert oct(file.stat().st_mode) == oct(plain.stat().st_mode)

    assert shape(file) == shape(plain)
    (experiment,) = Store(sqlite_uri(file)).client.search_experiments()
    assert experiment.artifact_location == f"{Path.cwd()}/mlruns/0"


# ---- half-made stores


def cut(file: Path, empty_database: Path, *statements: str) -> None:
    shutil.copy(empty_database, file)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.executescript(";".join(statements))


def half_made_by_a_kill(number: int) -> Callable[[Path, Path], None]:
    def make(file: Path, _: Path) -> None:
        def create() -> None:
            at_statement(number, kill_me)
            make_with_mlflow(file)

        assert ended(forked(create)) == -signal.SIGKILL

    return make


NO_ROWS = "delete from experiments"
HALF_MADE: dict[str, Callable[[Path, Path], None]] = {
    "killed at the first table": half_made_by_a_kill(4),
    "killed between tables": half_made_by_a_kill(12),
    "killed while tables are altered": half_made_by_a_kill(60),
    "killed late": half_made_by_a_kill(300),
    "empty": lambda file, _: file.touch(),
    "no version": lambda file, empty: cut(file, empty, NO_ROWS, "drop table alembic_version"),
    "no revision": lambda file, empty: cut(file, empty, NO_ROWS, "delete from alembic_version"),
    "a table is missing": lambda file, empty: cut(file, empty, NO_ROWS, "drop table webhooks"),
    "an earlier schema": lambda file, _: make_with_mlflow(file, EARLIER),
}


@pytest.mark.parametrize("how", HALF_MADE)
def test_a_half_made_store_is_renamed_and_a_new_one_made(
    file: Path, empty_database: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    HALF_MADE[how](file, empty_database)
    file.with_name("mlflow.db-wal").touch()
    grow_old(file.parent)
    before = file.read_bytes()
    assert opened(file) == ["Default"]
    (aside,) = file.parent.glob("mlflow.db.half-made-*Z")
    assert listed(file.parent) >= {"mlflow.db", aside.name} and len(listed(file.parent)) <= 3
    assert aside.read_bytes() == before or how.startswith("killed")  # SQLite rolls a killed writer's change back
    assert caplog.messages == [
        f"the store {file} was never finished (it holds no experiment and no run): renamed to {aside.name}"
    ]


def test_what_a_lost_store_left_beside_it_does_not_spoil_the_next(file: Path) -> None:
    file.with_name("mlflow.db-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(600))
    assert opened(file) == ["Default"]
    (aside,) = file.parent.glob("mlflow.db.half-made-*-journal")
    assert aside.stat().st_size == 608


def test_two_half_made_stores_of_one_second_are_both_kept(file: Path) -> None:
    for content in (b"", b""):
        file.write_bytes(content)
        grow_old(file.parent)
        ensure(file)
        file.unlink()
    assert len(list(file.parent.glob("mlflow.db.half-made-*"))) == 2


def test_a_store_that_another_program_is_making_is_left_to_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creation, "QUIET_SECONDS", 0.1)

    def create() -> None:
        at_statement(60, lambda: os.kill(os.getpid(), signal.SIGSTOP))
        make_with_mlflow(file)

    process = forked(create)
    os.waitpid(process, os.WUNTRACED)  # it has stopped, and is silent for longer than anybody waits
    grow_old(file.parent)
    go_on = threading.Timer(1.0, os.kill, (process, signal.SIGCONT))
    go_on.start()
    assert opened(file) == ["Default"]
    assert ended(process) == 0 and listed(file.parent) == {"mlflow.db"}


def test_tables_that_another_program_renames_meanwhile_do_not_look_damaged(file: Path) -> None:
    """As MLflow's migrations do."""
    other = sqlite3.connect(file, timeout=0, isolation_level=None)
    other.execute("create table experiments (a)")

    def rename(statement: str) -> None:
        if statement.startswith("select 1 from"):
            with contextlib.suppress(sqlite3.OperationalError):  # it is locked
                other.execute("alter table experiments rename to experiments_before")

    with contextlib.closing(creation._opened(file)) as connection:
        connection.set_trace_callback(rename)
        assert not creation._read(connection).has_rows
    other.close()


def test_one_that_another_program_never_finishes_is_one_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creation, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(creation, "PATIENCE_SECONDS", 0.5)

    def create() -> None:
        at_statement(60, lambda: os.kill(os.getpid(), signal.SIGSTOP))
        make_with_mlflow(file)

    process = forked(create)
    os.waitpid(process, os.WUNTRACED)
    try:
        assert message(file) == (
            f"process {process} has been creating the MLflow store {file} for too long; wait for it or stop it"
        )
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    assert listed(file.parent) <= {"mlflow.db", "mlflow.db-journal"}


# ---- files that are something else


def foreign_database(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.executescript("create table places (url text); create view visits as select * from places")


def torn(file: Path) -> None:
    make_with_mlflow(file)
    os.truncate(file, 60)


OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (lambda file: file.mkdir(), f"the MLflow store {{file}} is a folder; {NEXT_STEP}"),
    "pipe": (lambda file: os.mkfifo(file), f"the MLflow store {{file}} is no regular file; {NEXT_STEP}"),
    "text": (
        lambda file: file.write_text("a list of my photos"),
        f"the MLflow store {{file}} is not a SQLite database; {NEXT_STEP}",
    ),
    "torn": (
        torn,
        "the MLflow store {file} is damaged (database disk image is malformed); put a copy of it back, or " + NEXT_STEP,
    ),
    "other program": (
        foreign_database,
        f"{{file}} is the database of another program (it has the tables places, visits); {NEXT_STEP}",
    ),
    "link to itself": (
        lambda file: file.symlink_to(file),
        "the MLflow store {file} cannot be read: Too many levels of symbolic links",
    ),
    "below a file": (
        lambda file: file.parent.rmdir() or file.parent.touch(),
        "the MLflow store {file} cannot be read: Not a directory",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_that_is_no_store_is_one_line_and_stays(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "folder" / "mlflow.db"
    file.parent.mkdir()
    make, expected = OTHERS[kind]
    make(file)
    before = file.read_bytes() if file.is_file() else None
    with pytest.raises(RecordError) as caught:
        Store(sqlite_uri(file))
    assert str(caught.value) == expected.format(file=file)
    assert before == (file.read_bytes() if file.is_file() else None)
    if file.parent.is_dir():
        assert listed(file.parent) == {"mlflow.db"}


def with_experiment(file: Path, revision: str) -> None:
    make_with_mlflow(file, revision)
    columns = "(experiment_id, name, artifact_location, lifecycle_stage, workspace)"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute(f"insert into experiments {columns} values (0, 'Default', 'x', 'active', 'default')")
        connection.execute(f"insert into experiments {columns} values (1, 'mine', 'x', 'active', 'default')")
        connection.commit()


def test_an_earlier_schema_is_one_line_with_the_command_that_upgrades_it(tmp_path: Path) -> None:
    file = tmp_path / "ada's 100% store" / "mlflow.db"
    file.parent.mkdir()
    with_experiment(file, EARLIER)
    assert message(file) == (
        f"the MLflow store {file} was written by an earlier MLflow (schema {EARLIER}; MLflow {VERSION} needs {HEAD}); "
        f"make a copy of the file, then upgrade it: mlflow db upgrade {shlex.quote(sqlite_uri(file))}"
    )
    assert listed(file.parent) == {"mlflow.db"}


@pytest.mark.long
def test_the_command_that_upgrades_a_store_does(tmp_path: Path) -> None:
    file = tmp_path / "ada's 100% store" / "mlflow.db"
    file.parent.mkdir()
    with_experiment(file, EARLIER)
    upgrade = message(file).rpartition(": ")[2]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(upgrade, shell=True, check=True, capture_output=True, env={**os.environ, "PATH": path})
    assert set(opened(file)) == {"Default", "mine"}
    assert listed(tmp_path) == {"ada's 100% store"} and listed(file.parent) == {"mlflow.db"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            "update alembic_version set version_num = 'fedcba987654'",
            f"has a schema (fedcba987654) that MLflow {VERSION} does not know: a newer MLflow wrote it; install that "
            "version (pip install --upgrade mlflow), or name another store with --tracking-uri",
        ),
        (
            "drop table webhooks",
            f"is damaged (it lacks the table webhooks); put a copy of it back, or {NEXT_STEP}",
        ),
    ],
)
def test_another_schema_with_experiments_is_one_line(
    file: Path, empty_database: Path, change: str, expected: str
) -> None:
    cut(file, empty_database, change)
    before = file.read_bytes()
    assert message(file) == f"the MLflow store {file} {expected}"
    assert file.read_bytes() == before and listed(file.parent) == {"mlflow.db"}


def test_a_database_that_is_locked_is_one_line(
    file: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creation, "_LOCKED_SECONDS", 0.1)
    shutil.copy(empty_database, file)
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("begin exclusive")
        assert message(file) == (
            f"the MLflow store {file} is locked by another process (database is locked); run again once that has ended"
        )


# ---- places


def test_what_lies_beside_a_store_stays(file: Path, tmp_path: Path) -> None:
    dead = f"halfwave-{own_mark().split('-')[1]}-4194999-1"
    left = [f".mlflow.db.{dead}", f".mlflow.db.{dead}-journal", ".mlflow.db.halfwave-lock"]
    files = [
        "mlflow.db.bak",
        ".mlflow.db.halfwave",
        f".other.db.{dead}",
        f".mlflow.db.{dead}.txt",
        "mlflow.db.half-made",
    ]
    for name in (*left, *files):
        (tmp_path / name).write_text(name)
    folder, link = tmp_path / f".mlflow.db.{dead}-wal", tmp_path / f".mlflow.db.{dead}-shm"
    (folder / "below").mkdir(parents=True)
    link.symlink_to(tmp_path / "mlflow.db.bak")
    parent = psutil.Process(os.getppid())
    alive = tmp_path / re.sub(
        r"-\d+-\d+$", f"-{parent.pid}-{parent.create_time() * 1000:.0f}", f".mlflow.db.{own_mark()}"
    )
    alive.touch()
    elsewhere = tmp_path / f".mlflow.db.halfwave-{'0' * 12}-7-1"
    elsewhere.touch()
    for _ in range(2):
        ensure(file)
        assert listed(tmp_path) == {*files, folder.name, link.name, elsewhere.name, alive.name, file.name}
        assert all((tmp_path / name).read_text() == name for name in files)
        for name in left:
            (tmp_path / name).write_text(name)


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    name = 'a%20b what? no#1 ada\'s "store" é 字'
    (tmp_path / name).mkdir()
    assert opened(tmp_path / name / f"{name}.db") == ["Default"]
    assert listed(tmp_path) == {name} and listed(tmp_path / name) == {f"{name}.db"}


def test_a_store_may_be_a_link_to_a_place_elsewhere(file: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    file.symlink_to("elsewhere/shared.db")
    assert opened(file) == ["Default"]
    assert file.is_symlink() and listed(tmp_path / "elsewhere") == {"shared.db"}


def test_a_folder_that_is_removed_meanwhile_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, link = tmp_path / "folder" / "mlflow.db", os.link

    def remove(source: Path, target: Path) -> None:
        shutil.rmtree(file.parent)
        link(source, target)

    monkeypatch.setattr(creation.os, "link", remove)
    assert message(file) == f"cannot create the MLflow store {file}: No such file or directory"


def test_a_file_system_without_hard_links_is_enough(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(creation.os, "link", refuse)
    assert opened(file) == ["Default"] and listed(file.parent) == {"mlflow.db"}


def test_a_full_disk_is_one_line_and_leaves_nothing(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def create() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        ensure(file)

    assert ended(forked(create)) == 1 and listed(file.parent) == set()
    assert capfd.readouterr().err == f"cannot create the MLflow store {file}: disk I/O error\n"


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user can enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def as_anybody(act: Callable[[], object]) -> Callable[[], object]:
    """Without the rights of root, who may read and write everything."""

    def acting() -> object:
        if os.geteuid() == 0:
            os.setuid(65534)
        return act()

    return acting


def test_a_complete_store_is_opened_without_a_write(shared: Path, empty_database: Path) -> None:
    file = shared / "mlflow.db"
    shutil.copy(empty_database, file)
    file.chmod(0o444)
    shared.chmod(0o555)
    before = file.stat(), shared.stat().st_mtime_ns
    assert ended(forked(as_anybody(lambda: opened(file)))) == 0
    assert (file.stat(), shared.stat().st_mtime_ns) == before and listed(shared) == {"mlflow.db"}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (0o000, "the MLflow store {file} cannot be read: Permission denied\n"),
        (None, "cannot create the MLflow store {file}: Permission denied\n"),
    ],
)
def test_a_place_without_rights_is_one_line(
    shared: Path, capfd: pytest.CaptureFixture[str], mode: int | None, expected: str
) -> None:
    file = shared / "mlflow.db"
    if mode is not None:
        file.touch(mode)
        file.chmod(mode)
    shared.chmod(0o555)
    assert ended(forked(as_anybody(lambda: ensure(file)))) == 1
    assert capfd.readouterr().err == expected.format(file=file)
