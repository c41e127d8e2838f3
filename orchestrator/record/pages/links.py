"""Addresses of MLflow's own pages, and the command that serves them.

Owns how MLflow 3.17 spells them. A hash address, such as `#/experiments/1/runs/2`, is valid on whatever address MLflow
is opened under, so notes hold these; what is printed for a person begins with a host.
"""

import shlex
from urllib.parse import quote, urlsplit

LOOPBACK, PORT = "127.0.0.1", 5000
"""Where `mlflow ui` listens."""
LOCAL_ADDRESS = f"http://{LOOPBACK}:{PORT}"
_RUNS = "workflowType=machine_learning"
"""Without it MLflow opens an experiment on traces of chats."""
CONDITIONS, MEMBERS = "halfwave", "halfwave-members"
"""Keys of the saved views."""


def ui_command(server_uri: str, safe_uri: str) -> str:
    """The shell command that opens MLflow on a store, or the address of its server.

    server_uri: '' where the store is a database; safe_uri: the store's URI without a password."""
    if server_uri:
        return server_address(server_uri)
    return f"mlflow ui --backend-store-uri {shlex.quote(safe_uri)} --port {PORT}"


def server_address(uri: str) -> str:
    """The address of a tracking server, without user and password."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def view_address(experiment_id: str, view: str = CONDITIONS) -> str:
    """The hash address of an experiment's table of runs in a saved view."""
    return f"#/experiments/{experiment_id}/runs?{_RUNS}&viewStateShareKey={view}"


def run_address(experiment_id: str, run_id: str) -> str:
    """The hash address of a run's page."""
    return f"{_run(experiment_id, run_id)}?{_RUNS}"


def artifacts_address(experiment_id: str, run_id: str, artifact: str = "") -> str:
    """The hash address of a run's artifacts, or of one of them."""
    below = f"/{quote(artifact)}" if artifact else ""
    return f"{_run(experiment_id, run_id)}/artifacts{below}?{_RUNS}"


def _run(experiment_id: str, run_id: str) -> str:
    return f"#/experiments/{experiment_id}/runs/{run_id}"


def printed(server_uri: str, address: str) -> str:
    """The whole address of a page, given its hash address; valid while `ui_command` runs.

    server_uri: as of `ui_command`."""
    host = server_address(server_uri) if server_uri else LOCAL_ADDRESS
    return f"{host.rstrip('/')}/{address}"
