"""Reviews in these tests leave their report's figures out, which take most of the time; `draws` marks those that need
them."""

import pytest


@pytest.fixture(autouse=True)
def no_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("draws") is None:
        monkeypatch.setattr("orchestrator.review.report.report_figures", lambda *_: {})
