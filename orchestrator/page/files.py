"""A page on disk, where it is opened without MLflow.

Owns where it lies below a working folder. Every file is written whole or not at all.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from orchestrator.record.encoding import digest
from studies.errors import StudyError
from studies.reporting.page.render import PAGE, Page

FOLDER = "reports"
BESIDE = "pages/"
"""Folder of the pages beside a page, as artifacts and on disk."""


def page_folder(workdir: Path, study: str) -> Path:
    """The folder of a study's page: `.halfwave/reports/<study>`."""
    return workdir / FOLDER / (re.sub(r"[^\w.-]", "_", study).strip(".") or "_")


def page_files(made: Page) -> dict[str, str]:
    """{path: HTML}, of the page and those beside it, as artifacts and on disk."""
    return {PAGE: made.html, **{BESIDE + name: html for name, html in made.beside.items()}}


def is_written(folder: Path, digests: Mapping[str, str]) -> bool:
    """Whether a page lies there as it was recorded; digests: {path: sha256}."""
    try:
        return all(digest((folder / path).read_bytes()) == sha256 for path, sha256 in digests.items())
    except OSError:
        return False


def write_page(folder: Path, made: Page) -> Path:
    """Write a page and the pages beside it; returns the place of the first. StudyError where that cannot be."""
    try:
        for name, html in page_files(made).items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_name(f".{file.name}.{os.getpid()}")
            unfinished.write_text(html, encoding="utf-8")
            unfinished.replace(file)
    except OSError as error:
        raise StudyError(f"the page cannot be written to {folder}: {error.strerror}") from None
    return folder / PAGE
