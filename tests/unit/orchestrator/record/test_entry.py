"""The manifest of an entry: its exact bytes, and that one written earlier is read."""

import json
from dataclasses import replace

import pytest

from orchestrator.record.entry import Entry, check_entry, decode_manifest, encode_manifest
from orchestrator.record.keys import Committed, RunKey
from tests.unit.orchestrator.record.examples import ENTRY, KEY, SHA256

MANIFEST = (
    '{"study": "dissociation", "key": {"kind": "condition", "model": "tiny", "name": "wasserstein · tiny", '
    '"condition": "wasserstein", "identity": "aa11", "params": {"model": "tiny", "fraction": "0.01"}, '
    '"tags": {"model.note": "é"}}, "step_id": "9be1", "step_name": "evaluate.blimp", '
    '"metrics": {"blimp/accuracy": 0.8125, "n": 3.0}, "series": {"cost": [[4, 0.5], [30, 0.25]]}, '
    '"tags": {"route": "tree"}, '
    '"digests": {"items/blimp.parquet": "abababababababababababababababababababababababababababababababab"}, '
    '"written_ns": 1700000000123456789, "adopted_from": "run7"}'
)
"""As version 0.1.0 wrote it. It must not change: outboxes on disk hold it."""


def test_the_manifest_is_written_as_ever() -> None:
    assert encode_manifest(ENTRY).decode() == MANIFEST


def test_an_earlier_manifest_is_read() -> None:
    assert decode_manifest(MANIFEST.encode()) == ENTRY


def test_a_key_of_a_later_version_is_ignored() -> None:
    manifest = json.loads(MANIFEST) | {"added_later": 1}
    assert decode_manifest(json.dumps(manifest).encode()) == ENTRY


def test_the_folder_is_named_by_step_and_run() -> None:
    assert ENTRY.folder_name == "9be1.7a848a7535e6"
    other = replace(ENTRY, key=replace(KEY, condition="random"))
    assert other.folder_name.startswith("9be1.") and other.folder_name != ENTRY.folder_name
    assert replace(ENTRY, metrics={}, written_ns=0).folder_name == ENTRY.folder_name


def test_an_entry_is_a_committed_step() -> None:
    assert ENTRY.committed("run9") == Committed(
        step_id="9be1",
        step_name="evaluate.blimp",
        experiment="dissociation",
        run_id="run9",
        artifacts={"items/blimp.parquet": SHA256},
        metrics={"blimp/accuracy": 0.8125, "n": 3.0},
        tags={"route": "tree"},
    )
    assert ENTRY.committed().run_id == ""


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (replace(ENTRY, step_name="a@b"), "step 'step.a@b'"),
        (replace(ENTRY, metrics={"x": float("nan")}), "only finite numbers"),
        (replace(ENTRY, metrics={"fraction": 1.0}), "name is that of a param"),
        (replace(ENTRY, series={"fraction": [(1, 1.0)]}), "name is that of a param"),
        (replace(ENTRY, tags={"halfwave.kind": "x"}), "the record sets itself"),
        (replace(ENTRY, key=replace(KEY, kind="other")), "run kind 'other': allowed are profile, condition"),
        (replace(ENTRY, key=replace(KEY, name="")), "1 to 250 characters"),
        (replace(ENTRY, key=RunKey(kind="study", name="x", identity="aa")), "no model, condition or identity"),
    ],
)
def test_an_entry_that_mlflow_would_refuse_or_alter_is_refused(entry: Entry, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_entry(entry)


def test_a_good_entry_passes_unchanged() -> None:
    assert check_entry(ENTRY) == ENTRY
