"""Addresses that cannot be a cluster's are one line within seconds; Ray's own port is told from others."""

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
    """The port of a server of HTTP/1, as the dashboard's is."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port at which nobody listens, kept from others."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_port_that_speaks_grpc_is_a_clusters():
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        check_cluster(f"127.0.0.1:{port}")
    finally:
        server.stop(None)


def test_the_dashboards_port_is_no_clusters_and_the_other_way_round_is_refused_by_its_form(web):
    with pytest.raises(StudyError, match=f"^--address 127.0.0.1:{web}: what answers there is not Ray's own port"):
        check_cluster(f"127.0.0.1:{web}")
    check_dashboard(f"http://127.0.0.1:{web}")
    check_dashboard(f"http://127.0.0.1:{web}/")
    with pytest.raises(StudyError, match="dashboard, http://HOST:PORT"):
        check_dashboard(f"127.0.0.1:{web}")


def test_where_nobody_listens_the_reason_is_said(nobody):
    with pytest.raises(StudyError, match=r"nothing answers there \(Connection refused\)"):
        check_cluster(f"127.0.0.1:{nobody}")
    with pytest.raises(StudyError, match=r"nothing answers there \(Connection refused\)"):
        check_dashboard(f"http://127.0.0.1:{nobody}")


def test_one_that_listens_and_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(address, "ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(StudyError, match="timed out"):
        check_cluster(f"127.0.0.1:{mute.getsockname()[1]}")


@pytest.mark.parametrize("wrong", ["rubbish", "host:", ":6379", "host:0", "host:99999", "host:port", ""])
def test_what_is_no_host_and_port_is_refused(wrong):
    with pytest.raises(StudyError, match="write HOST:PORT"):
        check_cluster(wrong)


@pytest.mark.parametrize("wrong", ["http://h:8265", "ray://h:10001"])
def test_a_run_takes_no_url(wrong):
    with pytest.raises(StudyError, match="a run takes HOST:PORT"):
        check_cluster(wrong)
