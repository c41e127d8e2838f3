"""What is secret in this process, and texts without it.

Owns which values are secret: those of the environment whose names say so (HF_TOKEN, MLFLOW_TRACKING_PASSWORD, AWS_*
keys, ...), passwords of URIs there and in tracking URIs, and what only ever is one wherever it stands: the user part of
a URI, signatures and tokens in its query, authorization headers, the hub's tokens. Whatever is logged, recorded or
printed as an error passes through `redacted`. Values of fewer than six characters are no secrets: they are words too.
"""

import json
import logging
import os
import re
import traceback
from typing import Any
from urllib.parse import quote, unquote

STARS = "***"

_NAMES = re.compile(
    r"(TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|API_?KEY|ACCESS_KEY(_ID)?|SECRET_KEY|PRIVATE_KEY|CONNECTION_STRING)$",
    re.I,
)
"""Names of environment variables that hold a secret."""
_SHORTEST = 6

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

_remembered: set[str] = set()
"""URIs whose passwords came from a study file or the command line."""


def remember(uri: str) -> None:
    """From now on the URI's password is a secret wherever it stands."""
    _remembered.add(uri)


def redacted(value: Any) -> Any:
    """A text, or plain JSON data with its texts, without secrets. Keys of mappings stay as they are."""
    return _redacted(value, _secrets())


def _redacted(value: Any, secrets: list[str]) -> Any:
    match value:
        case str():
            for secret in secrets:
                value = value.replace(secret, STARS)
            for pattern, replacement in _PATTERNS:
                value = pattern.sub(replacement, value)
        case dict():
            return {key: _redacted(item, secrets) for key, item in value.items()}
        case list() | tuple():
            return [_redacted(item, secrets) for item in value]
    return value


def _secrets() -> list[str]:
    """As they may stand in a text, the longest first."""
    named = {value for name, value in os.environ.items() if _NAMES.search(name)}
    inside = {match[2] for uri in (*os.environ.values(), *_remembered) for match in _PASSWORD.finditer(uri)}
    plain = {one for secret in named | inside for one in (secret, unquote(secret)) if len(secret) >= _SHORTEST}
    written = {text for one in plain for text in (one, quote(one, safe=""), json.dumps(one)[1:-1])}
    return sorted(written, key=len, reverse=True)


def redact_logs() -> None:
    """From now on nothing that this process logs, by whatever logger and handler, tells a secret."""
    make = logging.getLogRecordFactory()

    def without_secrets(*arguments: Any, **named: Any) -> logging.LogRecord:
        record = make(*arguments, **named)
        try:
            record.msg, record.args = redacted(record.getMessage()), ()
        except Exception:  # a message that does not fit its arguments; logging itself will say so
            record.msg, record.args = redacted(f"{record.msg} {record.args}"), ()
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = redacted("".join(traceback.format_exception(*record.exc_info)).rstrip())
        return record

    logging.setLogRecordFactory(without_secrets)
