"""A job's command, environment and exit code, with a simulated job server."""

import shlex
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.jobs import submit as module
from orchestrator.jobs.submit import Job, RunOptions, job_environment, run_command, submit
from orchestrator.jobs.upload import Upload
from studies.errors import StudyError

STUDY = """\
study: tiny
models: [somebody/model]
conditions:
  top: {select: top, fraction: 0.1, clamp: negative}
evaluate: [embedded_pairs]
"""
NOBODY = "http://127.0.0.1:1"
"""An address where nothing listens."""
BROKEN = RuntimeError("WebSocket connection closed unexpectedly")


class Server:
    """Ray's job client as far as `Job` uses it. Each of `tails` is one connection: pieces of the log, and its error."""

    def __init__(
        self,
        log: str,
        *tails: list[str | Exception],
        status: str = "SUCCEEDED",
        code: int | None = 0,
        message: str | None = None,
    ) -> None:
        self.log, self.tails = log, list(tails)
        self.info = SimpleNamespace(status=status, driver_exit_code=code, message=message)

    def get_job_info(self, job: str) -> SimpleNamespace:
        return self.info

    def get_job_status(self, job: str) -> SimpleNamespace:
        return SimpleNamespace(is_terminal=lambda: not self.tails)

    def get_job_logs(self, job: str) -> str:
        return self.log

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        for text in self.tails.pop(0):
            if isinstance(text, Exception):
                raise text
            yield text


def follow(server: Server) -> tuple[int, str]:
    written: list[str] = []
    return Job(server, "job-1", "http://h:8265").follow(written.append), "".join(written)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.0)


@pytest.mark.parametrize(
    "tails",
    [
        [["one\n", "two\nthree\n"]],
        [["one\ntw", BROKEN], ["one\n", "two\nthr"], ["one\ntwo\nthree\n"]],
        [["one\ntwo\n", BROKEN]],
        [[], ["one\n"]],
    ],
    ids=["whole", "broken twice", "broken at its end", "cut short"],
)
def test_every_line_is_written_once_however_the_connection_breaks(tails: list[list[str | Exception]]) -> None:
    assert follow(Server("one\ntwo\nthree\n", *tails)) == (0, "one\ntwo\nthree\n")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [("SUCCEEDED", 0, 0), ("FAILED", 1, 1), ("FAILED", 2, 2), ("FAILED", -9, 137), ("STOPPED", None, 130)],
)
def test_the_exit_code_is_the_jobs(status: str, code: int | None, expected: int) -> None:
    assert follow(Server("x\n", ["x\n"], status=status, code=code)) == (expected, "x\n")


def test_the_command_is_one_process_and_quotes_what_a_shell_would_split() -> None:
    upload = Upload(Path("/p"), (Path("my study.yaml"),), Path("my study.yaml"))
    options = RunOptions(Path("/d"), [Path("/m 1"), Path("/m2")], Path("/w"), ["--silence", "60"])
    assert shlex.split(run_command(upload, options)) == [
        *("exec", "halfwave", "run", "my study.yaml", "--address", "auto"),
        *("--data-root", "/d", "--model-root", "/m 1", "--model-root", "/m2", "--workdir", "/w"),
        *("--silence", "60"),
    ]


def test_the_environment_is_the_offline_switches_the_store_and_the_named_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in module.OFFLINE_SWITCHES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert job_environment(None, []) == {"HF_HUB_OFFLINE": "1", **module.STOP}
    assert job_environment("http://u:pw@h:5000", ["HF_TOKEN"]) == {
        "HF_HUB_OFFLINE": "1", "HF_TOKEN": "secret", "MLFLOW_TRACKING_URI": "http://u:pw@h:5000", **module.STOP
    }  # fmt: skip


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "never began": (
        lambda study: follow(Server("", [], status="FAILED", code=None, message="no room\non the head")),
        "job job-1 could not be run: no room on the head",
    ),
    "lost cluster": (
        lambda study: follow(Server("", [ConnectionResetError("reset by peer")], [])),
        "lost the cluster at http://h:8265 (reset by peer); "
        "the job goes on: ray job logs --follow --address http://h:8265 job-1",
    ),
    "absent variable": (
        lambda study: job_environment(None, ["ABSENT"]),
        "--env ABSENT: not a variable that is set here; --env takes its name alone",
    ),
    "value of a variable": (
        lambda study: job_environment(None, ["ABSENT=secret"]),
        "--env ABSENT=***: not a variable that is set here; --env takes its name alone",
    ),
    "no place for the record": (
        lambda study: submit(study, RunOptions(), address=NOBODY),
        "the job's record would be lost with the job: name the cluster's MLflow server with --tracking-uri, or a "
        "folder that the cluster keeps with --workdir",
    ),
    "relative working folder": (
        lambda study: submit(study, RunOptions(workdir=Path("work")), address=NOBODY),
        "--workdir: work is relative to a copy that is deleted with the job; give an absolute path",
    ),
    "address of a run": (
        lambda study: submit(study, RunOptions(workdir=Path("/w")), address="h:8265"),
        "--address h:8265: a job is submitted to the cluster's dashboard, http://HOST:PORT (8265 by default)",
    ),
    "absent folder": (
        lambda study: submit(study, RunOptions(workdir=Path("/w"), data_root=Path("absent")), address=NOBODY),
        "--data-root: absent lies outside of {project}, so the job would not have it; give the cluster's absolute path",
    ),
}


@pytest.mark.parametrize(("act", "message"), REFUSED.values(), ids=REFUSED)
def test_a_job_that_cannot_work_is_one_line_with_the_remedy(
    act: Callable[[Path], object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address of nobody is never asked: nothing is sent."""
    monkeypatch.delenv("ABSENT", raising=False)
    (tmp_path / "study.yaml").write_text(STUDY)
    with pytest.raises(StudyError) as caught:
        act(tmp_path / "study.yaml")
    assert str(caught.value) == message.format(project=tmp_path)


def test_a_mistake_in_the_study_file_is_found_here(tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(STUDY.replace("fraction", "fractoin"))
    with pytest.raises(StudyError, match="fractoin"):
        submit(study, RunOptions(workdir=Path("/w")), address=NOBODY)
