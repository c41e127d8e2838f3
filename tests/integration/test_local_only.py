"""Whatever a study starts on this machine (Ray's processes, actors, engines) listens on the loopback only."""

import ipaddress
import os
import re
import socket
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray._private import services

from actors.ablation.engine import stay_on_this_machine
from orchestrator.execution import ray_session as ray_session_module
from orchestrator.execution.ray_session import MAX_SOCKET_BYTES, SOCKET, ray_session
from orchestrator.record.mlflow_store import Store
from studies.errors import StudyError


def reachable() -> list[str]:
    """Listening sockets of this process and its descendants that another machine could connect to."""
    sockets = []
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        for connection in process.net_connections("inet"):
            if connection.status != psutil.CONN_LISTEN:
                continue
            host = ipaddress.ip_address(connection.laddr.ip)
            if not (getattr(host, "ipv4_mapped", None) or host).is_loopback:
                sockets.append(f"{process.name()} {connection.laddr.ip}:{connection.laddr.port}")
    return sockets


def test_a_port_that_others_can_reach_is_seen() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        (listening,) = reachable()
        assert listening.endswith(f" 0.0.0.0:{server.getsockname()[1]}")


def test_a_local_ray_listens_on_the_loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    @ray.remote
    class Actor:
        def pid(self) -> int:
            return os.getpid()

    before = dict(os.environ)
    with ray_session(None, num_cpus=1):
        actor = Actor.remote()
        below = {process.pid for process in psutil.Process().children(recursive=True)}
        assert ray.get(actor.pid.remote()) in {process.pid for process in psutil.Process().children(recursive=True)}
        assert len(below) > 2 and reachable() == []
    assert not ray.is_initialized()
    left = {name: value for name, value in os.environ.items() if before.get(name) != value}
    assert not any("CLUSTER" in name for name in left)


def test_the_printed_command_opens_mlflow_on_the_loopback(tmp_path: Path) -> None:
    from mlflow.cli import server

    words = Store(f"sqlite:///{tmp_path}/x.db").ui_command().split()
    assert words[:2] == ["mlflow", "ui"] and "--host" not in words
    assert {option.name: option.default for option in server.params}["host"] == "127.0.0.1"


def test_engines_use_the_loopback_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("VLLM_HOST_IP", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
    for name in names:
        monkeypatch.setenv(name, "eth7")
    stay_on_this_machine()
    assert {os.environ[name] for name in names} == {"eth7"}
    for name in names:
        monkeypatch.delenv(name)
    stay_on_this_machine()
    assert [os.environ.pop(name) for name in names] == ["127.0.0.1", "lo", "lo"]


def test_a_running_cluster_is_joined_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: dict[str, Any] = {}
    monkeypatch.setattr(ray, "init", lambda **options: passed.update(options))
    monkeypatch.setattr(ray_session_module, "check_cluster", lambda address: None)
    with ray_session("head:6379"):
        assert passed["address"] == "head:6379"
        assert "object_store_memory" not in passed and "include_dashboard" not in passed
        assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ


@pytest.mark.parametrize(
    ("address", "place"), [("head:6379", "--address head:6379"), (None, "a local Ray did not start")]
)
def test_a_ray_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, address: str | None, place: str) -> None:
    def refuse(**options: object) -> None:
        raise ConnectionError("nobody\nanswers")

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray_session_module, "check_cluster", lambda address: None)
    with pytest.raises(StudyError) as error, ray_session(address):
        pass
    assert str(error.value) == f"{place}: nobody answers"


def test_this_machine_s_cluster_that_is_gone_is_one_line_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray keeps the address of the last cluster in a file, and would try it for minutes."""
    monkeypatch.setattr(services, "find_gcs_addresses", set)
    monkeypatch.setattr(services, "find_bootstrap_address", lambda folder: None)
    with pytest.raises(StudyError) as error, ray_session("auto"):
        pass
    assert re.fullmatch(r"--address auto: Could not find any running Ray instance\..*", str(error.value))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        was = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr(services, "find_bootstrap_address", lambda folder: was)
        with pytest.raises(StudyError) as error, ray_session("auto"):
            pass
    assert str(error.value) == (
        f"--address {was}: nothing answers there (Connection refused); is the cluster up, and its port forwarded?"
    )


def test_a_temporary_folder_whose_path_is_too_long_for_ray_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * (MAX_SOCKET_BYTES - len(str(tmp_path))))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(deep))
    with pytest.raises(StudyError) as error, ray_session(None):
        pass
    length = len(str(deep)) + len("/ray/") + len(SOCKET)
    assert str(error.value) == (
        f"a local Ray cannot start in {deep}/ray: the paths of its sockets would have {length} bytes, and at most 107 "
        "are possible; set RAY_TMPDIR to a folder with a shorter path, such as /tmp"
    )
    assert not deep.exists()
