"""Where a SQLite store and the artifacts of its runs are, whatever characters its path has and whatever it says."""

import sqlite3
from pathlib import Path

import pytest

from orchestrator.record.local_store import LocalStore, locate, remove_run_folder, sqlite_uri, write_file


def test_a_sqlite_store_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("sqlite:///mlflow.db") == (f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "mlflow.db")
    assert locate("sqlite:///../m.db") == (f"sqlite:///{tmp_path.parent}/m.db", tmp_path.parent / "m.db")
    assert locate("sqlite:////a%23b/m.db?timeout=1") == ("sqlite:////a#b/m.db?timeout=1", Path("/a#b/m.db"))
    assert locate("sqlite:////a%25/m.db") == ("sqlite+pysqlite:////a%25/m.db", Path("/a%/m.db"))
    assert locate("sqlite+pysqlite:////a%25/m.db") == ("sqlite+pysqlite:////a%25/m.db", Path("/a%/m.db"))


@pytest.mark.parametrize("name", ["plain", "my%20study", "100%", "what?", "a#b", "a b", "é", "a;b&c=d", "a@b:c", "%3F"])
def test_the_uri_of_a_file_leads_back_to_it(name: str) -> None:
    database = Path("/x", name, "mlflow.db")
    assert locate(sqlite_uri(database)) == (sqlite_uri(database), database)


@pytest.mark.parametrize("uri", ["http://host:5000", "postgresql://ada@host/m"])
def test_a_server_has_no_database_file(uri: str) -> None:
    assert locate(uri) == (uri, None)


RECORDED = {
    "at another place": ("file:///old/.halfwave/artifacts/r1/artifacts", "{folder}/artifacts/r1/artifacts"),
    "a path": ("/old/.halfwave/artifacts/r1/artifacts", "{folder}/artifacts/r1/artifacts"),
    "here": ("file://{folder}/artifacts/r1/artifacts", "{folder}/artifacts/r1/artifacts"),
    "here, by others": ("file://{folder}/mlruns/3/r1/artifacts", "{folder}/mlruns/3/r1/artifacts"),
    "here and out again": ("file://{folder}/../other/r1/artifacts", "{folder}/artifacts/r1/artifacts"),
    "out by a link": ("file://{folder}/link/r1/artifacts", "{folder}/artifacts/r1/artifacts"),
    "in a bucket": ("s3://bucket/r1/artifacts", "None"),
}


@pytest.mark.parametrize(("recorded", "found"), RECORDED.values(), ids=RECORDED)
def test_artifacts_lie_below_the_folder_that_was_opened(recorded: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path.parent)
    folder = LocalStore(tmp_path / "mlflow.db").run_folder("r1", recorded.format(folder=tmp_path))
    assert str(folder) == found.format(folder=tmp_path)


REFUSED = {
    "../../elsewhere": ("/x", "run id '../../elsewhere' cannot name a folder"),
    "r1": (
        "mlflow-artifacts:/1/r1/artifacts",
        "run r1 has its artifacts on a tracking server; open the store through that server, with --tracking-uri "
        "http://HOST:PORT",
    ),
}


@pytest.mark.parametrize("run_id", REFUSED)
def test_artifacts_that_cannot_lie_there_are_refused(run_id: str, tmp_path: Path) -> None:
    recorded, message = REFUSED[run_id]
    with pytest.raises(ValueError) as caught:
        LocalStore(tmp_path / "mlflow.db").run_folder(run_id, recorded)
    assert str(caught.value) == message


def database(folder: Path) -> Path:
    """The tables that the places are in: ours (experiment 1, run a), others' (2, b, and c in ours), and ours that are
    not to be moved."""
    file = folder / "mlflow.db"
    with sqlite3.connect(file) as connection:
        connection.executescript(
            """
            CREATE TABLE experiments (experiment_id INTEGER, artifact_location TEXT);
            CREATE TABLE experiment_tags (experiment_id INTEGER, key TEXT, value TEXT);
            CREATE TABLE runs (run_uuid TEXT, artifact_uri TEXT);
            CREATE TABLE tags (run_uuid TEXT, key TEXT, value TEXT);
            INSERT INTO experiments VALUES (1, 'file:///old/artifacts'), (2, 'file:///old/artifacts'),
                (3, 'file:///old/mlruns/3'), (4, 's3://bucket/artifacts'), (5, NULL);
            INSERT INTO experiment_tags VALUES (1, 'mlflow.sharedViewState.halfwave', ''), (2, 'other', ''),
                (3, 'mlflow.sharedViewState.halfwave', ''), (4, 'mlflow.sharedViewState.halfwave', ''),
                (5, 'mlflow.sharedViewState.halfwave', '');
            INSERT INTO runs VALUES ('a', 'file:///old/artifacts/a/artifacts'), ('b', 'file:///old/2/b/artifacts'),
                ('c', 'file:///old/artifacts/c/artifacts'), ('d', 's3://bucket/artifacts/d/artifacts'),
                ('e', 'mlflow-artifacts:/4/e/artifacts'), ('f', NULL);
            INSERT INTO tags VALUES ('a', 'halfwave.kind', 'condition'), ('b', 'other', ''), ('d', 'halfwave.kind', ''),
                ('e', 'halfwave.kind', ''), ('f', 'halfwave.kind', '');
            """
        )
    connection.close()
    return file


def places(file: Path) -> tuple[list[str], list[str]]:
    connection = sqlite3.connect(file)
    found = [
        [place for (place,) in connection.execute(f"SELECT {column} FROM {table} WHERE {column} != '' ORDER BY 1")]
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri"))
    ]
    connection.close()
    return found[0], found[1]


def test_the_places_of_our_experiments_and_runs_are_corrected_and_no_others(tmp_path: Path) -> None:
    folder = tmp_path / "100% #1?"
    folder.mkdir()
    file = database(folder)
    LocalStore(file).relocate()
    here = (folder / "artifacts").as_uri()
    assert places(file) == (
        sorted(["file:///old/artifacts", "file:///old/mlruns/3", here, "s3://bucket/artifacts"]),
        sorted(
            [
                f"{here}/a/artifacts",
                "file:///old/2/b/artifacts",
                "file:///old/artifacts/c/artifacts",
                "s3://bucket/artifacts/d/artifacts",
                "mlflow-artifacts:/4/e/artifacts",
            ]
        ),
    )
    before = file.read_bytes(), file.stat().st_mtime_ns
    LocalStore(file).relocate()
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before


def test_a_store_whose_artifacts_are_behind_a_link_is_left_as_it_is(tmp_path: Path) -> None:
    store = LocalStore(database(tmp_path))
    (tmp_path / "disk").mkdir()
    store.artifacts.symlink_to(tmp_path / "disk")
    store.relocate()
    before = store.database.read_bytes()
    store.relocate()
    assert store.database.read_bytes() == before


def test_a_copy_has_another_identity_and_a_moved_store_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"x")
    (tmp_path / "copy.db").write_bytes(b"x")
    before = LocalStore(tmp_path / "a.db").identity
    (tmp_path / "a.db").rename(tmp_path / "b.db")
    assert LocalStore(tmp_path / "b.db").identity == before != LocalStore(tmp_path / "copy.db").identity


def test_a_file_is_written_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_file(tmp_path / "new" / "deep" / "a.json", b"1")
    write_file(tmp_path / "new" / "deep" / "a.json", b"22")
    assert [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()] == [b"22"]
    with pytest.raises(OSError, match="Is a directory"):
        write_file(tmp_path / "new" / "deep", b"3")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["deep"]


def test_the_folder_of_a_run_is_removed_and_nothing_that_others_put_beside_it(tmp_path: Path) -> None:
    for run in ("a", "b"):
        write_file(tmp_path / run / "artifacts" / "x", b"1")
    write_file(tmp_path / "b" / "notes.txt", b"mine")
    write_file(tmp_path / "kept" / "x", b"1")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "artifacts").symlink_to(tmp_path / "kept")
    for run in ("a", "b", "c", "never there"):
        remove_run_folder(tmp_path / run / "artifacts")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "b", "b/notes.txt", "kept", "kept/x",
    ]  # fmt: skip
