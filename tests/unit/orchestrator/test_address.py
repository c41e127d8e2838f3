"""An address that is no cluster's is refused in one line, within seconds."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import grpc
import pytest

from orchestrator import address
from orchestrator.address import check_cluster, check_dashboard
from studies.errors import StudyError


@pytest.fixture
def web() -> Iterator[int]:
    """The port of an HTTP/1 server, such as the dashboard."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that is taken but not listened at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_port_that_speaks_grpc_is_accepted() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        check_cluster(f"127.0.0.1:{port}")
    finally:
        server.stop(None)


def test_ray_and_dashboard_addresses_are_not_mixed_up(web: int) -> None:
    with pytest.raises(StudyError, match=f"^--address 127.0.0.1:{web}: what answers there is not Ray's own port"):
        check_cluster(f"127.0.0.1:{web}")
    check_dashboard(f"http://127.0.0.1:{web}")
    check_dashboard(f"http://127.0.0.1:{web}/")
    with pytest.raises(StudyError, match="dashboard, http://HOST:PORT"):
        check_dashboard(f"127.0.0.1:{web}")


def test_a_port_that_nothing_listens_at_is_refused_with_the_reason(silent_port: int) -> None:
    with pytest.raises(StudyError, match=r"nothing answers there \(Connection refused\)"):
        check_cluster(f"127.0.0.1:{silent_port}")
    with pytest.raises(StudyError, match=r"nothing answers there \(Connection refused\)"):
        check_dashboard(f"http://127.0.0.1:{silent_port}")


def test_a_port_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(StudyError, match="timed out"):
        check_cluster(f"127.0.0.1:{mute.getsockname()[1]}")


@pytest.mark.parametrize("wrong", ["rubbish", "host:", ":6379", "host:0", "host:99999", "host:port", ""])
def test_what_is_no_host_and_port_is_refused(wrong: str) -> None:
    with pytest.raises(StudyError, match="write HOST:PORT"):
        check_cluster(wrong)


@pytest.mark.parametrize("wrong", ["http://h:8265", "ray://h:10001"])
def test_a_run_takes_no_url(wrong: str) -> None:
    with pytest.raises(StudyError, match="a run takes HOST:PORT"):
        check_cluster(wrong)
