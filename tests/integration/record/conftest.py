"""The store of a test module, and the name of a test's study."""

import shutil
from pathlib import Path

import pytest

from orchestrator.record.local_store import sqlite_uri
from orchestrator.record.record import Record
from tests.integration.record.recorded import StoreFolder

ODD_NAME = "a store at 100%23 é"
"""Of a folder whose path is not a URI."""


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Creating one takes MLflow seconds, copying it none."""
    folder = tmp_path_factory.mktemp("empty") / ODD_NAME
    Record(sqlite_uri(folder / "mlflow.db"), outbox=folder / "spool")
    assert (folder / "mlflow.db").exists()
    return folder / "mlflow.db"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> StoreFolder:
    """Shared by the tests of a module, each with studies of its own."""
    folder = tmp_path_factory.mktemp("store") / ODD_NAME
    folder.mkdir()
    shutil.copy(empty_database, folder)
    return StoreFolder(uri=sqlite_uri(folder / "mlflow.db"), folder=folder)


@pytest.fixture
def study(request: pytest.FixtureRequest) -> str:
    """The name of the test, as the name of its study."""
    return request.node.name.replace("[", "-").replace("]", "")
