"""A study as a job on a running cluster: sent, followed, stopped, through Ray's job server.

Owns what goes along (files: see `upload`; environment: what is asked for by name, the store's address and the hub's
offline switches), the command that the cluster's head runs, and how the job's end becomes an exit code. Refuses to know
what the study computes. Values of variables are never printed and never part of the command, which Ray logs.
Ray is imported in functions: no other verb waits for its job client.
"""

import asyncio
import contextlib
import logging
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.address import check_dashboard
from orchestrator.jobs.upload import Upload, upload
from orchestrator.study_file.load import load_spec
from studies.errors import StudyError

OFFLINE_SWITCHES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Passed on where they are set here."""
STOP = {"RAY_JOB_STOP_SIGNAL": "SIGTERM", "RAY_JOB_STOP_WAIT_TIME_S": "120"}
"""A job that is stopped gets the time to close its runs; by itself Ray leaves it 3 seconds."""
POLL_SECONDS = 1.0
INTERRUPTED = 130


class Job(NamedTuple):
    """A job that was sent."""

    client: Any
    """Ray's JobSubmissionClient."""
    id: str
    """Ray's submission id."""
    address: str

    @property
    def follow_command(self) -> str:
        """Shows the log again, from any terminal."""
        return f"ray job logs --follow --address {self.address} {self.id}"

    def follow(self, write: Callable[[str], None]) -> int:
        """Write the log as it grows, to its end; the exit code of the job."""
        with self._connected():
            asyncio.run(self._tail(write))
            return self._exit_code()

    def stop(self) -> None:
        """Ask the job to stop as Ctrl-C does, and wait until it has."""
        with self._connected():
            self.client.stop_job(self.id)
            while not self._ended():
                time.sleep(POLL_SECONDS)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:  # connections are OSErrors, refusals of the server RuntimeErrors
            raise StudyError(
                f"lost the cluster at {self.address} ({_line(error)}); the job goes on: {self.follow_command}"
            ) from None

    def _ended(self) -> bool:
        return self.client.get_job_status(self.id).is_terminal()

    async def _tail(self, write: Callable[[str], None]) -> None:
        written = 0
        while True:
            skip = written  # every connection begins at the top
            with contextlib.suppress(RuntimeError):  # so Ray calls a connection that broke; another one follows
                async for text in self.client.tail_job_logs(self.id):
                    fresh = text[skip:]
                    skip -= len(text) - len(fresh)
                    written += len(fresh)
                    write(fresh)
            if self._ended():
                write(self.client.get_job_logs(self.id)[written:])  # what the last connection did not bring
                return
            await asyncio.sleep(POLL_SECONDS)

    def _exit_code(self) -> int:
        info = self.client.get_job_info(self.id)
        if info.status == "STOPPED":
            return INTERRUPTED
        if info.driver_exit_code is None and info.status != "SUCCEEDED":
            raise StudyError(f"job {self.id} could not be run: {' '.join((info.message or 'no reason given').split())}")
        code = info.driver_exit_code or 0
        return code if code >= 0 else 128 - code  # as a shell names a signal


def submit(
    study: Path,
    *,
    address: str,
    data_root: Path | None = None,
    model_roots: Sequence[Path] = (),
    workdir: Path | None = None,
    tracking_uri: str | None = None,
    variables: Iterable[str] = (),
    options: Sequence[str] = (),
) -> Job:
    """Send `halfwave run STUDY` to the cluster whose dashboard is at `address`. StudyError, one line, if it cannot be.

    variables: names of further environment variables that the job gets with their values of here; options: further
    words of `halfwave run`.
    """
    spec, _ = load_spec(study)
    if workdir is not None and not workdir.is_absolute():
        raise StudyError(f"--workdir: {workdir} is relative to a copy that is thrown away; give an absolute path")
    if workdir is None and not (tracking_uri or spec.tracking_uri):
        raise StudyError(
            "the job's record would be lost with the job: name the cluster's MLflow server with --tracking-uri, or a "
            "folder that the cluster keeps with --workdir"
        )
    found = upload(study)
    command = run_command(found, data_root=data_root, model_roots=model_roots, workdir=workdir, options=options)
    environment = job_environment(tracking_uri, variables)
    client = connect(address)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "project.zip")
        found.pack(archive)
        try:
            sent = client.submit_job(
                entrypoint=command, runtime_env={"working_dir": str(archive), "env_vars": environment}
            )
        except (RuntimeError, OSError) as error:
            raise StudyError(f"--address {address}: the cluster does not take the job: {_line(error)}") from None
    return Job(client, sent, address)


def run_command(
    found: Upload,
    *,
    data_root: Path | None,
    model_roots: Sequence[Path],
    workdir: Path | None,
    options: Sequence[str] = (),
) -> str:
    """What the head's shell runs. `exec`: the signal that stops a job reaches `halfwave` and no shell in between."""
    words = ["exec", "halfwave", "run", str(found.study), "--address", "auto"]
    if data_root is not None:
        words += ["--data-root", found.place(data_root, "--data-root")]
    for root in model_roots:
        words += ["--model-root", found.place(root, "--model-root")]
    if workdir is not None:
        words += ["--workdir", str(workdir)]
    return shlex.join([*words, *options])


def job_environment(tracking_uri: str | None, variables: Iterable[str]) -> dict[str, str]:
    """{variable: value} of the job. StudyError for a variable that is not set here."""
    found = {name: os.environ[name] for name in OFFLINE_SWITCHES if name in os.environ}
    for name in variables:
        if name not in os.environ:
            written = name.split("=")[0] + "=***" if "=" in name else name
            raise StudyError(f"--env {written}: not a variable that is set here; --env takes its name alone")
        found[name] = os.environ[name]
    if tracking_uri is not None:
        found["MLFLOW_TRACKING_URI"] = tracking_uri
    return found | STOP


def connect(address: str) -> Any:
    """Ray's job client for this address, whatever RAY_ADDRESS says. StudyError if no job server answers there."""
    check_dashboard(address)
    try:
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise StudyError(f"jobs need Ray's job client ({error.name} is missing): pip install 'ray[default]'") from None
    for chatty in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    os.environ["RAY_API_SERVER_ADDRESS"] = address  # the client prefers RAY_ADDRESS, where runs go, to its argument
    try:
        return JobSubmissionClient(address)
    except AuthenticationError:
        raise StudyError(
            f"--address {address}: the cluster does not let us in; set RAY_AUTH_MODE=token and have its token in "
            "~/.ray/auth_token or RAY_AUTH_TOKEN_PATH"
        ) from None
    except (RuntimeError, OSError, ValueError) as error:
        raise StudyError(f"--address {address}: no job server of Ray answers there: {_line(error)}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
