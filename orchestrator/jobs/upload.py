"""The upload of a study's project to a cluster: which files, and the archive they are packed in.

Owns the choice of files: the project of the study file (the folder of its default `.halfwave`), without what git
ignores and without environments, models and records. Imports no ray.
Invariant: an upload that the cluster would refuse for its size is refused here, before anything is packed, with the
names of its largest files.
"""

import os
import zipfile
from pathlib import Path
from typing import NamedTuple

from orchestrator.checkout import listed_files
from orchestrator.workspace import FOLDER, default_workdir
from studies.errors import StudyError

LEFT_OUT = {".git", ".venv", ".models", FOLDER, "__pycache__"}
"""Names of folders that are never uploaded."""
MAX_BYTES = 100 * 2**20
"""Limit of one request to the dashboard: ray/_private/ray_constants.py, DASHBOARD_CLIENT_MAX_SIZE."""


class Upload(NamedTuple):
    """The files of a project that a job gets."""

    root: Path
    """The project's folder; a copy of it becomes the job's working directory."""
    files: tuple[Path, ...]
    """Relative to the root."""
    study: Path
    """The study file, relative to the root; one of the files."""

    def pack(self, archive: Path) -> None:
        """Write the files as a zip archive. The same files give the same bytes, so that Ray uploads them once.

        An empty working folder goes along, so that the job finds the same project around the study file.
        """
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as packed:
            packed.writestr(zipfile.ZipInfo(f"{FOLDER}/"), b"")
            for file in self.files:
                packed.write(self.root / file, file)

    def path_in_job(self, path: Path, option: str) -> str:
        """A path from the command line as the job sees it.

        An absolute path is one on the cluster. A relative one must be among the files; raises StudyError, naming the
        option, if it is not.
        """
        if path.is_absolute():
            return str(path)
        resolved = path.resolve()
        inside = resolved.relative_to(self.root) if resolved.is_relative_to(self.root) else None
        if inside is None or not any(file.is_relative_to(inside) for file in self.files):
            why = f"lies outside of {self.root}" if inside is None else "is absent, ignored by git, or never uploaded"
            raise StudyError(f"{option}: {path} {why}, so the job would not have it; give the cluster's absolute path")
        return str(inside)


def choose_files(study: Path) -> Upload:
    """The files to upload with a study file. Raises StudyError if they are larger than `MAX_BYTES` together."""
    study = study.resolve()
    root = default_workdir(study).parent
    relative = study.relative_to(root)
    files = {file for file in _listed(root) if not LEFT_OUT.intersection(file.parts) and (root / file).is_file()}
    upload = Upload(root, tuple(sorted(files | {relative})), relative)
    _check_size(upload)
    return upload


def _listed(root: Path) -> list[Path]:
    """The files that git tracks or would add; outside a git repository, all."""
    listed = listed_files(root)
    return _walked(root) if listed is None else listed


def _walked(root: Path) -> list[Path]:
    files: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        files.extend(Path(folder, name).relative_to(root) for name in names)
    return files


def _check_size(upload: Upload) -> None:
    sizes = {file: (upload.root / file).stat().st_size for file in upload.files}
    total = sum(sizes.values())
    if total > MAX_BYTES:
        largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:3]
        named = ", ".join(f"{file} ({_mebibytes(sizes[file])})" for file in largest)
        raise StudyError(
            f"{upload.root}: {len(sizes)} files of {_mebibytes(total)} would be uploaded, a job takes "
            f"{_mebibytes(MAX_BYTES)}; largest: {named}; let git ignore what the job does not need, or copy it to the "
            "cluster and name its path there with --data-root or --model-root"
        )


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
