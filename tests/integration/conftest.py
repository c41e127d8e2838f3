"""Fixtures shared by the integration tests."""

import time

import pytest

from tests.integration.made_up import hosts


@pytest.fixture
def no_process_outlives_its_driver():
    """Around a test: whatever ended a study, its actors and engine workers are gone."""
    before = hosts()
    yield before
    deadline = time.monotonic() + 60
    while (left := hosts() - before) and time.monotonic() < deadline:
        time.sleep(1)
    assert not left, f"processes {left} outlived their driver"
