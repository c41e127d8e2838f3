"""How long one request to a tracking server may take, and what its failures mean, in words.

MLflow's client raises its own exceptions for whatever a server, or something else at its address, answers: a login
page, another service, a proxy without its server. Each becomes the end of one line, without the page in it, that says
what was found and what to check. Refuses to know which call was made and when it is made again. Imports no mlflow.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from orchestrator.redaction import redacted
from studies.errors import first_line, one_line

HTTP_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # MLflow's own 7 block for four minutes; the outbox and the reader wait
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # a proxy may ask for an hour
    "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",  # they end at a login page, turn POST into GET, or ask netrc about a host
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",  # a server may name any address for the parts
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
}
"""What MLflow's HTTP layer does where the user has not chosen otherwise. MLflow reads it anew for every request."""

_PERMANENT = frozenset(
    {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST", "INVALID_STATE"}
)
"""Error codes of a store that answered and will never accept the call. All others (5xx, locked, timed out, a proxy's
404, an expired login) may pass."""

CREDENTIALS = (
    "check the address and the credentials (MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
    "MLFLOW_TRACKING_TOKEN)"
)
FOREIGN = "answers, but not as MLflow does{found}; check the address"
WEB_PAGE = f"answers with a web page, as a login page does; {CREDENTIALS}"
REDIRECT = f"asks for another address (HTTP {{status}}), as for that of a login; {CREDENTIALS}"
_LOGIN = f"refuses the login{{found}}; {CREDENTIALS}"

_STATUS = re.compile(r"API request to endpoint \S+ failed with error code (\d+)")
_NOT_JSON = "API request to endpoint was successful but the response body was not in a valid JSON format"
_TAG = re.compile(r"<\s*/?\s*[a-zA-Z!]")
"""The beginning of an HTML or XML tag."""


class Failure(NamedTuple):
    """Why a call of MLflow's client failed."""

    reason: str
    """What follows `MLflow at <address>` on one line: `does not answer: Connection refused`."""
    is_permanent: bool = False
    """Whether the store answered and will never accept the call."""
    is_wrong: bool = False
    """Whether something answered that is not MLflow, or wants a login."""


@contextmanager
def request_limits(*, retries: int, timeout_s: int | None = None) -> Iterator[None]:
    """Within, MLflow's HTTP layer repeats no request more often than this, nor waits longer for an answer.

    MLflow's client has no argument for it and reads these variables for every request.
    """
    limits = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries)}
    if timeout_s is not None:
        limits["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(timeout_s)
    before = {name: os.environ.get(name) for name in limits}
    os.environ.update(limits)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def is_web_page(content: bytes) -> bool:
    """Whether bytes are an HTML page, which nothing of ours is."""
    return content.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html"))


def failure_of_database(error: Exception) -> Failure:
    """What an exception of MLflow's client means where the store is a database."""
    return _told(error, _code(error) in _PERMANENT)


def failure_of_server(error: Exception) -> Failure:
    """What an exception of MLflow's client means where the store is a server."""
    text, code = str(error), _code(error)
    if found := _STATUS.match(text):
        return _of_status(int(found[1]))
    if text.startswith(_NOT_JSON):
        return _not_json(text)
    if isinstance(unread := getattr(error, "doc", None), str):  # no JSON either, in a listing of artifacts
        return _not_json(unread)
    answer = getattr(error, "json", None)
    if isinstance(answer, dict):
        if "error_code" not in answer:
            return Failure(FOREIGN.format(found=f" ({_short(str(answer))})"), is_wrong=True)
        if code in ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED"):
            return Failure(_LOGIN.format(found=f" ({_short(text)})"), is_wrong=True)
        return _told(error, code in _PERMANENT)
    if (status := getattr(getattr(error, "response", None), "status_code", None)) is not None:
        return _of_status(status)  # of an artifact
    if code in _PERMANENT:  # refused by the client itself
        return _told(error, True)
    return Failure(f"does not answer: {reason(_root(error))}")


def reason(error: BaseException) -> str:
    """An error on one line, without a page that it quotes. Redacted first: a secret that has been cut would not be
    recognised."""
    text = getattr(error, "strerror", None) or redacted(str(error)).strip() or type(error).__name__
    line = first_line(text)
    return line[: page.start()].rstrip(" '\":") if (page := _TAG.search(line)) else line


def _of_status(status: int) -> Failure:
    if status in (401, 403, 407):
        return Failure(_LOGIN.format(found=f" (HTTP {status})"), is_wrong=True)
    if 300 <= status < 400:
        return Failure(REDIRECT.format(status=status), is_wrong=True)
    if status >= 500 or status in (408, 429):
        return Failure(f"does not answer: HTTP {status}, from it or from a proxy before it")
    return Failure(FOREIGN.format(found=f" (HTTP {status})"), is_wrong=True)


def _not_json(text: str) -> Failure:
    return Failure(WEB_PAGE if _TAG.search(text) else FOREIGN.format(found=""), is_wrong=True)


def _told(error: Exception, is_permanent: bool) -> Failure:
    return Failure(f"{'refuses' if is_permanent else 'does not answer'}: {reason(error)}", is_permanent)


def _code(error: Exception) -> str:
    return str(getattr(error, "error_code", ""))


def _root(error: BaseException) -> BaseException:
    """The first of a chain of exceptions: MLflow, requests and urllib3 each wrap the one below, or hold it."""
    while True:
        context = None if error.__suppress_context__ else error.__context__
        below = error.__cause__ or context or (error.args or (None,))[-1]
        if not isinstance(below, BaseException):
            return error
        error = below


def _short(text: str) -> str:
    text = one_line(redacted(text), 120)
    return text[: page.start()] if (page := _TAG.search(text)) else text
