"""Secrets planted in the environment and in study files, and everything that a study then leaves behind."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator import cli
from orchestrator.record.keys import RunKey
from orchestrator.record.mlflow_store import Store
from orchestrator.record.record import Record
from orchestrator.steps.step import State
from orchestrator.study import Study
from tests.integration.made_up import command
from tests.unit.orchestrator.planning.test_resolve import make_folder

PLANTED = {
    "HF_TOKEN": "hf_aBcDeFgHiJkLmNoPqRsT",
    "MLFLOW_TRACKING_PASSWORD": "tracking-password",
    "AWS_SECRET_ACCESS_KEY": "wJalr/XUtnFEMI+K7MDENG",
}
OF_FILE = "file-password"
SECRETS = (*PLANTED.values(), OF_FILE)
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


def assert_no_secret(what: str | bytes) -> None:
    content = what.encode() if isinstance(what, str) else what
    assert [secret for secret in SECRETS if secret.encode() in content] == []


def assert_no_secret_under(folder: Path, *, files: int) -> None:
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert len(found) >= files
    for path in found:
        assert_no_secret(str(path))
        assert_no_secret(path.read_bytes())


def write_study(folder: Path, uri: str) -> Path:
    make_folder(folder / "model")
    (folder / "study.yaml").write_text(STUDY.format(uri=uri))
    return folder / "study.yaml"


def typed(*words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, **PLANTED, "HF_HUB_OFFLINE": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    return subprocess.run([*words], capture_output=True, text=True, timeout=400, env=environment)


@pytest.mark.parametrize("landed", [True, False], ids=["in MLflow", "in the spool"])
def test_the_record_holds_no_secret(tmp_path, monkeypatch, landed):
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    uri = f"https://ada:{OF_FILE}@host"
    record = Record(f"sqlite:///{tmp_path}/mlflow.db", spool=tmp_path / "spool")
    resolved = {"study": {"tracking_uri": uri, "others": [f"a {PLANTED['HF_TOKEN']}"]}}
    environment = {"proxy": uri, "more": [PLANTED["HF_TOKEN"]]}
    record.open_study("planted", definition=STUDY.format(uri=uri), resolved=resolved, environment=environment)
    if not landed:
        monkeypatch.setattr(Store, "put", lambda *arguments: (_ for _ in ()).throw(OSError("no answer")))
        monkeypatch.setattr(Record, "_drain", lambda *arguments, **options: None)
    key = RunKey(kind="profile", model="m", name="m", identity="aa")
    told = f"it said {PLANTED['AWS_SECRET_ACCESS_KEY']} and {uri}"
    documents = {"a.json": {"error": [told]}, "a.md": told}
    record.commit(key, "id", "step", metrics={"x": 1.0}, frames={}, documents=documents, tags={"tag": told})
    record.note(told)
    assert record.close("FINISHED") == (0 if landed else 1)
    assert_no_secret_under(tmp_path, files=5)
    if landed:
        client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
        (run,) = client.search_runs(["1"], "tags.`halfwave.kind` = 'profile'")
        assert run.data.tags["tag"] == "it said *** and https://ada:***@host"
        (kept,) = tmp_path.rglob("study.yaml")
        assert kept.read_text() == STUDY.format(uri="https://ada:***@host")


@pytest.mark.parametrize("verb", ["validate", "plan", "run"])
def test_a_server_with_a_password_that_does_not_answer(tmp_path, verb):
    study = write_study(tmp_path, f"http://ada:{OF_FILE}@127.0.0.1:9")
    verbose = [*command(study, tmp_path / "work", verb)]
    verbose.insert(3, "--verbose")
    done = typed(*verbose)
    assert done.returncode == (0 if verb == "validate" else 2), done.stderr
    assert_no_secret(done.stdout + done.stderr)
    assert ("http://ada:***@127.0.0.1:9 does not answer" in done.stderr) == (verb != "validate")
    assert "Traceback" not in done.stderr
    assert_no_secret_under(tmp_path / "work", files=1)


def test_links_to_a_server_hold_neither_user_nor_password():
    store = Store(f"https://ada:{OF_FILE}@host:5000/mlflow")
    assert store.ui_command() == "https://host:5000/mlflow"
    assert store.ui_link("1").startswith("https://host:5000/mlflow/#/experiments/1/")


def test_a_failed_step_whose_error_tells_secrets(tmp_path, monkeypatch, capsys):
    told = f"HfHubHTTPError: {PLANTED['HF_TOKEN']} at https://ada:{OF_FILE}@hub/x"

    def fail(study, runner, *where) -> None:
        logging.getLogger("orchestrator").debug("%s", told)
        for step in study.plan.steps.values():
            runner._finish(step, State.FAILED, told)

    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Study, "_compute", fail)
    monkeypatch.setattr(
        sys, "argv", ["halfwave", *command(write_study(tmp_path, "sqlite:///own.db"), tmp_path / "w")[3:]]
    )
    ended = ended_by(cli.entry)
    shown = capsys.readouterr()
    assert ended == 1, shown.err
    assert "FAIL" in shown.out and "(HfHubHTTPError: *** at https://ada:***@hub/x)" in shown.out
    assert_no_secret(shown.out + shown.err)
    assert_no_secret_under(tmp_path / "w", files=6)
    (report,) = (tmp_path / "w" / "artifacts").rglob("report.json")
    assert any("***" in line for line in json.loads(report.read_text())["unfinished"])


def test_an_error_of_ours_is_shown_whole_but_for_secrets(tmp_path, monkeypatch, capsys):
    def broken(*arguments, **options):
        raise RuntimeError(f"at https://ada:{OF_FILE}@hub/x")

    monkeypatch.setattr(Study, "open", broken)
    monkeypatch.setattr(sys, "argv", ["halfwave", "validate", str(write_study(tmp_path, "sqlite:///own.db"))])
    assert ended_by(cli.entry) == 1
    shown = capsys.readouterr()
    assert "Traceback" in shown.err and "RuntimeError: at https://ada:***@hub/x" in shown.err
    assert_no_secret(shown.out + shown.err)


def ended_by(entry) -> int:
    """The exit code; the logging of this process is left as it was."""
    factory, root = logging.getLogRecordFactory(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with pytest.raises(SystemExit) as ended:
            entry()
        return ended.value.code
    finally:
        logging.setLogRecordFactory(factory)
        root.handlers[:] = handlers
        root.setLevel(level)
