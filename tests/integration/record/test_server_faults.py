"""What a tracking server, or something else at its address, does wrong: real servers behind a proxy that misbehaves."""

import json
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

import halfwave
from orchestrator.record.client import patience
from orchestrator.record.client.failures import RecordError, Unreachable
from orchestrator.study import Study
from tests.integration.made_up import Command
from tests.integration.made_up_actors import compute
from tests.integration.record.recorded import StoreFolder, commit, condition, known
from tests.integration.record.test_second_file import STUDY
from tests.mlflow_proxy import DROP, LOGIN_PAGE, LOSE_ANSWER, PAGE, Call, Proxy, Reply, reply
from tests.mlflow_server import running
from tests.unit.orchestrator.planning.test_resolve import make_folder

CREDENTIALS = (
    "check the address and the credentials (MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
    "MLFLOW_TRACKING_TOKEN)"
)
WEB_PAGE = f"answers with a web page, as a login page does; {CREDENTIALS}"
FOREIGN = "answers, but not as MLflow does"
MORE = STUDY.replace("evaluate:", "  more: {select: top, fraction: 0.2, clamp: negative}\nevaluate:")


class Place:
    """A server's proxy, and the folder of its artifacts."""

    def __init__(self, proxy: Proxy, folder: Path) -> None:
        self.proxy, self.uri, self.folder = proxy, proxy.uri, folder
        self.client = MlflowClient(proxy.uri)

    def blob(self, study: str, condition: str, path: str) -> Path:
        """The file of an artifact on the server's disk, of the current run of a condition ('' = the profile)."""
        run = self.run(study, condition)
        (file,) = (self.folder / "blobs").rglob(f"{run.info.run_id}/**/{path}")
        return file

    def run(self, study: str, condition: str) -> Any:
        (run,) = self.runs(study, condition)
        return run

    def runs(self, study: str, condition: str, view: int = ViewType.ACTIVE_ONLY) -> list[Any]:
        experiment = self.client.get_experiment_by_name(study)
        of_kind = f"tags.`halfwave.kind` = '{'condition' if condition else 'profile'}'"
        found = self.client.search_runs([experiment.experiment_id], of_kind, view)
        return [run for run in found if run.data.tags["halfwave.condition"] == condition]


@pytest.fixture(scope="module")
def at_module(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("server")
    with running(folder, empty_database) as server, Proxy(server.uri) as proxy:
        yield Place(proxy, folder)


@pytest.fixture
def at(at_module: Place) -> Iterator[Place]:
    """The server that the tests of this module share, behind a proxy that passes everything on."""
    at_module.proxy.calls.clear()
    yield at_module
    at_module.proxy.rule = lambda call: None


@pytest.fixture
def store(at: Place, tmp_path: Path) -> StoreFolder:
    return StoreFolder(uri=at.uri, folder=tmp_path)


@pytest.fixture
def study_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study with actors that answer at once."""
    monkeypatch.setattr(Study, "_compute", compute)
    make_folder(tmp_path / "model")
    return write(tmp_path, STUDY)


def write(folder: Path, text: str) -> Path:
    """The study under a name of its own and with steps of its own, because the tests share a store."""
    file, count = folder / "study.yaml", 8 + zlib.crc32(folder.name.encode()) % 50
    text = text.replace("pairs: 16", f"pairs: {count}").replace("per_construction: 8", f"per_construction: {count}")
    file.write_text(text.replace("study: same", f"study: {folder.name}"))
    return file


def forget_report(at: Place, study: str) -> None:
    """Have the next run make the report again."""
    experiment = at.client.get_experiment_by_name(study)
    (parent,) = at.client.search_runs([experiment.experiment_id], "tags.`halfwave.kind` = 'study'")
    at.client.delete_tag(parent.info.run_id, "step.report")


def once(method: str, path: str, answer: Reply | str) -> Any:
    """A rule that answers the first such request otherwise."""
    left = [answer]

    def rule(call: Call) -> Reply | str | None:
        return left.pop() if left and call.method == method and call.path.split("?")[0].endswith(path) else None

    return rule


# -- damaged artifacts -----------------------------------------------------------------------------------------------


def test_damage_on_a_server_is_found_where_it_matters_and_computed_again(
    at: Place, study_file: Path, in_process: Command
) -> None:
    name, server = study_file.parent.name, ("--tracking-uri", at.uri)
    assert in_process("run", study_file, *server).code == 0
    at.blob(name, "", "neurons.parquet").write_bytes(b"")
    at.proxy.calls.clear()
    assert "0 steps computed" in in_process("run", study_file, *server).out
    downloads = [call.path for call in at.proxy.calls if call.method == "GET" and "/artifacts/" in call.path]
    assert [path.rpartition("/")[2] for path in downloads] == ["report.json"], "what is cached is not downloaded"
    write(study_file.parent, MORE)
    ran = in_process("run", study_file, *server)
    assert ran.code == 0 and "3 steps computed, 3 cached" in ran.out
    assert "WAIT" in ran.out and "profile model (its recorded artifacts are damaged)" in ran.out
    ran = in_process("run", study_file, *server)
    assert (ran.code, "0 steps computed" in ran.out) == (0, True)


@pytest.mark.long
def test_damage_that_the_review_finds_is_computed_again_by_the_next_run(
    at: Place, study_file: Path, in_process: Command
) -> None:
    name, server = study_file.parent.name, ("--tracking-uri", at.uri)
    assert in_process("run", study_file, *server).code == 0
    numbers = halfwave.load(at.uri, name).conditions
    items, run_id = at.blob(name, "wasserstein", "embedded_pairs.parquet"), at.run(name, "wasserstein").info.run_id
    items.write_bytes(b"")
    forget_report(at, name)
    ran = in_process("run", study_file, *server)
    damage = (
        f"artifact items/embedded_pairs.parquet of run {run_id} in MLflow at {at.uri} is not what was recorded (its "
        "sha256 differs); put the file back, or run the study again: its step will be recomputed"
    )
    unfinished = [line for line in " ".join(ran.out.split()).split("not finished ")[1:]]
    assert ran.code == 1 and len(unfinished) == 1
    assert unfinished[0].startswith(f"report of model: {damage} ")
    assert "step.evaluate.embedded_pairs" not in at.run(name, "wasserstein").data.tags
    planned = json.loads(in_process("plan", study_file, "--json", *server).out)
    assert [step["step"] for step in planned["steps"] if not step["cached"]] == [
        "evaluate.embedded_pairs model wasserstein"
    ]
    ran = in_process("run", study_file, *server)
    assert ran.code == 0 and "1 steps computed, 3 cached" in ran.out
    again = halfwave.load(at.uri, name).conditions.set_index("condition")["embedded_pairs/accuracy"]
    assert again["wasserstein"] == numbers.set_index("condition")["embedded_pairs/accuracy"]["wasserstein"]

    items.write_bytes(b"")  # found by whoever reads it, while no run needs it
    with pytest.raises(RecordError) as error:
        halfwave.load(at.uri, name).items("embedded_pairs")
    assert str(error.value) == f"{damage} by `run --verify`, which reads all of a server back"
    assert "0 steps computed" in in_process("run", study_file, *server).out
    assert "1 steps computed, 3 cached" in in_process("run", study_file, "--verify", *server).out
    assert len(halfwave.load(at.uri, name).items("embedded_pairs"))


# -- lost answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/experiments/create", "/runs/create"])
def test_a_lost_answer_to_a_creation_creates_nothing_twice(
    at: Place, store: StoreFolder, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = f"lost{path.replace('/', '-')}"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "7")  # of the user's own
    at.proxy.rule = once("POST", path, LOSE_ANSWER)
    record = store.record(study)
    assert len(store.runs(study, "study")) == 1  # the parent
    at.proxy.rule = once("POST", path, LOSE_ANSWER)
    commit(record, condition(), "one")
    assert len(at.runs(study, "wasserstein", ViewType.ALL)) == 1
    assert record.close("FINISHED") == 0 and len(halfwave.load(at.uri, study).conditions) == 1


def test_runs_that_were_created_twice_count_once_and_are_put_right_at_the_next_opening(
    at: Place, store: StoreFolder
) -> None:
    study = "twice"
    record = store.record(study)
    record.begin(condition())
    (first,) = at.runs(study, "wasserstein")
    second = at.client.create_run(first.info.experiment_id, tags=first.data.tags)
    step = commit(record, condition(), "one")
    third = at.client.create_run(first.info.experiment_id, tags=first.data.tags)
    committed = at.client.get_run(first.info.run_id).data.tags["step.evaluate.blimp"]
    at.client.set_tag(third.info.run_id, "step.evaluate.blimp", committed)
    assert halfwave.load(at.uri, study).conditions.run_id.tolist() == [first.info.run_id]
    assert known(record, study, "one")["one"] == step and list(record.latest(study).values()) == [step]
    record.close("FINISHED")

    store.record(study).close("FINISHED")
    assert [run.info.run_id for run in at.runs(study, "wasserstein")] == [first.info.run_id]
    hidden = at.runs(study, "wasserstein", ViewType.DELETED_ONLY)
    assert {run.info.run_id: run.data.tags["superseded_by"] for run in hidden} == {
        second.info.run_id: first.info.run_id,
        third.info.run_id: first.info.run_id,
    }


def test_a_lost_answer_to_the_removal_of_a_tag_is_no_refusal(at: Place, store: StoreFolder) -> None:
    study = "removed"
    record = store.record(study)
    old = commit(record, condition(identity="aa"), "old")
    commit(record, condition(identity="bb"), "new")
    at.proxy.rule = once("POST", "/runs/delete-tag", LOSE_ANSWER)
    assert record.adopt(condition(identity="aa"), old) == old
    assert record.close("FINISHED") == 0
    assert [run.info.run_id for run in at.runs(study, "wasserstein")] == [old.run_id]


# -- wrong answers ---------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Reply | str, str]] = {
    "login page": (LOGIN_PAGE, WEB_PAGE),
    "redirect": (
        reply(302, b"", Location="/login"),
        f"asks for another address (HTTP 302), as for that of a login; {CREDENTIALS}",
    ),
    "another service": (reply(200, b'{"status": "ok"}', "application/json"), f"{FOREIGN}; check the address"),
    "another service's error": (
        reply(404, b'{"detail": "Not Found"}', "application/json"),
        f"{FOREIGN} ({{'detail': 'Not Found'}}); check the address",
    ),
    "a list": (reply(200, b"[1]", "application/json"), f"{FOREIGN}; check the address"),
    "nothing": (reply(200, b""), f"{FOREIGN}; check the address"),
    "cut": (
        reply(200, b'{"experiment"', "application/json", **{"Content-Length": "500"}),
        "does not answer: IncompleteRead(13 bytes read, 487 more expected)",
    ),
    "401": (reply(401, PAGE), f"refuses the login (HTTP 401); {CREDENTIALS}"),
    "403": (reply(403, PAGE), f"refuses the login (HTTP 403); {CREDENTIALS}"),
    "401 of MLflow": (
        reply(401, b'{"error_code": "UNAUTHENTICATED", "message": "You are not logged in"}', "application/json"),
        f"refuses the login (UNAUTHENTICATED: You are not logged in); {CREDENTIALS}",
    ),
    "404": (reply(404, PAGE), f"{FOREIGN} (HTTP 404); check the address"),
    "400": (reply(400, PAGE), f"{FOREIGN} (HTTP 400); check the address"),
    "502": (reply(502, PAGE), "does not answer: too many 502 error responses"),
    "wait an hour": (reply(503, PAGE, **{"Retry-After": "3600"}), "does not answer: too many 503 error responses"),
    "closed": (DROP, "does not answer: Remote end closed connection without response"),
}


@pytest.mark.parametrize(("answer", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_one_line_that_says_what_to_check(
    at: Place, store: StoreFolder, answer: Reply | str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    at.proxy.rule = lambda call: answer
    reads = (lambda: halfwave.load(at.uri, "n"), lambda: store.record("n"), lambda: known(store.record(None), "n", "a"))
    for read in reads:
        started = time.monotonic()
        with pytest.raises(Unreachable) as error:
            read()
        assert str(error.value) == f"MLflow at {at.uri} {message}"
        assert time.monotonic() - started < 30
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://127.0.0.1:9", "MLflow at http://127.0.0.1:9 does not answer: Connection refused"),
        ("http://[::1", "cannot open the MLflow store http://[::1: Invalid IPv6 URL"),
    ],
)
def test_a_server_that_is_down_or_cannot_be_is_one_line_soon(
    study_file: Path, in_process: Command, uri: str, message: str
) -> None:
    for verb in ("run", "plan", "report"):
        ran = in_process(verb, study_file, "--tracking-uri", uri)
        assert (ran.code, ran.err) == (2, f"halfwave: {message}\n")


def test_steps_that_a_login_page_keeps_from_the_server_are_said_and_sent_by_the_next_run(
    at: Place, study_file: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.record.record.CLOSING_PAUSE_S", 0.0)
    monkeypatch.setattr(patience, "WRONG_LIMIT_S", 1.0)

    def rule(call: Call) -> Reply | None:
        profiled = any(call.path.endswith("neurons.parquet") for call in at.proxy.calls)
        return LOGIN_PAGE if profiled else None

    at.proxy.rule = rule
    ran = in_process("run", study_file, "--tracking-uri", at.uri)
    spool = study_file.parent / ".halfwave" / "spool"
    said = f"5 steps wait in {spool}: MLflow at {at.uri} {WEB_PAGE}; the next run sends them"
    assert ran.code == 1 and said in ran.out.splitlines() and "<html>" not in ran.out + ran.err
    at.proxy.rule = lambda call: None
    ran = in_process("run", study_file, "--tracking-uri", at.uri)
    assert ran.code == 0 and "0 steps computed, 4 cached" in ran.out and not list(spool.iterdir())


def test_a_page_in_place_of_an_artifact_is_no_damage(at: Place, store: StoreFolder) -> None:
    record = store.record("pages")
    step = commit(record, condition(), "one")
    at.proxy.rule = lambda call: LOGIN_PAGE if "/artifacts/" in call.path else None
    with pytest.raises(Unreachable) as error:
        record.frame(step, "items/blimp.parquet")
    assert str(error.value) == f"the artifact store of {at.uri} {WEB_PAGE}"
    at.proxy.rule = lambda call: None
    record.close("FINISHED")


# -- outages ---------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_read_of_the_review_waits_for_the_server_to_a_limit(
    at: Place, study_file: Path, in_process: Command, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server goes once everything is computed, as the review begins to read."""
    name, server = study_file.parent.name, ("--tracking-uri", at.uri)
    assert in_process("run", study_file, *server).code == 0

    def away(seconds: float) -> Callable[[Call], str | None]:
        gone: list[float] = []

        def rule(call: Call) -> str | None:
            if not gone and "items/embedded_pairs.parquet" in call.path and call.method == "GET":
                gone.append(time.monotonic())
            return DROP if gone and time.monotonic() - gone[0] < seconds else None

        return rule

    forget_report(at, name)
    at.proxy.rule = away(2.5)
    caplog.clear()
    ran = in_process("run", study_file, *server)
    assert ran.code == 0 and "0 steps computed, 4 cached" in ran.out
    said = [line.getMessage() for line in caplog.records if "patience" in line.name]
    assert len(said) == 2 and said[0].endswith("; waiting for it, at most 480 s")
    assert said[1].startswith("MLflow answers again, after ")

    monkeypatch.setattr(patience, "LIMIT_S", 1.0)
    monkeypatch.setattr("orchestrator.record.record.CLOSING_PAUSE_S", 0.0)
    at.proxy.rule = lambda call: None
    forget_report(at, name)
    at.proxy.rule = away(600)
    ran = in_process("run", study_file, *server)
    assert ran.code == 1 and "Traceback" not in ran.err
    assert "what was computed is kept, run the study again for its report" in " ".join(ran.out.split())


# -- edits -----------------------------------------------------------------------------------------------------------


def test_a_metric_that_was_edited_is_said_and_put_right(
    at: Place, store: StoreFolder, caplog: pytest.LogCaptureFixture
) -> None:
    study = "edited"
    record = store.record(study)
    step = commit(record, condition(), "one", metrics={"blimp/accuracy": 0.8125, "perplexity": 30.5})
    record.close("FINISHED")
    at.client.log_metric(step.run_id, "perplexity", 99.0, step=3)
    line = (
        f"metrics were changed in MLflow at {at.uri}: perplexity of run tiny · wasserstein ({step.run_id}) is 99 there "
        "and 30.5 in the record; what was recorded is used"
    )
    assert halfwave.load(at.uri, study).conditions.perplexity.tolist() == [30.5]
    store.record(None).warn_of_edits(study)
    assert [entry.getMessage() for entry in caplog.records] == [line, line]
    caplog.clear()
    store.record(study).close("FINISHED")
    assert [entry.getMessage() for entry in caplog.records] == [f"{line}, and was logged again"]
    assert at.run(study, "wasserstein").data.metrics == {"blimp/accuracy": 0.8125, "perplexity": 30.5}
    caplog.clear()
    store.record(study).close("FINISHED")
    assert halfwave.load(at.uri, study).conditions.perplexity.tolist() == [30.5] and not caplog.records
