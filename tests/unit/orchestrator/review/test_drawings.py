"""The figures of a review: which there are, and that one which cannot be drawn costs no other."""

import json
from typing import Any

import pytest

from orchestrator.record.keys import Committed
from orchestrator.review import drawings
from orchestrator.review.report import review
from tests.fakes import FakeRecord
from tests.plans import plan
from tests.unit.orchestrator.review.test_review import CLAIMS, run

pytestmark = pytest.mark.draws


class Kept(FakeRecord):
    """A record that keeps files."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, dict[str, bytes]] = {}
        """{step: {artifact path: content}}."""

    def commit(self, *args: Any, **recorded: Any) -> Committed:
        committed = super().commit(*args, **recorded)
        self.files.setdefault(committed.step_name, {}).update(recorded.get("files", {}))
        return committed


def names(files: dict[str, bytes], ending: str) -> set[str]:
    found = (path.removeprefix("figures/") for path in files if path.endswith(ending))
    return {path.removesuffix(ending) for path in found}


def test_a_report_has_its_figures_as_svg_and_png_with_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise ValueError("not drawn")

    monkeypatch.setattr(drawings, "wasserstein_by_layer", lambda *_, **__: fails())
    text = CLAIMS.replace(
        "  random:", "  deep: {select: top, fraction: 0.1, clamp: negative, layers: {groups: 2}}\n  random:"
    )
    text = text.replace("  random:", "  dose: {select: top, fraction: [0.1, 0.2], clamp: negative}\n  random:")
    study, record = plan(text), Kept()
    report = review(study, run(study, record), record).report
    assert report["unfinished"] == ["figure a-wasserstein-distance: failed (ValueError: not drawn)"]
    files = record.files["report"]
    captions = json.loads(files["figures/captions.json"])
    assert names(files, ".svg") == names(files, ".png") == set(captions)
    assert {"a-conditions", "a-matched-curve", "a-scores"} <= set(captions)
    assert all(words["title"] and words["caption"] for words in captions.values())
    assert {"depth", "dose-response"} <= names(record.files["layers"], ".svg") | names(record.files["doses"], ".svg")
    for step in ("layers", "doses"):
        assert set(json.loads(record.files[step]["figures/captions.json"])) == names(record.files[step], ".png")
