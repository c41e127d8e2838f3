"""Which values of this process are secret, and texts without them.

Secrets are the values of environment variables whose names say so (HF_TOKEN, MLFLOW_TRACKING_PASSWORD, AWS_* keys,
...); the passwords of URIs in the environment and of tracking URIs; and, wherever it stands, the user part of a URI, a
signature or token in its query, an authorization header and a token of the hub. Everything that is logged, recorded or
printed as an error passes through `redacted`. A value of fewer than six characters does not count as a secret, because
it may be an ordinary word.
"""

import json
import logging
import os
import re
import traceback
from collections.abc import Mapping
from typing import Any, TypeVar, overload
from urllib.parse import quote, unquote

STARS = "***"

_SECRET_NAME = re.compile(
    r"(TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|API_?KEY|ACCESS_KEY(_ID)?|SECRET_KEY|PRIVATE_KEY|CONNECTION_STRING)$",
    re.I,
)
"""Names of environment variables that hold a secret."""
_MIN_CHARACTERS = 6

_PASSWORD = re.compile(r"(?<=://)([^\s/?#@:]*):([^\s/?#]+)@")
_PATTERNS = (
    (_PASSWORD, rf"\1:{STARS}@"),
    (re.compile(r"(https?://)[^\s/?#@:]+@", re.I), rf"\1{STARS}@"),
    (
        re.compile(
            r"([?&;](?:[\w.-]*(?:passw|pwd|token|secret|signature|credential|api_?key|access_?key)\w*|sig)=)[^\s&#'\"]+",
            re.I,
        ),
        rf"\1{STARS}",
    ),
    (
        re.compile(
            r"\b((?:authorization|x-amz-security-token|x-api-key|cookie)['\"]?\s*[:=]\s*b?['\"]?)[^'\"\n]+", re.I
        ),
        rf"\1{STARS}",
    ),
    (re.compile(r"\bhf_[A-Za-z0-9]{16,}"), STARS),
)
"""Patterns that are secret wherever they occur, each with its replacement."""

remembered: set[str] = set()
"""URIs whose passwords came from a study file or the command line."""

V = TypeVar("V")


def remember(uri: str) -> None:
    """Treat the URI's password as a secret from now on, wherever it stands."""
    remembered.add(uri)


@overload
def redacted(value: str) -> str: ...
@overload
def redacted(value: Mapping[str, V]) -> dict[str, V]: ...
def redacted(value: object) -> object:
    """A text, or plain JSON data with its texts, without secrets. Keys of mappings stay as they are; tuples become
    lists."""
    return _redacted(value, _secrets())


def _redacted(value: object, secrets: list[str]) -> object:
    match value:
        case str():
            for secret in secrets:
                value = value.replace(secret, STARS)
            for pattern, replacement in _PATTERNS:
                value = pattern.sub(replacement, value)
        case Mapping():
            return {key: _redacted(item, secrets) for key, item in value.items()}
        case list() | tuple():
            return [_redacted(item, secrets) for item in value]
    return value


def _secrets() -> list[str]:
    """The secrets in every form in which they may occur in a text, the longest first."""
    named = {value for name, value in os.environ.items() if _SECRET_NAME.search(name)}
    passwords = {match[2] for uri in (*os.environ.values(), *remembered) for match in _PASSWORD.finditer(uri)}
    decoded = {form for secret in named | passwords for form in (secret, unquote(secret))}
    secrets = {secret for secret in decoded if len(secret) >= _MIN_CHARACTERS}
    forms = {form for secret in secrets for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1])}
    return sorted(forms, key=len, reverse=True)


def redact_logs() -> None:
    """From now on no log message of this process holds a secret, whatever its logger and handler."""
    make_record = logging.getLogRecordFactory()

    def without_secrets(*args: Any, **kwargs: Any) -> logging.LogRecord:
        entry = make_record(*args, **kwargs)
        try:
            entry.msg, entry.args = redacted(entry.getMessage()), ()
        except Exception:  # a message that does not fit its arguments; logging itself will say so
            entry.msg, entry.args = redacted(f"{entry.msg} {entry.args}"), ()
        if entry.exc_info and entry.exc_info[0] is not None:
            entry.exc_text = redacted("".join(traceback.format_exception(*entry.exc_info)).rstrip())
        return entry

    logging.setLogRecordFactory(without_secrets)
