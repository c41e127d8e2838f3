"""Where a tracking server or a database may have this machine write and read artifacts.

A server names a place for each run. One that it serves itself is reached with what reaches the server; any other, a
folder or a bucket, would be reached with this machine's files and keys, and so is used only below the place that the
user allows. A SQLite store keeps its artifacts beside it, whatever it names: see `local_store`.
"""

import os
import shlex
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from orchestrator.record.client.failures import RecordError
from orchestrator.record.local_store import folder_of
from orchestrator.redaction import redacted

VARIABLE = "HALFWAVE_ARTIFACT_ROOT"
"""The variable in place of `--artifact-root`."""


class ArtifactPlaces:
    """The places of artifacts that may be used with one tracking URI."""

    def __init__(self, tracking_uri: str, root: str | None = None) -> None:
        """root: a folder, or the URI of a folder or bucket, below which any place is allowed; default: what `VARIABLE`
        says, else none."""
        self._uri, self._server = redacted(tracking_uri), urlsplit(tracking_uri)
        self._root = root or os.environ.get(VARIABLE) or ""
        if self._root and (folder := folder_of(self._root)) is not None:
            self._root = Path(os.path.abspath(folder.expanduser())).as_uri()

    def check(self, place: str, what: str) -> None:
        """RecordError if the artifacts of a study or run, at this URI, may not be written and read."""
        if self._is_proxied(place) or (self._root and _is_below(place, self._root)):
            return
        shown = redacted(place)
        raise RecordError(
            f"{what} has its artifacts at {shown}, which MLflow at {self._uri} does not serve itself: this machine's "
            f"files or keys would be used there; if that is right, allow it with --artifact-root {shlex.quote(shown)} "
            "or a place above it"
        )

    def for_database(self) -> str:
        """Where a new study in a database gets its artifacts. RecordError without a root."""
        if not self._root:
            raise RecordError(
                f"MLflow at {self._uri} is a database and serves no artifacts; name a folder or bucket for them with "
                "--artifact-root"
            )
        return self._root

    def _is_proxied(self, place: str) -> bool:
        """Whether a request for it goes to the tracking server itself, as MLflow resolves it (mlflow/store/artifact/
        mlflow_artifacts_repo.py, `resolve_uri`)."""
        parts, host = urlsplit(place), self._server.netloc.rpartition("@")[2]
        if self._server.scheme not in ("http", "https"):
            return False
        if parts.scheme == "mlflow-artifacts":
            return parts.netloc in ("", host)
        return (parts.scheme, parts.netloc) == (self._server.scheme, host)


def _is_below(place: str, root: str) -> bool:
    if (folder := folder_of(place)) is not None:
        above = folder_of(root)
        return above is not None and folder.resolve().is_relative_to(above.resolve())
    parts, above_parts = urlsplit(place), urlsplit(root)
    path = PurePosixPath(unquote(parts.path) or "/")
    return (
        parts._replace(path="") == above_parts._replace(path="")
        and ".." not in path.parts
        and path.is_relative_to(PurePosixPath(unquote(above_parts.path) or "/"))
    )
