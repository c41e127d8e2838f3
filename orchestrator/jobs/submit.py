"""A study as a job on a running cluster: submitted, followed and stopped through Ray's job server.

Owns the command that the cluster's head runs, the job's environment (variables that the user names, the store's address
and the hub's offline switches), and how the job's end becomes an exit code; `upload` chooses the files. Refuses to know
what the study computes. Ray is imported in functions, so that no other verb waits for its job client.
Invariant: values of variables are never printed and never part of the command, which Ray logs.
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
from orchestrator.jobs.upload import Upload, choose_files
from orchestrator.record.client.credentials import VARIABLES as CREDENTIALS
from orchestrator.study_file.catalog import is_of_catalog
from orchestrator.study_file.load import load_spec
from orchestrator.workspace import store_of_study_file
from studies.errors import StudyError, one_line

OFFLINE_SWITCHES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Passed on to the job where they are set here."""
STOP = {"RAY_JOB_STOP_SIGNAL": "SIGTERM", "RAY_JOB_STOP_WAIT_TIME_S": "120"}
"""Gives a stopped job time to close its runs; Ray's default is 3 seconds."""
POLL_SECONDS = 1.0
INTERRUPTED = 130
"""Exit code of a stopped job, as of an interrupted command."""
REASON_LENGTH = 4000
"""Characters of the reason why a job could not be run: its cause stands at the end of a traceback."""


class RunOptions(NamedTuple):
    """Options of the `halfwave run` that the job executes."""

    data_root: Path | None = None
    model_roots: Sequence[Path] = ()
    """Relative paths are paths in the upload, absolute ones are paths on the cluster."""
    workdir: Path | None = None
    """An absolute path on the cluster."""
    others: Sequence[str] = ()
    """Further words of the command line, as they are."""
    trusted: bool = False
    """Whether the user trusts the study file with what `study_file.trust` lists, here and in the job."""


class Job(NamedTuple):
    """A submitted job."""

    client: Any
    """Ray's JobSubmissionClient."""
    id: str
    """Ray's submission id."""
    address: str
    """URL of the cluster's dashboard."""

    @property
    def follow_command(self) -> str:
        """The command that shows the log again, from any terminal."""
        return f"ray job logs --follow --address {self.address} {self.id}"

    def follow(self, write: Callable[[str], None]) -> int:
        """Pass the log to `write` as it grows, to its end. Returns the job's exit code, as a shell would give it.

        Raises StudyError if the connection to the cluster is lost, or if the job could not be started.
        """
        with self._connected():
            asyncio.run(self._tail(write))
            return self._exit_code()

    def stop(self) -> None:
        """Ask the job to stop, as Ctrl-C does, and wait until it has. Raises StudyError if the connection is lost."""
        with self._connected():
            self.client.stop_job(self.id)
            while not self._ended():
                time.sleep(POLL_SECONDS)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:  # a lost connection; a refusal by the server
            raise StudyError(
                f"lost the cluster at {self.address} ({one_line(error)}); the job goes on: {self.follow_command}"
            ) from None

    def _ended(self) -> bool:
        return bool(self.client.get_job_status(self.id).is_terminal())

    async def _tail(self, write: Callable[[str], None]) -> None:
        written = 0
        while True:
            skip = written  # every connection begins at the top of the log
            with contextlib.suppress(RuntimeError):  # Ray's error for a broken connection; another one follows
                async for text in self.client.tail_job_logs(self.id):
                    fresh = text[skip:]
                    skip -= len(text) - len(fresh)
                    written += len(fresh)
                    write(fresh)
            if self._ended():
                write(self.client.get_job_logs(self.id)[written:])  # what the last connection missed
                return
            await asyncio.sleep(POLL_SECONDS)

    def _exit_code(self) -> int:
        info = self.client.get_job_info(self.id)
        if info.status == "STOPPED":
            return INTERRUPTED
        if info.driver_exit_code is None and info.status != "SUCCEEDED":
            reason = one_line(info.message or "no reason given", REASON_LENGTH)
            raise StudyError(f"job {self.id} could not be run: {reason}")
        code = int(info.driver_exit_code or 0)
        return code if code >= 0 else 128 - code  # a signal, as a shell reports it


def submit(
    study: Path,
    options: RunOptions,
    *,
    address: str,
    tracking_uri: str | None = None,
    variables: Iterable[str] = (),
) -> Job:
    """Submit `halfwave run STUDY` to the cluster whose dashboard is at `address`, http://HOST:PORT.

    tracking_uri: default that of the study file. variables: names of environment variables to pass on with their
    values. Raises StudyError, before anything is uploaded, if the job would not work or nothing answers there, and for
    a study of the catalog, which is in no project.
    """
    if is_of_catalog(study):
        raise StudyError(
            f"{study} is a study of the catalog and in no project that could be uploaded; copy it with `halfwave "
            f"catalog {study} --copy`, then submit {study}.yaml"
        )
    spec, located = load_spec(study, trusted=options.trusted)
    variables = tuple(variables)
    if options.workdir is not None and not options.workdir.is_absolute():
        raise StudyError(
            f"--workdir: {options.workdir} is relative to a copy that is deleted with the job; give an absolute path"
        )
    if options.workdir is None and not (tracking_uri or spec.tracking_uri):
        raise StudyError(
            "the job's record would be lost with the job: name the cluster's MLflow server with --tracking-uri, or a "
            "folder that the cluster keeps with --workdir"
        )
    if tracking_uri is None:
        passed_on = next((name for name in CREDENTIALS if name in variables), "")
        store_of_study_file(spec.tracking_uri, located, options.workdir or Path("/"), passed_on)
    upload = choose_files(study)
    command = run_command(upload, options)
    environment = job_environment(tracking_uri, variables)
    client = connect(address)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "project.zip")
        upload.pack(archive)
        try:
            job = client.submit_job(
                entrypoint=command, runtime_env={"working_dir": str(archive), "env_vars": environment}
            )
        except (RuntimeError, OSError) as error:
            raise StudyError(f"--address {address}: the cluster refuses the job: {one_line(error)}") from None
    return Job(client, job, address)


def run_command(upload: Upload, options: RunOptions) -> str:
    """The shell command that the head runs. Raises StudyError for a relative path that is not uploaded.

    It begins with `exec`, so that the signal that stops the job reaches `halfwave` and no shell in between.
    """
    words = ["exec", "halfwave", "run", str(upload.study), "--address", "auto"]
    if options.data_root is not None:
        words += ["--data-root", upload.path_in_job(options.data_root, "--data-root")]
    for root in options.model_roots:
        words += ["--model-root", upload.path_in_job(root, "--model-root")]
    if options.workdir is not None:
        words += ["--workdir", str(options.workdir)]
    if options.trusted:
        words.append("--trust-study")
    return shlex.join([*words, *options.others])


def job_environment(tracking_uri: str | None, variables: Iterable[str]) -> dict[str, str]:
    """{variable: value} of the job. Raises StudyError, without any value, for a variable that is not set here."""
    environment = {name: os.environ[name] for name in OFFLINE_SWITCHES if name in os.environ}
    for name in variables:
        if name not in os.environ:
            masked = name.split("=")[0] + "=***" if "=" in name else name
            raise StudyError(f"--env {masked}: not a variable that is set here; --env takes its name alone")
        environment[name] = os.environ[name]
    if tracking_uri is not None:
        environment["MLFLOW_TRACKING_URI"] = tracking_uri
    return environment | STOP


def connect(address: str) -> Any:
    """Ray's job client for this address, whatever RAY_ADDRESS says. Raises StudyError if no job server answers."""
    check_dashboard(address)
    try:
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise StudyError(f"jobs need Ray's job client ({error.name} is missing): pip install 'ray[default]'") from None
    for noisy in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.environ["RAY_API_SERVER_ADDRESS"] = address  # otherwise RAY_ADDRESS, which is for runs, wins over the argument
    try:
        return JobSubmissionClient(address)
    except AuthenticationError:
        raise StudyError(
            f"--address {address}: the cluster does not accept our token; set RAY_AUTH_MODE=token and put its token "
            "into ~/.ray/auth_token or the file that RAY_AUTH_TOKEN_PATH names"
        ) from None
    except (RuntimeError, OSError, ValueError) as error:
        raise StudyError(f"--address {address}: no Ray job server answers there: {one_line(error)}") from None
