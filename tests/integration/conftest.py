"""Fixtures shared by the integration tests."""

import sys
import time

import pytest

from orchestrator import cli
from tests.integration.made_up import Answer, Command, hosts


@pytest.fixture
def no_process_outlives_its_driver():
    """Around a test: whatever ended a study, its actors and engine workers are gone."""
    before = hosts()
    yield before
    deadline = time.monotonic() + 60
    while (left := hosts() - before) and time.monotonic() < deadline:
        time.sleep(1)
    assert not left, f"processes {left} outlived their driver"


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command as a user types it, in this process."""
    monkeypatch.setattr(cli, "redact_logs", lambda: None)

    def call(verb: str, *words: object) -> Answer:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["halfwave", verb, *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.entry()
        return Answer(int(ended.value.code or 0), *capsys.readouterr())

    return call
