"""Secrets leave every text, in whatever form they stand in it; everything else stays."""

import json
import logging
from types import MappingProxyType

import pytest

from orchestrator import redaction
from orchestrator.redaction import redact_logs, redacted, remember

PLANTED = {
    "HF_TOKEN": "hf_aBcDeFgHiJkLmNoPqRsT",
    "MLFLOW_TRACKING_PASSWORD": 'pass"w\\ord 1',
    "MLFLOW_TRACKING_TOKEN": "tracking-token-17",
    "AWS_SECRET_ACCESS_KEY": "wJalr/XUtnFEMI+K7MDENG",
    "AWS_SESSION_TOKEN": "FwoGZXIvYXdzEJr//",
    "PGPASSWORD": "postgres-secret",
    "HTTPS_PROXY": "http://proxy:proxy%2Fsecret@host:3128",
}


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Puts secrets into the environment; returns them in the forms in which they may stand in a text."""
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(redaction, "remembered", set())
    return [*(value for name, value in PLANTED.items() if name != "HTTPS_PROXY"), "proxy%2Fsecret", "proxy/secret"]


def test_secrets_of_the_environment_in_every_form(planted: list[str]) -> None:
    for secret in planted:
        for text in (secret, f"before {secret} after", json.dumps({"a": secret}), f"{secret}{secret}"):
            assert secret not in redacted(text) and json.dumps(secret)[1:-1] not in redacted(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://ada:s3cret@host/mlflow", "https://ada:***@host/mlflow"),
        ("at https://ada:s3:cr@et@host:5000, again", "at https://ada:***@host:5000, again"),
        ("postgresql+psycopg2://ada:x@db/m", "postgresql+psycopg2://ada:***@db/m"),
        ("https://:tok@host", "https://:***@host"),
        ("http://ghp_token@host/x", "http://***@host/x"),
        ("https://cdn/x?a=1&X-Amz-Signature=0ab&b=2", "https://cdn/x?a=1&X-Amz-Signature=***&b=2"),
        ("https://blob/x?sv=1&sig=a%2Fb", "https://blob/x?sv=1&sig=***"),
        ("mssql://db/x?password=pw;encrypt=1", "mssql://db/x?password=***"),
        ("{'Authorization': 'Bearer abc.def', 'a': 'b'}", "{'Authorization': '***', 'a': 'b'}"),
        ("Authorization: AWS4-HMAC-SHA256 Credential=AK, Signature=0a", "Authorization: ***"),
        ("token hf_abcdefghijklmnopqrstuv.", "token ***."),
    ],
)
def test_what_is_a_secret_wherever_it_stands(planted: list[str], text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_what_is_no_secret_stays(planted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "tokens")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "true")
    for text in (
        "true tokens at https://host:5000/a@b",
        "sqlite:////a/b@c.db",
        "profile: {tokens: 5}",
        "a@b: c",
        "a cookie, or two",
        "the authorization of it",
        "?x;significance=1",
    ):
        assert redacted(text) == text


def test_data_keeps_its_shape_and_its_keys(planted: list[str]) -> None:
    data = {"HF_TOKEN": ["x", PLANTED["HF_TOKEN"], 1.5, None], "b": ({"c": "tracking-token-17"},)}
    expected = {"HF_TOKEN": ["x", "***", 1.5, None], "b": [{"c": "***"}]}
    assert redacted(data) == expected and redacted(MappingProxyType(data)) == expected


def test_a_remembered_password_is_a_secret_from_then_on(planted: list[str]) -> None:
    assert redacted("its password is of%20file") == "its password is of%20file"
    remember("https://ada:of%20file@host")
    assert redacted("its password is of%20file, that is of file") == "its password is ***, that is ***"


def test_logs_of_every_logger_and_handler_hold_no_secret(
    planted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = logging.getLogRecordFactory()
    handler, log = logging.StreamHandler(), logging.getLogger("a.library")
    log.addHandler(handler)
    redact_logs()
    try:
        log.error("%s and %d", PLANTED["HF_TOKEN"], 7)
        log.error("does not fit %d", "tracking-token-17")
        try:
            raise ValueError("postgres-secret")
        except ValueError:
            log.exception("failed")
    finally:
        logging.setLogRecordFactory(before)
        log.removeHandler(handler)
    logged = capsys.readouterr().err
    assert "*** and 7" in logged and "ValueError: ***" in logged and "does not fit" in logged
    assert not any(secret in logged for secret in planted)
