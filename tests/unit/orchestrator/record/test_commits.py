"""The tag that commits a step and its index document: their exact text, and that they are read back."""

import logging
from dataclasses import replace

import pytest

from orchestrator.record import commits
from orchestrator.record.client.failures import RecordError, Unreachable
from orchestrator.record.commits import commit_tag, committed_steps, encode_index, encode_index_tag, encode_tag
from orchestrator.record.encoding import digest
from orchestrator.record.entry import Entry
from tests.unit.orchestrator.record.examples import ENTRY, SHA256

TAG = (
    '{"id":"9be1","digests":{"items/blimp.parquet":"' + SHA256 + '"},'
    '"metrics":{"blimp/accuracy":0.8125,"n":3.0},"tags":{"route":"tree"},"adopted_from":"run7"}'
)
INDEX = (
    '{"digests": {"items/blimp.parquet": "' + SHA256 + '"}, '
    '"metrics": {"blimp/accuracy": 0.8125, "n": 3.0}, "tags": {"route": "tree"}, "adopted_from": "run7"}'
)
INDEX_TAG = '{"id":"9be1","index":"4ddece099e10baa5177ffd74f0e5fce4ecc7b504cec29720209c641af5b12524"}'
"""All three as version 0.1.0 wrote them. They must not change: stores hold them."""


class Artifacts:
    """Stands for the store: the artifacts of one run, with their digests checked."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.is_away = False

    def put(self, run_id: str, content: bytes, path: str) -> None:
        self.contents[path] = content

    def read(self, run_id: str, path: str, sha256: str) -> bytes:
        if self.is_away:
            raise Unreachable("no answer")
        if digest(self.contents.get(path, b"")) != sha256:
            raise RecordError("missing or changed")
        return self.contents[path]


@pytest.fixture
def store() -> Artifacts:
    return Artifacts()


def long_entry() -> Entry:
    return replace(ENTRY, metrics={f"a_rather_long_name_of_a_metric/{i:04d}": i / 7 for i in range(200)})


def test_tag_and_index_are_written_as_ever() -> None:
    assert encode_tag(ENTRY) == TAG
    assert encode_index(ENTRY).decode() == INDEX
    assert encode_index_tag(ENTRY, INDEX.encode()) == INDEX_TAG


def test_what_fits_in_a_tag_needs_no_index(store: Artifacts) -> None:
    assert commit_tag(store, "run9", ENTRY) == {"step.evaluate.blimp": TAG} and store.contents == {}


def test_what_does_not_fit_goes_to_the_index(store: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "MAX_TAG", len(TAG) - 1)
    assert commit_tag(store, "run9", ENTRY) == {"step.evaluate.blimp": INDEX_TAG}
    assert store.contents == {"steps/evaluate.blimp.json": INDEX.encode()}


def test_an_earlier_tag_is_read(store: Artifacts) -> None:
    tags = {"step.evaluate.blimp": TAG, "halfwave.kind": "condition"}
    assert list(committed_steps(store, "run9", tags, "dissociation")) == [ENTRY.committed("run9")]
    store.contents["steps/evaluate.blimp.json"] = INDEX.encode()
    tags = {"step.evaluate.blimp": INDEX_TAG}
    assert list(committed_steps(store, "run9", tags, "dissociation")) == [ENTRY.committed("run9")]


@pytest.mark.parametrize("entry", [ENTRY, long_entry()], ids=["short", "long"])
def test_what_is_written_is_read_back(store: Artifacts, entry: Entry) -> None:
    tags = commit_tag(store, "run9", entry)
    assert len(tags["step.evaluate.blimp"]) <= 8000
    assert list(committed_steps(store, "run9", tags, "dissociation")) == [entry.committed("run9")]


def test_only_wanted_steps_are_read(store: Artifacts) -> None:
    tags = commit_tag(store, "run9", ENTRY) | commit_tag(store, "run9", replace(ENTRY, step_id="ff", step_name="tse"))
    assert [step.step_name for step in committed_steps(store, "run9", tags, "dissociation", {"ff"})] == ["tse"]


@pytest.mark.parametrize("value", ["", "no JSON", "[]", '{"id": "9be1"}', '{"digests": {}}', INDEX_TAG])
def test_a_damaged_step_counts_as_not_done(store: Artifacts, caplog: pytest.LogCaptureFixture, value: str) -> None:
    tags = {"step.damaged": value, "step.evaluate.blimp": TAG}
    with caplog.at_level(logging.WARNING):
        steps = list(committed_steps(store, "run9", tags, "dissociation"))
    assert [step.step_name for step in steps] == ["evaluate.blimp"]
    assert "step step.damaged of run run9 counts as not done" in caplog.text


def test_a_store_that_does_not_answer_is_no_damage(store: Artifacts) -> None:
    store.is_away = True
    with pytest.raises(Unreachable):
        list(committed_steps(store, "run9", {"step.evaluate.blimp": INDEX_TAG}, "dissociation"))


ODD = {
    "no JSON": "{",
    "nested too deeply": "[" * 100_000,
    "a list": "[]",
    "no id": "{}",
    "an id of another type": '{"id": 5}',
    "no digests": '{"id": "9be1", "metrics": {}, "tags": {}}',
    "digests of another type": '{"id": "9be1", "digests": 5, "metrics": {}, "tags": {}}',
    "metrics of another type": '{"id": "9be1", "digests": {}, "metrics": {"a": "1"}, "tags": {}}',
    "tags of another type": '{"id": "9be1", "digests": {}, "metrics": {}, "tags": []}',
    "a digest that is none": '{"id": "9be1", "digests": {"a": "b"}, "metrics": {}, "tags": {}}',
    "a path that leads elsewhere": TAG.replace("items/blimp", "../../../.ssh/authorized_keys"),
    "an absolute path": TAG.replace("items/blimp", "/etc/passwd"),
    "an index of another type": '{"id": "9be1", "index": ["a"]}',
    "an index that is none": '{"id": "9be1", "index": "../../x"}',
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_a_tag_that_somebody_else_wrote_counts_as_not_done(
    value: str, store: Artifacts, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert not list(committed_steps(store, "r1", {"step.evaluate.blimp": value}, "s"))  # type: ignore[arg-type]
    assert len(caplog.messages) == 1 and "step.evaluate.blimp of run r1 counts as not done: " in caplog.text


def test_a_step_whose_name_leads_elsewhere_counts_as_not_done(store: Artifacts) -> None:
    tags = {"step.../../x": INDEX_TAG}
    assert not list(committed_steps(store, "r1", tags, "s"))  # type: ignore[arg-type]
