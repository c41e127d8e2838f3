"""What git says of a folder, asked so that nothing of the folder runs.

A repository's own configuration names programs for many of git's commands: monitors of the file system, hooks, filters,
transports, pagers. Owns every call of git. Only commands that list names and objects are made; hooks, the monitor and
fetching are switched off; and no `GIT_` variable of the environment turns them elsewhere, but for those that say where
the user's own configuration is.
Invariant: git runs no other program, and waits for none.
"""

import hashlib
import os
import subprocess
import tomllib
from pathlib import Path

OPTIONS = ("-c", "core.fsmonitor=", "-c", "core.hooksPath=/dev/null", "--no-pager", "--no-optional-locks")
KEPT = (
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CEILING_DIRECTORIES",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
)
"""Variables that are the user's own."""
QUIET = {"GIT_ALLOW_PROTOCOL": "", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
"""Nothing is fetched, whatever an object that is missing says of where it can be had."""
SECONDS = 60.0
"""How long git may take: an answer that does not come counts as none."""
LINK, SUBMODULE = b"120000", b"160000"


def listed_files(folder: Path) -> list[Path] | None:
    """The files below a folder that git tracks or would add, relative to it; None outside of a repository."""
    answer = _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if answer is None:
        return None
    files = (Path(os.fsdecode(name)) for name in answer.split(b"\0") if name)
    return [file for file in files if not file.is_absolute() and ".." not in file.parts]


def own_commit() -> str:
    """The commit of Halfwave's own checkout, with `-dirty` after local changes; empty where it runs from none."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists() or not _is_halfwave(root / "pyproject.toml"):
        return ""
    top = _git(root, "rev-parse", "--show-toplevel")
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    tree = _git(root, "ls-tree", "-r", "-z", "--full-tree", "HEAD")
    if top is None or commit is None or tree is None or Path(os.fsdecode(top.rstrip(b"\n"))).resolve() != root:
        return ""
    changed = any(_is_changed(root, entry) for entry in tree.split(b"\0") if entry)
    return commit.decode().strip() + ("-dirty" if changed else "")


def _is_halfwave(pyproject: Path) -> bool:
    try:
        return tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["name"] == "halfwave"
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _is_changed(root: Path, entry: bytes) -> bool:
    """Whether a file differs from what the commit has of it. Its content is hashed here: git would filter it first."""
    kind, _, name = entry.partition(b"\t")
    mode, _, digest = kind.split()
    path = root / os.fsdecode(name)
    if mode == SUBMODULE:
        return False
    try:
        content = os.fsencode(os.readlink(path)) if mode == LINK else path.read_bytes() if path.is_file() else None
    except OSError:
        return True
    if content is None:
        return True
    hashed = b"blob %d\0" % len(content) + content
    made = hashlib.sha1(hashed, usedforsecurity=False) if len(digest) == 40 else hashlib.sha256(hashed)
    return made.hexdigest().encode() != digest


def _git(folder: Path, *command: str) -> bytes | None:
    """What git answers; None without git, outside of a repository, and where it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in KEPT}
    try:
        answer = subprocess.run(
            ["git", *OPTIONS, "-C", str(folder), *command],
            capture_output=True,
            check=False,
            env=environment | QUIET,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout if answer.returncode == 0 else None
