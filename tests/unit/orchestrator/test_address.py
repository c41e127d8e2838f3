"""An address that is no cluster's is refused in one line, within seconds."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import grpc
import pytest

from orchestrator import address
from orchestrator.address import check_cluster, check_dashboard
from studies.errors import StudyError

IS_IT_UP = "is the cluster up, and its port forwarded?"
NOT_RAY = "what answers there is not Ray's own port, 6379 by default (8265, the dashboard's, is for `halfwave submit`)"
NO_DASHBOARD = "a job is submitted to the cluster's dashboard, http://HOST:PORT (8265 by default)"
NO_URL = (
    "a run takes HOST:PORT of the cluster (its port is 6379 by default) or auto, on a machine of the cluster; "
    "from elsewhere use `halfwave submit`"
)
MISSING = "the host or the port is missing; write HOST:PORT"


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


def test_a_dashboard_is_accepted_with_or_without_a_slash(web: int) -> None:
    check_dashboard(f"http://127.0.0.1:{web}")
    check_dashboard(f"http://127.0.0.1:{web}/")


REFUSED = {
    "dashboard for a run": (check_cluster, "127.0.0.1:{web}", NOT_RAY),
    "run for a dashboard": (check_dashboard, "127.0.0.1:{web}", NO_DASHBOARD),
    "nothing listens": (check_cluster, "127.0.0.1:{silent}", f"nothing answers there (Connection refused); {IS_IT_UP}"),
    "no dashboard": (
        check_dashboard, "http://127.0.0.1:{silent}",
        f"nothing answers there (Connection refused); {IS_IT_UP}",
    ),
    "never answers": (check_cluster, "127.0.0.1:{mute}", f"nothing answers there (timed out); {IS_IT_UP}"),
    "rubbish": (check_cluster, "rubbish", MISSING),
    "no port": (check_cluster, "host:", MISSING),
    "no host": (check_cluster, ":6379", MISSING),
    "port 0": (check_cluster, "host:0", MISSING),
    "large port": (check_cluster, "host:99999", MISSING),
    "word as port": (check_cluster, "host:port", MISSING),
    "nothing": (check_cluster, "", MISSING),
    "url for a run": (check_cluster, "http://h:8265", NO_URL),
    "client for a run": (check_cluster, "ray://h:10001", NO_URL),
}  # fmt: skip


@pytest.mark.parametrize(("check", "place", "message"), REFUSED.values(), ids=REFUSED)
def test_an_address_of_no_cluster_is_one_line(
    check: Callable[[str], None],
    place: str,
    message: str,
    web: int,
    silent_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(address, "ANSWER_SECONDS", 0.1 if "mute" in place else address.ANSWER_SECONDS)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        given = place.format(web=web, silent=silent_port, mute=mute.getsockname()[1])
        with pytest.raises(StudyError) as caught:
            check(given)
    assert str(caught.value) == f"--address {given}: {message}"
