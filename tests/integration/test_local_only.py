"""What a study starts on this machine listens on the loopback alone: Ray's processes, actors, and engines."""

import ipaddress
import os
import socket

import psutil
import pytest
import ray
from ray._private import services

from actors.ablation.engine import _stay_on_this_machine
from orchestrator.execution import ray_session as ray_session_module
from orchestrator.execution.ray_session import ray_session
from orchestrator.record.mlflow_store import Store
from studies.errors import StudyError


def reachable() -> list[str]:
    """Listening sockets of this process and all below it that another machine could connect to."""
    found = []
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        for one in process.net_connections("inet"):
            host = one.laddr and ipaddress.ip_address(one.laddr.ip)
            bare = host and (getattr(host, "ipv4_mapped", None) or host)
            if one.status == psutil.CONN_LISTEN and not bare.is_loopback:
                found.append(f"{process.name()} {one.laddr.ip}:{one.laddr.port}")
    return found


def test_a_port_that_others_can_reach_is_seen():
    with socket.create_server(("0.0.0.0", 0)) as server:
        (found,) = reachable()
        assert found.endswith(f" 0.0.0.0:{server.getsockname()[1]}")


def test_a_local_ray_listens_on_the_loopback_alone(monkeypatch):
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


def test_the_printed_command_opens_mlflow_on_the_loopback(tmp_path):
    from mlflow.cli import server

    words = Store(f"sqlite:///{tmp_path}/x.db").ui_command().split()
    assert words[:2] == ["mlflow", "ui"] and "--host" not in words
    assert {option.name: option.default for option in server.params}["host"] == "127.0.0.1"


def test_engines_meet_on_the_loopback_unless_told(monkeypatch):
    names = ("VLLM_HOST_IP", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
    for name in names:
        monkeypatch.setenv(name, "eth7")
    _stay_on_this_machine()
    assert {os.environ[name] for name in names} == {"eth7"}
    for name in names:
        monkeypatch.delenv(name)
    _stay_on_this_machine()
    assert [os.environ.pop(name) for name in names] == ["127.0.0.1", "lo", "lo"]


def test_a_running_cluster_is_joined_as_it_is(monkeypatch):
    asked = {}
    monkeypatch.setattr(ray, "init", lambda **options: asked.update(options))
    monkeypatch.setattr(ray_session_module, "check_cluster", lambda address: None)
    with ray_session("head:6379"):
        assert asked["address"] == "head:6379"
        assert "object_store_memory" not in asked and "include_dashboard" not in asked
        assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ


@pytest.mark.parametrize(
    ("address", "place"), [("head:6379", "--address head:6379"), (None, "a local Ray did not start")]
)
def test_a_ray_that_is_not_there_is_one_line(monkeypatch, address, place):
    def refuse(**options):
        raise ConnectionError("nobody\nanswers")

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray_session_module, "check_cluster", lambda address: None)
    with pytest.raises(StudyError, match=f"^{place}: nobody answers$"), ray_session(address):
        pass


def test_this_machine_s_cluster_that_is_gone_is_one_line_at_once(monkeypatch):
    """Ray remembers where one was, in a file; it would ask there for minutes."""
    monkeypatch.setattr(services, "find_gcs_addresses", set)
    monkeypatch.setattr(services, "find_bootstrap_address", lambda folder: None)
    with pytest.raises(StudyError, match=r"^--address auto: Could not find any"), ray_session("auto"):
        pass
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        was = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr(services, "find_bootstrap_address", lambda folder: was)
        with pytest.raises(StudyError, match=f"^--address {was}: nothing answers there"), ray_session("auto"):
            pass
