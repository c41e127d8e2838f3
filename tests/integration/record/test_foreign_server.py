"""A tracking server that a study file names, or one that names places for artifacts: it gets no credential of the
user's, and this machine's files and keys are not used for it, unless the command line says so."""

import base64
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import halfwave
from orchestrator.record.client.credentials import VARIABLES, credential_for
from orchestrator.record.client.failures import RecordError
from orchestrator.record.mlflow_store import Store
from orchestrator.study import Study
from studies.errors import StudyError
from tests.integration.made_up import Command
from tests.integration.made_up_actors import compute
from tests.integration.record.test_second_file import STUDY
from tests.mlflow_proxy import Call, Proxy, Reply, reply
from tests.mlflow_server import running
from tests.unit.orchestrator.planning.test_resolve import make_folder

SHA256 = hashlib.sha256(b"theirs").hexdigest()
VERBS = ("validate", "plan", "run", "report", "gc")
PASSWORD = "the password of MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD or ~/.mlflow/credentials"
NETRC = "the password that your netrc file has for its host"
BASIC = f"Basic {base64.b64encode(b'ada:secret-word').decode()}"


class Kind(NamedTuple):
    """A credential, in one of the places where MLflow or requests finds it."""

    said: str
    header: str = ""
    """The header `Authorization` that a server gets; '' where it takes more than this test has: TLS, keys, a plugin."""
    variables: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    """(path in the user's home, content)"""


CREDENTIALS_FILE = (".mlflow/credentials", "[mlflow]\nmlflow_tracking_username = ada\n")
SECRET = "mlflow_tracking_password = secret-word\n"
KINDS = {
    "password": Kind(
        PASSWORD,
        BASIC,
        variables=(("MLFLOW_TRACKING_USERNAME", "ada"), ("MLFLOW_TRACKING_PASSWORD", "secret-word")),
    ),
    "token": Kind("MLFLOW_TRACKING_TOKEN", "Bearer secret-word", variables=(("MLFLOW_TRACKING_TOKEN", "secret-word"),)),
    "signature": Kind("MLFLOW_TRACKING_AWS_SIGV4", variables=(("MLFLOW_TRACKING_AWS_SIGV4", "true"),)),
    "plugin": Kind("MLFLOW_TRACKING_AUTH", variables=(("MLFLOW_TRACKING_AUTH", "kubernetes"),)),
    "certificate": Kind(
        "MLFLOW_TRACKING_CLIENT_CERT_PATH", variables=(("MLFLOW_TRACKING_CLIENT_CERT_PATH", "/tmp/cert.pem"),)
    ),
    "file": Kind(PASSWORD, BASIC, files=((CREDENTIALS_FILE[0], CREDENTIALS_FILE[1] + SECRET),)),
    "file and variable": Kind(
        PASSWORD, BASIC, variables=(("MLFLOW_TRACKING_PASSWORD", "secret-word"),), files=(CREDENTIALS_FILE,)
    ),
    "netrc": Kind(NETRC, BASIC, files=((".netrc", "machine 127.0.0.1 login ada password secret-word\n"),)),
    "netrc for any host": Kind(NETRC, BASIC, files=((".netrc", "default login ada password secret-word\n"),)),
    "netrc elsewhere": Kind(
        NETRC,
        BASIC,
        variables=(("NETRC", "{home}/own"),),
        files=(("own", "machine 127.0.0.1 login ada password secret-word\n"),),
    ),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any credential."""
    for name in (*VARIABLES, "NETRC", "MLFLOW_TRACKING_URI", "HALFWAVE_ARTIFACT_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def give(kind: Kind, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in kind.variables:
        monkeypatch.setenv(name, value.format(home=home))
    for path, content in kind.files:
        (home / path).parent.mkdir(exist_ok=True)
        (home / path).write_text(content)


@pytest.fixture(scope="module")
def recorder_of_module(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running(tmp_path_factory.mktemp("server"), empty_database) as server, Proxy(server.uri) as proxy:
        yield proxy


@pytest.fixture
def recorder(recorder_of_module: Proxy) -> Iterator[Proxy]:
    """A tracking server that notes what it is sent."""
    recorder_of_module.calls.clear()
    yield recorder_of_module
    recorder_of_module.rule = lambda call: None


def study_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str = "") -> Path:
    """A study with actors that answer at once, on a server."""
    monkeypatch.setattr(Study, "_compute", compute)
    make_folder(tmp_path / "model")
    file = tmp_path / "study.yaml"
    named = f"tracking_uri: {uri}\n" if uri else ""
    file.write_text(STUDY.replace("study: same", f"study: {tmp_path.name}") + named)
    return file


def authorizations(recorder: Proxy) -> set[str]:
    return {call.headers.get("Authorization", "") for call in recorder.calls}


# -- credentials -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_server_that_a_study_file_names_sees_no_credential(
    kind: Kind, recorder: Proxy, home: Path, tmp_path: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = study_file(tmp_path, monkeypatch, recorder.uri)
    give(kind, home, monkeypatch)
    for verb in VERBS:
        refused = in_process(verb, file)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err == (
            f"halfwave: {file}:9: tracking_uri: '{recorder.uri}' would be sent {kind.said}, because MLflow sends it to "
            f"any server; if you trust this one with it, name it yourself: --tracking-uri {recorder.uri}\n"
        )
    assert not recorder.calls
    if kind.header:
        in_process("plan", file, "--tracking-uri", recorder.uri)
        assert authorizations(recorder) == {kind.header}, "otherwise this test could not fail"


def test_a_server_that_a_study_file_names_is_used_where_there_is_nothing_to_send(
    recorder: Proxy, home: Path, tmp_path: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".netrc").write_text("machine another-host login ada password secret-word\n")
    file = study_file(tmp_path, monkeypatch, recorder.uri)
    for verb in ("run", *VERBS):
        assert in_process(verb, file).code == 0
    assert len(halfwave.load(recorder.uri, tmp_path.name).items("embedded_pairs"))
    assert authorizations(recorder) == {""}


def test_a_server_cannot_lead_to_another_host(
    recorder: Proxy, home: Path, tmp_path: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".netrc").write_text("machine localhost login ada password secret-word\n")
    file = study_file(tmp_path, monkeypatch, recorder.uri)
    with Proxy(recorder.uri) as other:
        elsewhere = other.uri.replace("127.0.0.1", "localhost")
        for status in (301, 302, 303, 307, 308):
            recorder.rule = lambda call, status=status: reply(status, b"", Location=f"{elsewhere}{call.path}")
            ran = in_process("run", file)
            assert ran.code == 2 and f"asks for another address (HTTP {status})" in ran.err
        assert not other.calls


def test_a_job_gets_no_credential_for_a_server_of_its_study_file(
    home: Path, tmp_path: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = study_file(tmp_path, monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret-word")
    to_job = ("--address", "http://127.0.0.1:9", "--env", "MLFLOW_TRACKING_TOKEN")
    refused = in_process("submit", file, *to_job)
    assert refused.code == 2 and ":9: tracking_uri: " in refused.err and "sent MLFLOW_TRACKING_TOKEN" in refused.err
    for options in (to_job[:2], (*to_job, "--tracking-uri", "http://host")):
        assert "--address http://127.0.0.1:9: nothing answers there" in in_process("submit", file, *options).err


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        (".mlflow/credentials", "no section\n", "File contains no section headers."),
        (".mlflow/credentials", "[mlflow]\na\n", "Source contains parsing errors:"),
    ],
)
def test_credentials_that_mlflow_cannot_read_are_one_line(home: Path, path: str, content: str, said: str) -> None:
    (home / path).parent.mkdir()
    (home / path).write_text(content)
    with pytest.raises(StudyError) as error:
        credential_for("http://host")
    assert str(error.value).startswith("MLflow cannot read its credentials in the environment or ~/.mlflow/credentials")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_plugin_that_adds_headers_counts_as_a_credential(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "signer-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: signer\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[mlflow.request_header_provider]\nsigner = signer:Provider\n")
    assert credential_for("http://host") == ""
    monkeypatch.syspath_prepend(tmp_path)
    assert credential_for("http://host") == "what MLflow's plugin signer adds to every request"


def test_a_server_cannot_have_parts_of_a_file_fetched_from_another_host(
    recorder: Proxy, home: Path, tmp_path: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MLflow does where a server says that it gives out signed addresses."""
    (home / ".netrc").write_text("machine localhost login ada password secret-word\n")
    file = study_file(tmp_path, monkeypatch, recorder.uri)
    with Proxy(recorder.uri) as other:
        signed = {"url": other.uri.replace("127.0.0.1", "localhost") + "/admin", "headers": {}, "file_size": 8}

        def rule(call: Call) -> Reply | None:
            if "server-info" in call.path:
                able = {"multipart_downloads_enabled": True, "multipart_uploads_enabled": True}
                return reply(200, json.dumps(able).encode(), "application/json")
            return reply(200, json.dumps(signed).encode(), "application/json") if "presigned" in call.path else None

        recorder.rule = rule
        monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "1")
        assert in_process("run", file).code == 0 and in_process("report", file).code == 0
        assert not other.calls
        monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true")
        in_process("report", file)
        assert authorizations(other) == {BASIC}, "otherwise this test could not fail"


# -- artifacts -------------------------------------------------------------------------------------------------------


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return tmp_path / "their artifacts"


@pytest.fixture
def server(empty_database: Path, tmp_path: Path, artifacts: Path) -> Iterator[str]:
    """A server that leaves the artifacts to its clients, in a folder that it chooses."""
    (tmp_path / "server").mkdir()
    with running(tmp_path / "server", empty_database, artifact_root=artifacts.as_uri()) as server:
        yield server.uri


def test_a_place_that_a_server_names_is_used_only_if_the_user_allows_it(
    server: str, artifacts: Path, home: Path, tmp_path: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, at = study_file(tmp_path, monkeypatch), ("--tracking-uri", server)
    for options in ((), ("--artifact-root", str(tmp_path / "elsewhere")), ("--artifact-root", "s3://bucket")):
        ran = in_process("run", file, *at, *options)
        assert ran.code == 2 and len(ran.err.splitlines()) == 1, ran.err
        assert f"study '{tmp_path.name}' has its artifacts at {artifacts.as_uri()}/" in ran.err
        assert "allow it with --artifact-root file://" in ran.err
        assert not artifacts.exists()
    assert in_process("run", file, *at, "--artifact-root", str(artifacts)).code == 0
    assert list(artifacts.rglob("report.json"))
    for verb in ("plan", "report", "run"):
        assert in_process(verb, file, *at).code == 2
    monkeypatch.setenv("HALFWAVE_ARTIFACT_ROOT", str(artifacts))
    for verb in VERBS:
        assert in_process(verb, file, *at).code == 0
    assert len(halfwave.load(server, tmp_path.name).items("embedded_pairs"))
    monkeypatch.delenv("HALFWAVE_ARTIFACT_ROOT")
    assert len(halfwave.load(server, tmp_path.name, artifact_root=str(artifacts)).items("embedded_pairs"))
    with pytest.raises(RecordError, match="has its artifacts at"):
        halfwave.load(server, tmp_path.name).items("embedded_pairs")


def test_a_run_with_a_place_of_its_own_is_refused_too(
    recorder: Proxy, home: Path, tmp_path: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = study_file(tmp_path, monkeypatch, recorder.uri)
    assert in_process("run", file).code == 0
    store = Store(recorder.uri)
    (parent,) = [run for run in store.runs(store.experiments()) if run.info.run_name == tmp_path.name]
    own = parent.info.artifact_uri
    assert store.artifact_uri(parent.info.run_id) == own
    for place in ("file:///etc", "s3://bucket/x", own.replace("mlflow-artifacts:/", "mlflow-artifacts://evil:80/")):
        store._artifact_uris[parent.info.run_id] = place
        for act in (store.artifact_uri, store.size, lambda run_id: store.write_text(run_id, "x", "x")):
            with pytest.raises(RecordError) as error:
                act(parent.info.run_id)
            assert f"run {parent.info.run_id} has its artifacts at {place}, which MLflow at" in str(error.value)


def test_a_sqlite_store_that_names_a_bucket_is_refused_and_a_folder_is_not_looked_at(
    home: Path, tmp_path: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a project that somebody else has made."""
    file = study_file(tmp_path, monkeypatch)
    workdir = tmp_path / "shipped"
    store = Store(f"sqlite:///{workdir}/mlflow.db")
    store.client.create_experiment(tmp_path.name, artifact_location="s3://bucket/x")
    ran = in_process("run", file, "--workdir", str(workdir))
    assert ran.code == 2 and f"study '{tmp_path.name}' has its artifacts at s3://bucket/x" in ran.err


def edit_tags(database: Path, kind: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Rewrite the tags of the steps of a kind, in a store that somebody else could have made."""
    connection = sqlite3.connect(database)
    rows = connection.execute("select run_uuid, key, value from tags where key like ?", (f"step.{kind}%",)).fetchall()
    assert rows
    for run_id, key, value in rows:
        content = json.loads(value)
        change(content)
        connection.execute(
            "update tags set value = ? where run_uuid = ? and key = ?", (json.dumps(content), run_id, key)
        )
    connection.commit()
    connection.close()


def test_a_recorded_path_that_leads_out_of_the_folder_is_not_followed(
    home: Path,
    tmp_path: Path,
    in_process: Command,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A project that ships a record, with a file at the place where the path leads from there, too."""
    file = study_file(tmp_path, monkeypatch)
    workdir, shipped = tmp_path / "a" / "b" / "work", tmp_path / "keys"
    shipped.write_bytes(b"theirs")
    assert in_process("run", file, "--workdir", str(workdir)).code == 0
    run_folder = next((workdir / "artifacts").glob("*/artifacts"))
    to_file = os.path.relpath(shipped, run_folder)
    edit_tags(workdir / "mlflow.db", "select", lambda content: content["digests"].update({to_file: SHA256}))
    file.write_text(file.read_text().replace(f"study: {tmp_path.name}", "study: another"))
    ran = in_process("run", file, "--workdir", str(workdir))
    assert ran.code == 0 and "counts as not done" in caplog.text
    assert shipped.read_bytes() == b"theirs"
    assert {path.name for path in tmp_path.iterdir()} == {"a", "home", "keys", "model", "study.yaml"}


def test_an_artifact_that_is_a_pipe_is_missing(
    home: Path, tmp_path: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = study_file(tmp_path, monkeypatch)
    assert in_process("run", file).code == 0
    (report,) = (tmp_path / ".halfwave" / "artifacts").rglob("report.json")
    report.unlink()
    os.mkfifo(report)
    shown = in_process("report", file)
    assert shown.code == 2 and "report.json" in shown.err and "is missing" in shown.err
    assert in_process("run", file).code == 0 and in_process("report", file).code == 0


def test_a_recorded_report_of_another_shape_is_one_line(
    home: Path, tmp_path: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = study_file(tmp_path, monkeypatch)
    assert in_process("run", file).code == 0
    (report,) = (tmp_path / ".halfwave" / "artifacts").rglob("report.json")
    for content in (b"{}", b"[]", b'{"models": [5]}'):
        report.write_bytes(content)
        as_recorded = {"report.json": hashlib.sha256(content).hexdigest()}
        edit_tags(
            tmp_path / ".halfwave" / "mlflow.db", "report", lambda tag, new=as_recorded: tag["digests"].update(new)
        )
        shown = in_process("report", file)
        assert shown.code == 2 and shown.err.startswith("halfwave: the recorded report cannot be shown (")
        assert len(shown.err.splitlines()) == 1
