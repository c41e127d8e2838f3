"""sha256 of local files, remembered between runs, so that a resume need not read the weights.

Owns `digests.json` in the working folder. Refuses to know what a digest is for.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from actors.model_files import FileDigests, signature


class DigestCache(FileDigests):
    """The digests that the file at `path` remembers."""

    def digest(self, files: Iterable[Path]) -> str:
        """One digest of several files, of their names and contents."""
        whole = hashlib.sha256()
        for file in files:
            whole.update(f"{file.name}:{self.sha256(file)}\n".encode())
        return whole.hexdigest()

    def stale(self) -> list[str]:
        """The entries whose file is gone or has changed since."""
        return [entry for entry in self._known if not _holds(entry)]


def _holds(entry: str) -> bool:
    try:
        return signature(Path(entry.rsplit("|", 4)[0])) == entry
    except (OSError, ValueError):
        return False
