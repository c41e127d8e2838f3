"""What verbs print with `--json`, against docs/schemas; with a store: `integration/record/test_json.py`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.execution.runner import Runner
from orchestrator.planning.plan import Plan
from orchestrator.review.report import review
from orchestrator.scheduling.placement import Demand
from tests import schemas
from tests.conftest import ROOT
from tests.fakes import NODE, FakePool, FakeRecord
from tests.old_stores import stores
from tests.plans import TRAINING, plan, training
from tests.unit.orchestrator.cli.test_verbs import STUDY
from tests.unit.orchestrator.planning.test_resolve import make_folder
from tests.unit.orchestrator.review.test_review import CLAIMS, DOSES, model
from tests.world import make_cluster

READERS = sorted(
    command.callback.__name__
    for command in cli.app.registered_commands
    if command.callback is not None and "as_json" in command.callback.__annotations__
)
NAMES = sorted(file.stem for file in schemas.FOLDER.glob("*.json") if file.stem != "study")
"""Of what is printed; `study` is the schema of a study file."""


def test_every_verb_with_json_has_a_schema_and_is_on_the_page() -> None:
    assert sorted([*READERS, "mistakes"]) == NAMES and "plan" in READERS
    page = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"schemas/{name}.json" not in page] == []


def properties(part: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """(place, schema) of every key that a schema describes."""
    if isinstance(part, dict):
        for name, found in (part.get("properties") or {}).items():
            yield f"{at}.{name}", found
        for key, value in part.items():
            yield from properties(value, f"{at}.{key}")
    elif isinstance(part, list):
        for one in part:
            yield from properties(one, at)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one_and_describes_each_key_in_a_phrase(name: str) -> None:
    document = schemas.schema(name)
    Draft202012Validator.check_schema(document)
    assert document["$schema"].endswith("2020-12/schema") and document["description"] and list(properties(document))
    assert [place for place, found in properties(document) if not found.get("description")] == []


def test_a_key_that_is_not_described_is_told() -> None:
    """Else the tests below could not fail."""
    assert schemas.mistakes("mistakes", {"mistakes": ["a"]}) == []
    assert schemas.mistakes("mistakes", {"mistakes": [1]}) == ["$.mistakes[0]: 1 is not of type 'string'"]
    assert len(schemas.mistakes("mistakes", {"mistakes": [], "more": 1})) == len(schemas.mistakes("mistakes", {})) == 1


def printed(*words: str) -> Any:
    """What a verb prints with --json."""
    return json.loads(CliRunner().invoke(cli.app, [*words, "--json"]).stdout)


def test_validate_says_what_its_schema_says(tmp_path: Path) -> None:
    make_folder(tmp_path / "a")
    file, work = tmp_path / "s.yaml", ("--workdir", str(tmp_path / "work"))
    file.write_text(STUDY + "claims: double_dissociation\n")
    for text, valid in ((STUDY + "claims: double_dissociation\n", True), (STUDY + "claim: x\n", False)):
        file.write_text(text)
        found = printed("validate", str(file), *work)
        assert found["valid"] is valid and schemas.mistakes("validate", found) == []


def test_the_catalog_says_what_its_schema_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ((), ("quickstart",), ("quickstart", "--copy")):
        assert schemas.mistakes("catalog", printed("catalog", *words)) == []


@pytest.mark.parametrize("verb", READERS)
def test_what_a_user_can_fix_is_json_too(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "redact_logs", lambda: None)
    words = ["compare", "absent.yaml", "other"] if verb == "compare" else [verb, "absent"]
    monkeypatch.setattr(sys, "argv", ["halfwave", *words, "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.entry()
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert ended.value.code == 2 and [f"halfwave: {line}" for line in found["mistakes"]] == shown.err.splitlines()
    assert schemas.mistakes("validate" if verb == "validate" else "mistakes", found) == []


def reviewed(study: Plan) -> dict[str, Any]:
    """The report on a study with made-up results."""
    record = FakeRecord()
    runner = Runner(study, record)
    runner.load_finished()
    cluster = make_cluster([NODE], {found.label: Demand(2.0, 0.0) for found in study.study.models})
    report = review(study, runner.run(FakePool(study), cluster, {}), record).report
    return dict(json.loads(json.dumps(report)))


PLANS = {
    "claims": lambda: plan(CLAIMS),
    "two models": lambda: plan(CLAIMS, models=(model("a"), model("b"))),
    "doses": lambda: plan(DOSES),
    "a training": lambda: training(TRAINING + "claims: training_dynamics\n"),
}


@pytest.mark.parametrize("made", PLANS.values(), ids=PLANS)
def test_a_report_says_what_its_schema_says(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`report --json` prints what is recorded."""
    monkeypatch.setattr("orchestrator.review.report.report_figures", lambda *_: {})
    assert schemas.mistakes("report", reviewed(made())) == []


def test_reports_of_earlier_versions_are_described_too() -> None:
    reports = [study["report"] for study in stores.expected()["studies"].values()]
    assert len(reports) > 2 and [schemas.mistakes("report", report) for report in reports] == [[]] * len(reports)
