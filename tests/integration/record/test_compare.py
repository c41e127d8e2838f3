"""`compare` from the record alone: two studies, two models, and a study before and after its definition changed."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from orchestrator.record.keys import RunKey
from orchestrator.record.local_store import sqlite_uri
from orchestrator.record.record import Record
from orchestrator.steps.identity import identify
from tests import schemas
from tests.integration.made_up import Command

DEFINITION = """\
study: {name}
models: [a, b]
conditions:
  top: {{select: top, fraction: 0.1, clamp: negative}}
evaluate: [embedded_knowledge, perplexity]
"""
KEY = "tree {packs} float32 cpu torch-{torch} vllm-0.32.0"
CORRECT, LATER = [1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]
REPORT = {"study": "", "series": [], "unfinished": []}


class Writer:
    """Writes studies into one store, an invocation at a time."""

    def __init__(self, workdir: Path) -> None:
        self.uri = sqlite_uri(workdir / "mlflow.db")
        self._outbox = workdir / "spool"
        self._study = ""

    def open(self, study: str) -> None:
        self._record, self._study = Record(self.uri, outbox=self._outbox), study
        definition = DEFINITION.format(name=study)
        self._record.open_study(study, definition=definition, resolved={}, environment={})

    def close(self, **statuses: str) -> None:
        """End the invocation; statuses: {claim: its verdict of model a}."""
        verdicts = [
            {"claim": claim, "status": status, "effect": None, "model": "a"} for claim, status in statuses.items()
        ]
        part = {"label": "a", "benchmarks": [], "rows": [], "doubling": [], "excess": [], "verdicts": verdicts}
        report = {**REPORT, "models": [part]}
        key = RunKey(kind="study", name=self._study)
        documents = {"report.json": report}
        step_id = identify({"study": self._study, **statuses})
        self._record.commit(key, step_id, "report", metrics={}, frames={}, documents=documents)
        self._record.close("FINISHED")

    def knowledge(self, model: str, condition: str, correct: list[float], **more: Any) -> None:
        table = pd.DataFrame({"id": range(len(correct)), "correct": correct})
        self._evaluate(model, condition, "embedded_knowledge", table, **more)

    def perplexity(self, model: str, condition: str, nll: list[float], **more: Any) -> None:
        table = pd.DataFrame({"window": range(len(nll)), "num_tokens": 64, "nll": nll})
        self._evaluate(model, condition, "perplexity", table, **more)

    def _evaluate(
        self,
        model: str,
        condition: str,
        benchmark: str,
        table: pd.DataFrame,
        *,
        identity: str = "first",
        packs: str = "0123",
        torch: str = "2.13.0",
        params: Mapping[str, Any] = {},
    ) -> None:
        name = f"evaluate.{benchmark}"
        key = RunKey(kind="condition", model=model, condition=condition, identity=identity, name=f"{model} {condition}")
        of_clamp = {"clamp": identity, "benchmark": benchmark, "digest": "of the texts", **params}
        self._record.commit(
            key,
            identify({"study": self._study, "place": [model, condition, benchmark], **of_clamp}),
            name,
            metrics={f"{benchmark}/mean": float(table.iloc[:, -1].mean())},
            frames={f"items/{benchmark}.parquet": table},
            documents={f"identity/{name}.json": {"version": 3, "model": f"digest of {model}", "params": of_clamp}},
            tags={f"comparability.{name}": KEY.format(packs=packs, torch=torch)},
        )


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    folder = tmp_path_factory.mktemp("compared") / ".halfwave"
    folder.mkdir()
    shutil.copy(empty_database, folder)
    writer = Writer(folder)
    writer.open("one")
    writer.knowledge("a", "baseline", CORRECT)
    writer.knowledge("a", "top", CORRECT)
    writer.perplexity("a", "baseline", [2.0, 3.0])
    writer.knowledge("b", "baseline", LATER[:3], packs="4567")
    writer.perplexity("b", "baseline", [2.0, 3.0], packs="4567")
    writer.close(syntax="undecided", kept="supported")
    writer.open("one")  # another definition of `top`, and the perplexity computed again
    writer.knowledge("a", "top", LATER, identity="second")
    writer.perplexity("a", "baseline", [2.0, 3.5])
    writer.close(syntax="supported", kept="supported")
    writer.open("two")
    writer.knowledge("a", "baseline", LATER)
    writer.knowledge("a", "top", LATER, torch="2.14.0")
    writer.knowledge("a", "bottom", LATER)
    writer.perplexity("a", "baseline", [2.0, 3.0], params={"digest": "of other texts"})
    writer.close(syntax="absent")
    writer.open("three")
    writer.knowledge("c", "baseline", LATER)
    writer.close()
    return folder


def compared(in_process: Command, workdir: Path, a: str, *words: str) -> dict[str, Any]:
    answer = in_process("compare", a, *words, "--workdir", str(workdir), "--json")
    assert answer.code == 0, answer.err
    found: dict[str, Any] = json.loads(answer.out)
    assert schemas.mistakes("compare", found) == []
    return found


def rows(model: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(row["condition"], row["benchmark"]): row for row in model["rows"]}


def reasons(model: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    return {(entry["condition"], entry["benchmark"]): entry["reason"] for entry in model["not_compared"]}


def test_two_studies_are_compared_where_they_were_computed_alike(workdir: Path, in_process: Command) -> None:
    found = compared(in_process, workdir, "one", "two")
    (model,) = found["models"]
    assert (model["a"], model["b"]) == ("a", "a"), "the model in common"
    row = rows(model)["baseline", "embedded_knowledge"]
    assert (row["num_items"], row["a"]["estimate"], row["b"]["estimate"]) == (4, 0.75, 0.25)
    assert row["difference"]["estimate"] == -0.5 and row["difference"]["low"] < -0.5 < row["difference"]["high"]
    assert rows(model).keys() == {("baseline", "embedded_knowledge")}
    assert reasons(model) == {
        ("top", "embedded_knowledge"): "one with torch 2.13.0, two with torch 2.14.0",
        ("baseline", "perplexity"): 'not the same measurement: digest: "of the texts" -> "of other texts"',
    }
    assert model["only_b"] == [{"condition": "bottom", "benchmark": "embedded_knowledge"}] and model["only_a"] == []
    (verdict,) = model["verdicts"]
    assert (verdict["claim"], verdict["a"]["status"], verdict["b"]["status"]) == ("syntax", "supported", "absent")


def test_two_models_are_compared_on_texts_but_not_on_each_others_tokens(workdir: Path, in_process: Command) -> None:
    found = compared(in_process, workdir, "one", "--models", "a", "b")
    (model,) = found["models"]
    row = rows(model)["baseline", "embedded_knowledge"]
    assert (row["num_items"], row["num_items_a"], row["num_items_b"]) == (3, 4, 3), "of an item that b cannot score"
    assert row["a"]["estimate"] == pytest.approx(2 / 3) and row["difference"]["estimate"] == pytest.approx(-1 / 3)
    assert reasons(model) == {("baseline", "perplexity"): "one@a with pack plan 0123, one@b with pack plan 4567"}
    assert compared(in_process, workdir, "one@a", "one@b")["models"] == found["models"]


def test_a_study_is_compared_with_what_an_earlier_invocation_left(workdir: Path, in_process: Command) -> None:
    found = compared(in_process, workdir, "one#1", "one")
    assert found["a"]["invocation"] == 1 and found["b"]["invocation"] is None
    model = found["models"][0]
    changed, same = rows(model)["top", "embedded_knowledge"], rows(model)["baseline", "embedded_knowledge"]
    assert (changed["a"]["estimate"], changed["b"]["estimate"], changed["same_result"]) == (0.75, 0.25, False)
    assert same["same_result"] and same["difference"]["estimate"] == 0
    assert reasons(model) == {("baseline", "perplexity"): "one#1: it was computed again after invocation 1"}
    assert model["verdicts"] == [], "those of an earlier report were replaced"
    last = compared(in_process, workdir, "one#2", "two")["models"][0]
    assert rows(last) == rows(compared(in_process, workdir, "one", "two")["models"][0])


def test_stores_of_their_own(
    workdir: Path, in_process: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = Path(shutil.copytree(workdir, tmp_path / "copied"))
    uris = ("--tracking-uri", sqlite_uri(workdir / "mlflow.db"), "--tracking-uri", sqlite_uri(copied / "mlflow.db"))
    found = json.loads(in_process("compare", "one", "one", *uris, "--json").out)
    assert found["a"]["store"] != found["b"]["store"]
    assert all(row["same_result"] for model in found["models"] for row in model["rows"])
    file = tmp_path / "two.yaml"
    file.write_text(DEFINITION.format(name="two"))
    odd = Path(shutil.copytree(workdir, tmp_path / "of two words"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri(odd / "mlflow.db"))
    assert json.loads(in_process("compare", "one", "two", "--json").out)["a"]["store"].endswith("two words/mlflow.db")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    copied.rename(tmp_path / ".halfwave")
    found = json.loads(in_process("compare", "one", str(file), *uris[:2], "--json").out)
    assert found["b"]["study"] == "two", "the tracking URI wins"
    by_file = json.loads(in_process("compare", str(file), f"{file}@a#1", "--json").out)
    assert by_file["a"]["store"].startswith(f"sqlite:///{tmp_path}/.halfwave")


def test_what_cannot_be_compared_is_one_line(workdir: Path, in_process: Command) -> None:
    def refused(*words: str) -> str:
        answer = in_process("compare", *words, "--workdir", str(workdir), "--json")
        assert answer.code == 2 and answer.err.count("\n") == 1
        assert json.loads(answer.out)["mistakes"] == [answer.err.removeprefix("halfwave: ").rstrip("\n")]
        return answer.err

    assert "one and one are the same" in refused("one", "one")
    assert "one has no model 'c'; allowed: a, b" in refused("one@c", "two")
    assert "no model in common: one has a, b and three has c; name one of each: STUDY@MODEL" in refused("one", "three")
    assert compared(in_process, workdir, "one@b", "three")["models"][0]["rows"], "there is only one of each"
    assert "has no study 'ona'; did you mean 'one'?" in refused("ona", "two")
    assert "one has no invocation 3; recorded: 1 (20" in refused("one#3", "two")
    assert "compare needs A and B" in refused("one")
    assert "compare needs A and B" in refused("one", "two", "--models", "a", "b")
    assert "absent.yaml: the study file cannot be read" in refused("one", "absent.yaml")


def test_it_is_printed(workdir: Path, in_process: Command) -> None:
    answer = in_process("compare", "one#1", "one", "--workdir", str(workdir))
    assert answer.code == 0 and answer.out.startswith("A = one#1\nB = one\n")
    assert "not compared: baseline on perplexity: one#1: it was computed again after invocation 1" in answer.out
