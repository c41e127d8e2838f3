"""Where a tracking server or a database may have this machine write and read artifacts.

A server names a place for each run. One that it serves itself is reached with what reaches the server; any other, a
folder or a bucket, would be reached with this machine's files and keys, and so is used only below the place that the
user allows. A SQLite store keeps its artifacts beside it, whatever it names: see `local_store`.
"""

import os
import re
import shlex
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from orchestrator.record.client.failures import RecordError
from orchestrator.record.local_store import folder_of
from orchestrator.redaction import redacted

VARIABLE = "HALFWAVE_ARTIFACT_ROOT"
"""The variable in place of `--artifact-root`."""
_SERVICE = "/api/2.0/mlflow-artifacts/artifacts"
"""Where a tracking server serves artifacts."""
_PROXIED = re.compile(r"mlflow-artifacts:(?://([^/]+))?(/.*)")
_ODD = re.compile(r"[\x00-\x20\x7f?#%\\]|//|(^|/)\.\.?(/|$)")
"""What no path of a server's own has, and what might be read as another place by whoever parses it again."""


class ArtifactPlaces:
    """The places of artifacts that may be used with one tracking URI."""

    def __init__(self, tracking_uri: str, root: str | None = None) -> None:
        """root: a folder, or the URI of a folder or bucket, below which any place is allowed; default: what `VARIABLE`
        says, else none. RecordError for one that cannot be read."""
        self._uri, self._server = redacted(tracking_uri), tracking_uri
        self._root = root or os.environ.get(VARIABLE) or ""
        try:
            folder = folder_of(self._root) if self._root else None
        except ValueError as error:
            raise RecordError(f"--artifact-root: {self._root!r} is neither a folder nor a URI: {error}") from None
        if folder is not None:
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
        """Whether MLflow asks the tracking server itself for it (mlflow/store/artifact/mlflow_artifacts_repo.py,
        `resolve_uri`), however often the text is taken apart and put together again."""
        if not self._server.startswith(("http://", "https://")):
            return False
        if match := _PROXIED.fullmatch(place):
            host = urlsplit(self._server).netloc.rpartition("@")[2]
            return match[1] in (None, host) and not _ODD.search(match[2])
        own = self._server.rstrip("/") + _SERVICE
        return place.startswith(f"{own}/") and not _ODD.search(place.removeprefix(own))


def _is_below(place: str, root: str) -> bool:
    try:
        folder, above = folder_of(place), folder_of(root)
        if folder is not None:
            return above is not None and folder.resolve().is_relative_to(above.resolve())
        parts, above_parts = urlsplit(place), urlsplit(root)
    except ValueError:
        return False
    path = PurePosixPath(unquote(parts.path) or "/")
    return (
        parts._replace(path="") == above_parts._replace(path="")
        and ".." not in path.parts
        and path.is_relative_to(PurePosixPath(unquote(above_parts.path) or "/"))
    )
