"""Where a store is, and the saved view of an experiment."""

from pathlib import Path

import pytest

from orchestrator.record.mlflow_store import locate, saved_view


def test_the_saved_view_is_written_as_ever() -> None:
    assert saved_view(["perplexity", "blimp/accuracy"]) == (
        '{"name": "Halfwave: conditions", "createdAt": 0, "state": "{\\"searchFilter\\": '
        "\\\"tags.`halfwave.kind` = 'condition'\\\", "
        '\\"orderByKey\\": \\"params.`model`\\", \\"orderByAsc\\": true, \\"selectedColumns\\": '
        '[\\"params.`model`\\", \\"params.`condition`\\", \\"params.`fraction`\\", \\"params.`intervention`\\", '
        '\\"metrics.`perplexity`\\", \\"metrics.`blimp/accuracy`\\"]}"}'
    )


def test_a_sqlite_store_is_found_from_any_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("sqlite:///mlflow.db") == (f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "mlflow.db")
    assert locate("sqlite:////a%23b/m.db?timeout=1") == ("sqlite:////a#b/m.db?timeout=1", Path("/a#b/m.db"))
    assert locate("sqlite:////a%25/m.db") == ("sqlite:////a%25/m.db", Path("/a%/m.db"))


@pytest.mark.parametrize("uri", ["http://host:5000", "postgresql://ada@host/m"])
def test_a_server_has_no_database_file(uri: str) -> None:
    assert locate(uri) == (uri, None)
