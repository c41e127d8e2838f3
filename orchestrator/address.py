"""Addresses of a running cluster: which form a verb takes, and whether Ray answers there.

Ray's own client waits for minutes at an address that does not answer and then ends the process, so the address is
tried here first, within seconds. Every error is one line with the address and the remedy. Imports no ray.
"""

import os
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

from studies.errors import StudyError

ANSWER_SECONDS = 10.0
"""Time within which an address must answer."""
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a gRPC client sends first: HTTP/2's preface and an empty SETTINGS frame (RFC 9113, section 3.4)."""
_SETTINGS = 4
"""The type of the frame that a gRPC server answers with; it is the fourth byte."""
_FRAME_HEADER_BYTES = 9


class _Endpoint(NamedTuple):
    host: str
    port: int


def check_cluster(address: str) -> None:
    """Raise StudyError unless Ray's own port answers at `address`, HOST:PORT."""
    if "://" in address:
        raise StudyError(
            f"--address {address}: a run takes HOST:PORT of the cluster (its port is 6379 by default) or auto, on a "
            "machine of the cluster; from elsewhere use `halfwave submit`"
        )
    answer = _first_bytes(_endpoint(f"ray://{address}", address), address, _HELLO)
    if answer[3:4] != bytes([_SETTINGS]) and os.environ.get("RAY_USE_TLS", "0") != "1":
        raise StudyError(
            f"--address {address}: what answers there is not Ray's own port, 6379 by default (8265, the dashboard's, "
            "is for `halfwave submit`)"
        )


def check_dashboard(address: str) -> None:
    """Raise StudyError unless something answers at the URL `address`, http://HOST:PORT."""
    if not address.startswith(("http://", "https://")):
        raise StudyError(
            f"--address {address}: a job is submitted to the cluster's dashboard, http://HOST:PORT (8265 by default)"
        )
    _first_bytes(_endpoint(address, address), address)


def _endpoint(url: str, address: str) -> _Endpoint:
    """Host and port of a URL. StudyError, with the address as the user typed it, if either is missing."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:  # the port is not a number, or too large
        port = None
    if port is None or not parts.hostname:
        raise StudyError(f"--address {address}: the host or the port is missing; write HOST:PORT")
    return _Endpoint(parts.hostname, port)


def _first_bytes(endpoint: _Endpoint, address: str, request: bytes = b"") -> bytes:
    """The first bytes of the answer to a request; empty if there is no request. StudyError if nothing listens."""
    try:
        with socket.create_connection(endpoint, timeout=ANSWER_SECONDS) as connection:
            connection.sendall(request)
            return connection.recv(_FRAME_HEADER_BYTES) if request else b""
    except OSError as error:
        reason = error.strerror or str(error)
        raise StudyError(
            f"--address {address}: nothing answers there ({reason}); is the cluster up, and its port forwarded?"
        ) from None
