"""The page of a recorded study: from the store alone, once for each report, wherever the store is."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import halfwave
from orchestrator.cli import app
from orchestrator.page.content import page_content
from orchestrator.page.files import page_folder
from orchestrator.page.recorded import publish_page
from orchestrator.record.client.failures import DamagedArtifact, RecordError
from orchestrator.record.keys import RunKey
from orchestrator.record.record import Record
from studies.errors import StudyError
from studies.reporting.page.content import Cell
from tests.integration.record.recorded import StoreFolder, commit, condition
from tests.unit.studies.reporting.page import examples

RECEIPT = {
    "num_neurons": 450,
    "receipt": {"layers_matched": 30, "clipped_fraction": 0.25},
    "route": "tree",
    "engine": {"device": "cpu", "dtype": "float32", "versions": {"vllm": "0.32.0"}, "probe_difference": 1.5e-5,
               "probe_tolerance": 0.01},
}  # fmt: skip
SEARCH = {"fraction": 0.085, "reason": "", "evidence": {"treated": 48.166, "accepted": 47.822}}


def tokens(shift: float) -> pd.DataFrame:
    table = next(iter(examples.passages().tokens.values()))[["document", "start", "end"]]
    return table.assign(surprisal=[2.0 + shift * i for i in range(len(table))])


def report(study: str) -> dict[str, Any]:
    part = examples.model("tiny")
    surprisal = {**examples.benchmark("blimp"), "name": "ewt", "label": "UD-EWT", "higher_is_better": False}
    part["benchmarks"].append({**surprisal, "measure": {"name": "surprisal", "digits": 3, "logarithmic": False}})
    for row in part["rows"][1:]:
        row["deltas"] |= {"ewt": {"estimate": 0.1, "low": None, "high": None, "num_items": 9, "basis": "1 document"}}
    return {**examples.report(part), "study": study}


def recorded(store: StoreFolder, study: str) -> Record:
    """An open record of a study with everything that a page shows."""
    record = store.record(study)
    flipped = examples.flips()
    table = {"columns": list(flipped.columns), "data": flipped.to_numpy().tolist()}
    shifts = {"baseline": 0.0, "wasserstein": 0.1, "matched": 0.0, "random/seed=0": 0.01}
    for number, (name, shift) in enumerate(shifts.items()):
        key = condition(name)
        commit(record, key, f"e{number}", documents={"receipts/evaluate.blimp.json": RECEIPT})
        commit(record, key, f"s{number}", "evaluate.ewt", frames={"items/ewt.parquet": tokens(shift)}, metrics={})
    commit(record, condition("matched"), "m", "match", frames={}, metrics={}, documents={"match.json": SEARCH})
    commit(record, condition("wasserstein"), "f", "flips.blimp", frames={}, metrics={},
           documents={"flipped/blimp.json": table})  # fmt: skip
    text = pd.DataFrame({"document": [0], "text": [examples.passages().texts[0]]})
    parent = RunKey(kind="study", name=study)
    commit(record, parent, "t", "texts.ewt", frames={"texts/ewt.parquet": text}, metrics={})
    review(record, study, "r")
    return record


def review(record: Record, study: str, step_id: str) -> None:
    frames = {"comparisons.parquet": examples.comparisons("tiny")}
    figures = {"figures/double-dissociation.svg": b"<svg/>", "figures/double-dissociation.png": b"png"}
    captions = {"double-dissociation": {"title": "Dissociation", "caption": "An arrow a model."}}
    documents = {"report.json": report(study), "figures/captions.json": captions}
    commit(record, RunKey(kind="study", name=study), step_id, "report", metrics={}, frames=frames, documents=documents,
           files=figures)  # fmt: skip


def test_it_shows_what_is_recorded(store: StoreFolder, study: str, tmp_path: Path) -> None:
    record = recorded(store, study)
    made = publish_page(record, study, tmp_path).read_text()
    record.close("FINISHED")
    content = page_content(halfwave.load(store.uri, study))
    assert {cell: len(flipped) for cell, flipped in content.flips.items()} == {Cell("tiny", "wasserstein", "blimp"): 3}
    (passage,) = content.passages
    assert list(passage.tokens) == ["wasserstein", "matched", "random/seed=0"] and passage.benchmark == "UD-EWT"
    treated = passage.tokens["wasserstein"]
    assert (treated["after"] - treated["before"]).round(9).tolist() == [round(0.1 * i, 9) for i in range(len(treated))]
    assert set(content.run_links) == {
        ("tiny", name) for name in ("baseline", "wasserstein", "matched", "random/seed=0")
    }
    assert {proof.condition for proof in content.proofs} == {"baseline", "wasserstein", "matched", "random/seed=0"}
    assert content.proofs[0].engine == "cpu, float32, vllm 0.32.0" and content.proofs[0].difference == 1.5e-5
    assert [match[1:5] for match in content.matches] == [("matched", 0.085, 48.166, 47.822)]
    assert content.definition == f"study: {study}\n" and content.environment["git_commit"] == "4f2a91c"
    assert [link.name for link in content.links] == ["All runs", "Tables and figures"]
    assert "An arrow a model." in made and "+11.2 % [+9.7, +12.7]" in made and "UD-EWT" in made
    assert "data:image/svg+xml;base64,PHN2Zy8+" in made and "47.822 for 48.166 (−0.71 %)" in made


def test_it_is_made_once_for_each_report_and_again_where_it_is_damaged(
    store: StoreFolder, study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = recorded(store, study)
    first = publish_page(record, study, tmp_path)
    html = first.read_text()
    (parent,) = store.runs(study, "study")
    assert store.artifact(parent, "report.html").read_text() == html
    beside = sorted(path.name for path in store.artifact(parent, "pages").iterdir())
    assert beside == sorted(path.name for path in (tmp_path / "pages").iterdir()) and len(beside) == 1
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.page.recorded.page", None)  # it would fail
        assert publish_page(record, study, tmp_path / "elsewhere").read_text() == html
        patch.setattr("orchestrator.page.recorded._read", None)
        assert publish_page(record, study, tmp_path) == first, "what is on disk is not read back"
        first.write_text("cut")
        with pytest.raises(TypeError):
            publish_page(record, study, tmp_path)
    store.artifact(parent, "report.html").write_text("cut")
    assert publish_page(record, study, tmp_path).read_text() == html
    assert store.artifact(parent, "report.html").read_text() == html
    before = record.latest(study)["", "", "page"].step_id
    review(record, study, "another")
    assert publish_page(record, study, tmp_path).read_text() == html
    assert record.latest(study)["", "", "page"].step_id != before
    record.close("FINISHED")


def test_a_copied_store_gives_the_same_page_without_anything_else(
    store: StoreFolder, study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = recorded(store, study)
    first = publish_page(record, study, tmp_path / "first").read_text()
    record.close("FINISHED")
    copy = tmp_path / "elsewhere" / ".halfwave"
    shutil.copytree(store.folder, copy)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        app(["report", "--workdir", str(copy), "--study", study])
    assert end.value.code == 0
    written = page_folder(copy, study) / "report.html"
    uri = f"sqlite:///{copy}/mlflow.db"
    assert written.read_text() == first.replace(store.uri, uri)
    assert len(list((written.parent / "pages").iterdir())) == 1


def test_a_study_without_a_report_has_no_page_and_a_damaged_part_is_named(
    store: StoreFolder, study: str, tmp_path: Path
) -> None:
    record = store.record(study)
    with pytest.raises(RecordError, match="has no report yet"):
        publish_page(record, study, tmp_path)
    record.close("FINISHED")
    record = recorded(store, study)
    (run,) = (run for run in store.runs(study, "condition") if run.data.tags["halfwave.condition"] == "wasserstein")
    store.artifact(run, "flipped/blimp.json").write_text("{}")
    with pytest.raises(DamagedArtifact, match=r"artifact flipped/blimp\.json"):
        publish_page(record, study, tmp_path)
    record.close("FINISHED")


def test_a_page_that_cannot_be_written_is_one_line(store: StoreFolder, study: str, tmp_path: Path) -> None:
    record = recorded(store, study)
    (tmp_path / "reports").write_text("a file")
    with pytest.raises(StudyError, match=r"^the page cannot be written to .*: Not a directory$"):
        publish_page(record, study, page_folder(tmp_path, study))
    record.close("FINISHED")
    assert page_folder(tmp_path, "../a b/c") == tmp_path / "reports" / "_a_b_c"
