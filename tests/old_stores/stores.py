"""Stores that an earlier version wrote, unpacked anywhere as if they had been written there.

The archives and `expected.json` lie beside this module; `make.md` says how they were made. MLflow keeps absolute places
in its database: they begin with `PREFIX` in the archives, and with the folder after `unpack`. Standard library alone,
so that nothing of what is tested takes part.
"""

import json
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PREFIX = "/halfwave-fixture"
MODEL = "model"
NAMES = ("finished", "half_finished", "waiting_spool")
WORKDIR = "work"
PLACES = {"experiments": "artifact_location", "runs": "artifact_uri"}
"""{table: column} of MLflow's database that hold places: URIs, and the plain path of MLflow's own first experiment."""


def unpack(name: str, folder: Path) -> Path:
    """Unpack a store, and the models that its study files name, into a folder; returns the store's own folder in it.

    There are the study files, their data, and the working folder `WORKDIR`.
    """
    for archive in (MODEL, name):
        with tarfile.open(HERE / f"{archive}.tar.xz") as packed:
            packed.extractall(folder, filter="data")
    for database in (folder / name).rglob("mlflow.db"):
        move(database, Path(PREFIX), folder)
    return folder / name


def move(database: Path, old: Path, new: Path) -> None:
    """Let the artifacts that MLflow looks for below one folder be those below another."""
    old, new = old.absolute(), new.absolute()
    connection = sqlite3.connect(database)
    with connection:
        for table, column in PLACES.items():
            for before, after in ((old.as_uri(), new.as_uri()), (str(old), str(new))):
                changed = f"update {table} set {column} = ? || substr({column}, ?) where substr({column}, 1, ?) = ?"
                connection.execute(changed, (after, len(before) + 1, len(before) + 1, f"{before}/"))
    connection.close()


def expected() -> dict[str, Any]:
    """What the version that wrote the stores found in them."""
    return json.loads((HERE / "expected.json").read_text(encoding="utf-8"))
