"""What of a study's project goes to a cluster with it: an archive of its files.

Owns the choice: the project that holds the study file (where `.halfwave` would be), without what git ignores and
without environments, models and records. Refuses what a cluster's head would refuse, before anything is packed, and
names the largest files. Imports no ray.
"""

import os
import subprocess
import zipfile
from pathlib import Path
from typing import NamedTuple

from orchestrator.workspace import FOLDER, default_workdir
from studies.errors import StudyError

LEFT_OUT = {".git", ".venv", ".models", FOLDER, "__pycache__"}
"""Names of folders that never go along."""
MAX_BYTES = 100 * 2**20
"""What the dashboard takes in one request: ray/_private/ray_constants.py, DASHBOARD_CLIENT_MAX_SIZE."""


class Upload(NamedTuple):
    """The files that go along."""

    root: Path
    """The project's folder, which becomes the job's."""
    files: tuple[Path, ...]
    """Relative to the root."""
    study: Path
    """The study file, relative to the root; one of the files."""

    def pack(self, archive: Path) -> None:
        """Write the archive; the same files make the same bytes, so that Ray uploads them once."""
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as packed:
            for file in self.files:
                packed.write(self.root / file, file)

    def place(self, path: Path, option: str) -> str:
        """A path as the job sees it: an absolute one is the cluster's own, a relative one has to go along."""
        if path.is_absolute():
            return str(path)
        found = path.resolve()
        inside = found.relative_to(self.root) if found.is_relative_to(self.root) else None
        if inside is None or not any(file.is_relative_to(inside) for file in self.files):
            why = f"lies outside of {self.root}" if inside is None else "is absent, ignored by git, or never uploaded"
            raise StudyError(f"{option}: {path} {why}, so the job would not have it; give the cluster's absolute path")
        return str(inside)


def upload(study: Path) -> Upload:
    """The files that go to a cluster with a study file. StudyError if they are too large."""
    study = study.resolve()
    root = default_workdir(study).parent
    relative = study.relative_to(root)
    files = {file for file in _listed(root) if not LEFT_OUT.intersection(file.parts) and (root / file).is_file()}
    found = Upload(root, tuple(sorted(files | {relative})), relative)
    _check_size(found)
    return found


def _listed(root: Path) -> list[Path]:
    """What git knows or would take up; without git, everything."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        answer = subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return list(_walked(root))
    return [Path(os.fsdecode(name)) for name in answer.stdout.split(b"\0") if name]


def _walked(root: Path) -> list[Path]:
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        found.extend(Path(folder, name).relative_to(root) for name in names)
    return found


def _check_size(found: Upload) -> None:
    sizes = {file: (found.root / file).stat().st_size for file in found.files}
    total = sum(sizes.values())
    if total > MAX_BYTES:
        largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:3]
        named = ", ".join(f"{file} ({_mebibytes(sizes[file])})" for file in largest)
        raise StudyError(
            f"{found.root}: {len(sizes)} files of {_mebibytes(total)} would go along, a job takes "
            f"{_mebibytes(MAX_BYTES)}; largest: {named}; let git ignore what the job does not need, or copy it to the "
            "cluster and name it there with --data-root or --model-root"
        )


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
