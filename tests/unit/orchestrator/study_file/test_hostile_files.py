"""Study files that try to write elsewhere are refused, or write in the working folder alone."""

import shlex
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator.record.encoding import encode
from orchestrator.record.entry import Entry
from orchestrator.record.keys import RunKey
from orchestrator.record.limits import check_key
from orchestrator.record.outbox import Outbox
from orchestrator.study import Study
from orchestrator.study_file.evaluations import Evaluation
from orchestrator.study_file.load import parse_spec
from studies.errors import StudyError
from tests.unit.orchestrator.planning.test_resolve import make_folder

STUDY = """\
study: s
models:
  - ./a
profile: {corpus: embedded}
conditions:
  top: {select: top, fraction: 0.1, clamp: negative}
evaluate: [embedded_knowledge]
"""
HOSTILE = st.one_of(
    st.lists(
        st.sampled_from(["..", ".", "/", "\\", "a", "~", "\0", "\u2028", "\u202e", "é", " ", "%2e%2e", "@", ":"])
    ).map("".join),
    st.text(string.printable, max_size=300),
    st.text(max_size=120),
)
NAMED = {
    "study": lambda name: {"study": name},
    "label of a model": lambda name: {"models": [{"path": "./a", "label": name}]},
    "label of a series": lambda name: {"checkpoints": [{"of": "./a", "label": name, "revisions": ["step1", "step2"]}]},
    "revision": lambda name: {"models": [{"name": "org/m", "revision": name}]},
    "checkpoint": lambda name: {"checkpoints": [{"of": "./a", "revisions": [{name: 1}, {"b": 2}]}]},
    "condition": lambda name: {"conditions": {name: {"select": "top", "fraction": 0.1, "clamp": "negative"}}},
    "lm_eval": lambda name: {"evaluate": [{"lm_eval": {"tasks": ["x"], "name": name}}]},
    "surprisal": lambda name: {"evaluate": [{"surprisal": {"name": name}}]},
    "pairs": lambda name: {"evaluate": [{"pairs": name}]},
}
"""{what is named: a block with that name}; each name becomes part of the names of runs, artifacts or files."""


@pytest.mark.parametrize("block", NAMED.values(), ids=NAMED)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=HOSTILE)
@example(name="../../x")
@example(name="/etc/x")
@example(name="a/../../../x")
@example(name="x\0y")
@example(name="x\u2028y")
@example(name="x" * 5000)
def test_a_hostile_name_is_refused_or_stays_in_the_working_folder(
    tmp_path: Path, block: Callable[[str], dict[str, Any]], name: str
) -> None:
    data = {**yaml.safe_load(STUDY), **block(name)}
    try:
        spec, _ = parse_spec(yaml.safe_dump(data, allow_unicode=True), "s.yaml")
    except StudyError as error:
        lines = str(error).split("\n")
        assert str(error).splitlines() == lines and all(line.isprintable() for line in lines)
        return
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    for model in spec.all_models:
        for condition in spec.conditions:
            for entry in spec.evaluate:
                write(work, spec.study, model.display, condition, entry)
    assert {path.name for path in tmp_path.iterdir()} == {"work"}


def write(work: Path, study: str, model: str, condition: str, entry: Evaluation) -> None:
    """Write what a run writes under these names: an entry of the outbox, with an artifact."""
    key = check_key(RunKey(kind="condition", model=model, name=f"{condition} · {model}", condition=condition))
    payload = encode(frames={}, documents={f"receipts/evaluate.{entry.name}.json": {}}, files={})
    fields = {"metrics": {}, "series": {}, "tags": {}, "digests": {}, "written_ns": 0}
    made = Entry(study=study, key=key, step_id="0" * 20, step_name=f"evaluate.{entry.name}", **fields)
    outbox = Outbox(work / "spool")
    outbox.folder.mkdir(exist_ok=True)
    outbox.write(made, payload)
    for path in payload:
        assert outbox.file(made, path).resolve().is_relative_to(work.resolve())
    outbox.remove(made)


# -- the store -------------------------------------------------------------------------------------------------------


def opened(tmp_path: Path, uri: str, **options: Any) -> Study:
    if not (tmp_path / "a").exists():
        make_folder(tmp_path / "a")
    (tmp_path / "s.yaml").write_text(f"{STUDY}tracking_uri: {uri!r}\n")
    return Study.open(tmp_path / "s.yaml", workdir=tmp_path / "work", **options)


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:////tmp/elsewhere.db",
        "sqlite:///../elsewhere.db",
        "sqlite:///a/../../elsewhere.db",
        "sqlite:///%2e%2e/elsewhere.db",
        "sqlite:///file:/tmp/elsewhere.db?uri=true",
        "sqlite+pysqlite:////tmp/elsewhere.db",
        "SQLite:///x.db",
        "sqlite://",
        "file:///tmp/elsewhere",
        "./mlruns",
        "/tmp/elsewhere",
    ],
)
def test_a_store_outside_the_working_folder_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(StudyError, match="tracking_uri") as caught:
        opened(tmp_path, uri)
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "s.yaml", "work"}
    assert opened(tmp_path, uri, tracking_uri="sqlite:////tmp/mine.db").tracking_uri == "sqlite:////tmp/mine.db"


def test_a_store_in_the_working_folder_or_on_a_server_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that would be sent a credential is in `integration/record/test_foreign_server.py`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert opened(tmp_path, "sqlite:///own.db").tracking_uri == f"sqlite:///{tmp_path}/work/own.db"
    for uri in ("https://ada:pw@host", "http://127.0.0.1:5000"):
        assert opened(tmp_path, uri).tracking_uri == uri


@pytest.mark.parametrize(
    "uri",
    [
        "http://",
        "http:///path",
        "http:host",
        "http://[",
        "http://host:port",
        "http://host:99999",
        "http://host#x",
        "http://host?x",
        "http://host\\@evil",
        "https://ho st",
    ],
)
@pytest.mark.parametrize("has_netrc", [False, True])
def test_what_is_no_address_is_one_line(
    tmp_path: Path, uri: str, has_netrc: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if has_netrc:
        (tmp_path / ".netrc").write_text("machine host login ada password secret-word\n")
    with pytest.raises(StudyError, match="is not the address of a server; write http://HOST:PORT, or https://HOST"):
        opened(tmp_path, uri)


@pytest.mark.parametrize(
    "uri",
    [
        "databricks",
        "databricks://profile",
        "postgresql://db/m",
        "postgresql+psycopg2://ada:secret-word@db/m",
        "mysql+pymysql://db/m?read_default_file=/home/ada/.my.cnf",
        "mssql+pyodbc://db/m",
    ],
)
def test_a_store_that_is_opened_with_accounts_of_this_machine_is_named_by_its_user(tmp_path: Path, uri: str) -> None:
    with pytest.raises(StudyError) as caught:
        opened(tmp_path, uri)
    shown = uri.replace("secret-word", "***")
    line = STUDY.count("\n") + 1
    assert str(caught.value) == (
        f"{tmp_path}/s.yaml:{line}: tracking_uri: '{shown}' would be opened with the accounts of this machine "
        "(profiles, files of passwords, options of the driver); if you trust it with them, name it yourself: "
        f"--tracking-uri {shlex.quote(shown)}"
    )
    assert opened(tmp_path, uri, tracking_uri=uri).tracking_uri == uri
