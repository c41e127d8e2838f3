"""Secrets planted in the environment and in study files do not appear in anything that a study leaves behind."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator import cli
from orchestrator.execution import session
from orchestrator.execution.runner import Runner
from orchestrator.planning.plan import Plan
from orchestrator.record.keys import RunKey
from orchestrator.record.mlflow_store import Store
from orchestrator.record.pages.run_page import RunPage
from orchestrator.record.record import Record
from orchestrator.record.sender import Sender
from orchestrator.scheduling.placement import Demand
from orchestrator.study import Study
from tests.fakes import FakePool
from tests.integration.made_up import command
from tests.unit.orchestrator.planning.test_resolve import make_folder
from tests.world import make_cluster

PLANTED = {
    "HF_TOKEN": "hf_aBcDeFgHiJkLmNoPqRsT",
    "MLFLOW_TRACKING_PASSWORD": "tracking-password",
    "AWS_SECRET_ACCESS_KEY": "wJalr/XUtnFEMI+K7MDENG",
}
FILE_PASSWORD = "file-password"
SECRETS = (*PLANTED.values(), FILE_PASSWORD)
STUDY = """\
study: planted
models:
  - ./model
profile: {{corpus: embedded, tokens: 64, window: 32}}
conditions:
  top: {{select: top, fraction: 0.1, clamp: negative}}
evaluate: [embedded_knowledge]
tracking_uri: {uri}
"""


def assert_no_secret(text: str | bytes) -> None:
    content = text.encode() if isinstance(text, str) else text
    assert [secret for secret in SECRETS if secret.encode() in content] == []


def assert_no_secret_under(folder: Path, *, files: int) -> None:
    """No secret in the names and contents of the files below a folder, of which there are at least `files`."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert len(paths) >= files
    for path in paths:
        assert_no_secret(str(path))
        assert_no_secret(path.read_bytes())


def write_study(folder: Path, uri: str) -> Path:
    make_folder(folder / "model")
    (folder / "study.yaml").write_text(STUDY.format(uri=uri))
    return folder / "study.yaml"


def run_typed(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **PLANTED, "HF_HUB_OFFLINE": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    return subprocess.run([*words], capture_output=True, text=True, timeout=400, env=environment)


@pytest.mark.parametrize("sent", [True, False], ids=["in MLflow", "in the outbox"])
def test_the_record_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bool) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    uri = f"https://ada:{FILE_PASSWORD}@host"
    record = Record(f"sqlite:///{tmp_path}/mlflow.db", outbox=tmp_path / "spool")
    resolved = {"study": {"tracking_uri": uri, "others": [f"a {PLANTED['HF_TOKEN']}"]}}
    environment = {"proxy": uri, "more": [PLANTED["HF_TOKEN"]]}
    record.open_study("planted", definition=STUDY.format(uri=uri), resolved=resolved, environment=environment)
    if not sent:
        monkeypatch.setattr(Store, "put", lambda *arguments: (_ for _ in ()).throw(OSError("no answer")))
        monkeypatch.setattr(Sender, "send", lambda *arguments, **options: None)
    key = RunKey(kind="profile", model="m", name="m", identity="aa")
    text = f"it said {PLANTED['AWS_SECRET_ACCESS_KEY']} and {uri}"
    documents = {"a.json": {"error": [text]}, "a.md": text}
    record.commit(key, "id", "step", metrics={"x": 1.0}, frames={}, documents=documents, tags={"tag": text})
    record.pages.show(key, RunPage(note=text, tags={"shown": text}))
    record.pages.describe(text)
    assert record.close("FINISHED") == (0 if sent else 1)
    assert_no_secret_under(tmp_path, files=5)
    if sent:
        client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
        (run,) = client.search_runs(["1"], "tags.`halfwave.kind` = 'profile'")
        assert run.data.tags["tag"] == "it said *** and https://ada:***@host"
        (kept,) = tmp_path.rglob("study.yaml")
        assert kept.read_text() == STUDY.format(uri="https://ada:***@host")


@pytest.mark.parametrize("verb", ["validate", "plan", "run"])
def test_a_server_with_a_password_that_does_not_answer(tmp_path: Path, verb: str) -> None:
    study = write_study(tmp_path, f"http://ada:{FILE_PASSWORD}@127.0.0.1:9")
    verbose = [*command(study, tmp_path / "work", verb)]
    verbose.insert(3, "--verbose")
    done = run_typed(*verbose)
    assert done.returncode == (0 if verb == "validate" else 2), done.stderr
    assert_no_secret(done.stdout + done.stderr)
    assert ("http://ada:***@127.0.0.1:9 does not answer" in done.stderr) == (verb != "validate")
    assert "Traceback" not in done.stderr
    assert_no_secret_under(tmp_path / "work", files=1)


def test_links_to_a_server_hold_neither_user_nor_password() -> None:
    store = Store(f"https://ada:{FILE_PASSWORD}@host:5000/mlflow")
    assert store.ui_command() == "https://host:5000/mlflow"
    assert store.ui_link("1").startswith("https://host:5000/mlflow/#/experiments/1/")


def test_a_failed_step_whose_error_holds_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = f"HfHubHTTPError: {PLANTED['HF_TOKEN']} at https://ada:{FILE_PASSWORD}@hub/x"

    def fail(plan: Plan, runner: Runner, **options: Any) -> None:
        logging.getLogger("orchestrator").debug("%s", message)
        pool = FakePool(plan, nodes=())
        pool.unplaceable = message
        runner.run(pool, make_cluster([], {model.label: Demand(1.0, 0.0) for model in plan.study.models}), {})

    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(session, "compute", fail)
    monkeypatch.setattr(
        sys, "argv", ["halfwave", *command(write_study(tmp_path, "sqlite:///own.db"), tmp_path / "w")[3:]]
    )
    code = exit_code(cli.entry)
    shown = capsys.readouterr()
    assert code == 1, shown.err
    assert "FAIL" in shown.out and "(HfHubHTTPError: *** at https://ada:***@hub/x)" in shown.out
    assert_no_secret(shown.out + shown.err)
    assert_no_secret_under(tmp_path / "w", files=6)
    (report,) = (tmp_path / "w" / "artifacts").rglob("report.json")
    assert any("***" in line for line in json.loads(report.read_text())["unfinished"])


def test_an_error_of_ours_is_shown_in_full_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise RuntimeError(f"at https://ada:{FILE_PASSWORD}@hub/x")

    monkeypatch.setattr(Study, "open", broken)
    monkeypatch.setattr(sys, "argv", ["halfwave", "validate", str(write_study(tmp_path, "sqlite:///own.db"))])
    assert exit_code(cli.entry) == 1
    shown = capsys.readouterr()
    assert "Traceback" in shown.err and "RuntimeError: at https://ada:***@hub/x" in shown.err
    assert_no_secret(shown.out + shown.err)


def exit_code(entry: Callable[[], None]) -> int:
    """The exit code of an entry point; the logging of this process is left as it was."""
    factory, root = logging.getLogRecordFactory(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with pytest.raises(SystemExit) as exit_info:
            entry()
        return int(exit_info.value.code or 0)
    finally:
        logging.setLogRecordFactory(factory)
        root.handlers[:] = handlers
        root.setLevel(level)
