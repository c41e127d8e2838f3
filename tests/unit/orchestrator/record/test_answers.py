"""The limits of MLflow's HTTP layer during a call; what it answers is tested on real servers."""

import os

import pytest

from orchestrator.record.client.answers import failure_of_database, failure_of_server, is_web_page, request_limits

RETRIES, TIMEOUT = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"


def test_limits_hold_for_a_call_and_leave_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RETRIES, "7")
    monkeypatch.delenv(TIMEOUT, raising=False)
    with pytest.raises(OSError), request_limits(retries=0, timeout_s=10):
        assert (os.environ[RETRIES], os.environ[TIMEOUT]) == ("0", "10")
        raise OSError
    assert os.environ[RETRIES] == "7" and TIMEOUT not in os.environ


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\n<!DOCTYPE html><html>", True),
        (b"<HTML>", True),
        (b"PAR1", False),
        (b'{"a": "<html>"}', False),
        (b"", False),
    ],
)
def test_a_web_page_is_recognised(content: bytes, expected: bool) -> None:
    assert is_web_page(content) is expected


class Coded(Exception):
    """As MLflow's exceptions carry a code."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.error_code = code


def test_what_the_client_itself_refuses_is_permanent_and_what_a_proxy_refuses_is_not() -> None:
    own = Coded("Invalid value for parameter 'x'", "INVALID_PARAMETER_VALUE")
    assert failure_of_server(own) == ("refuses: Invalid value for parameter 'x'", True, False)
    assert failure_of_database(own) == failure_of_server(own)
    proxy = Coded(
        "API request to endpoint /x failed with error code 400 != 200. Response body: '<html>'", "BAD_REQUEST"
    )
    assert failure_of_server(proxy) == ("answers, but not as MLflow does (HTTP 400); check the address", False, True)
