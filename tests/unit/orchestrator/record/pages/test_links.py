"""Addresses of MLflow's pages."""

import pytest

from orchestrator.record.pages import links


@pytest.mark.parametrize(
    ("server", "link"),
    [
        ("", "http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=halfwave"),
        ("https://ada:pass@host:8/mlflow/", "https://host:8/mlflow/#/experiments/1/runs?workflowType=machine_learning"),
    ],
    ids=["a database", "a server below a path, without its password"],
)
def test_a_printed_link_is_whole(server: str, link: str) -> None:
    assert links.printed(server, links.view_address("1")).startswith(link)


def test_the_command_or_the_server() -> None:
    command = links.ui_command("", "sqlite:////a b/m.db")
    assert command == "mlflow ui --backend-store-uri 'sqlite:////a b/m.db' --port 5000"
    assert links.ui_command("http://ada:pass@host/", "x") == "http://host/"


def test_pages_of_runs_and_artifacts() -> None:
    assert links.run_address("1", "r2") == "#/experiments/1/runs/r2?workflowType=machine_learning"
    assert links.artifacts_address("1", "r2") == "#/experiments/1/runs/r2/artifacts?workflowType=machine_learning"
    assert "/r2/artifacts/a%20b/c%3F.md?" in links.artifacts_address("1", "r2", "a b/c?.md")
    assert links.view_address("1", links.MEMBERS).endswith("viewStateShareKey=halfwave-members")
