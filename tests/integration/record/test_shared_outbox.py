"""An outbox that holds what cannot be read, or that several drivers share, loses nothing and stops nobody."""

import pytest
from mlflow import MlflowClient

from tests.integration.record.recorded import StoreFolder, commit, condition, known, profile


def unreachable(*_: object, **__: object) -> None:
    raise OSError("gone")


def cut_off(patch: pytest.MonkeyPatch) -> None:
    for write in ("create_run", "log_batch"):
        patch.setattr(MlflowClient, write, unreachable)


def test_a_step_whose_manifest_is_cut_short_is_computed_again(
    store: StoreFolder, study: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record = store.record(study)
    with monkeypatch.context() as patch:
        cut_off(patch)
        commit(record, condition(), "cut")
        commit(record, profile(), "whole", "profile")
    outbox = store.outbox(study)
    folder = outbox.folder / next(entry for entry in outbox.entries() if entry.step_id.endswith("cut")).folder_name
    manifest = folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:100])
    (outbox.folder / "my data").mkdir()

    again = store.record(study)
    assert set(known(again, study, "cut", "whole")) == {"whole"}
    commit(again, condition(), "cut")
    assert set(known(again, study, "cut", "whole")) == {"cut", "whole"} and again.close("FINISHED") == 0
    (data, aside) = sorted(outbox.folder.iterdir())
    assert aside.name.startswith(f"{folder.name}.set-aside-") and data.name == "my data"
    lines = [line for line in caplog.messages if line.startswith(str(folder))]
    assert len(lines) == 2 and lines[0].startswith(f"{manifest} cannot be read (")
    assert lines[1] == f"{folder} holds what Halfwave did not write, or cannot read: renamed to {aside.name}"


def test_two_studies_share_an_outbox(store: StoreFolder, study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (store.record(f"{study}-{name}", outbox=study) for name in ("one", "two"))
    with monkeypatch.context() as patch:
        cut_off(patch)
        commit(first, condition(), "a")
        commit(second, condition(), "a")
    third = store.record(f"{study}-three", outbox=study)  # sweeps, and sends nothing of theirs
    assert len(store.outbox(study).entries()) == 2
    assert [record.close("FINISHED") for record in (third, second, first)] == [0, 0, 0]
    assert list(store.outbox(study).folder.iterdir()) == []
    assert all(
        run.info.status == "FINISHED" for name in ("one", "two") for run in store.runs(f"{study}-{name}", "condition")
    )
