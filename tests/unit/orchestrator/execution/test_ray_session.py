"""A local Ray that does not start at once. What it listens on is in `integration/test_local_only.py`."""

import logging
import subprocess
from typing import Any

import psutil
import pytest
import ray

from orchestrator.execution import ray_session
from studies.errors import StudyError

SLOW = "The current node timed out during startup. This could happen because ..."


def never_started(monkeypatch: pytest.MonkeyPatch, *errors: str) -> list[subprocess.Popen[bytes]]:
    """Have Ray's starts fail, one after the other; returns the processes that they leave."""
    left: list[subprocess.Popen[bytes]] = []
    causes = list(errors)

    def init(**options: Any) -> None:
        if causes:
            left.append(subprocess.Popen(["sleep", "60"]))
            raise Exception(causes.pop(0))

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return left


def test_a_ray_that_was_too_slow_is_started_again_without_what_it_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left = never_started(monkeypatch, SLOW, SLOW)
    with caplog.at_level(logging.WARNING), ray_session.ray_session(None):
        pass
    assert len(left) == 2 and not any(psutil.pid_exists(process.pid) for process in left)
    assert caplog.messages == ["a local Ray did not start within Ray's 30 seconds; trying again"] * 2


@pytest.mark.parametrize("errors", [[SLOW] * ray_session.START_ATTEMPTS, ["no space left on device"]])
def test_one_that_never_starts_is_one_line(monkeypatch: pytest.MonkeyPatch, errors: list[str]) -> None:
    left = never_started(monkeypatch, *errors)
    with pytest.raises(StudyError) as caught, ray_session.ray_session(None):
        pass
    assert str(caught.value) == f"a local Ray did not start: {errors[-1]}"
    assert len(left) == len(errors) and not any(psutil.pid_exists(process.pid) for process in left)
