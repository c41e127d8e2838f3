"""The temporary folder of one actor's process: short, its own, and removed afterwards.

vLLM puts sockets into the temporary folder and leaves them there; the path of a socket has at most 107 bytes, and some
clusters' TMPDIR is longer than that. What a killed actor left is removed by the next one on its machine, by the mark in
the folder; nothing else in the temporary folder is touched. What PyTorch compiles is worth keeping: it looks for it in
the temporary folder by name (torch/_inductor/runtime/cache_dir_utils.py), where a link leads to the usual place.
"""

import contextlib
import getpass
import os
import re
import shutil
import tempfile
from pathlib import Path

from orchestrator.record.ownership import MARK, is_abandoned, own_mark

PREFIX, MARK_FILE = "hw-", ".halfwave"
MAX_PARENT_BYTES = 50
"""Longest path of a parent folder: with ours and the name of a socket, a UUID, it stays below 107 bytes."""
SHORT = Path("/tmp")


def use_own_folder() -> Path:
    """Make the temporary folder of this process and of those it starts; returns it, for `remove`."""
    usual = Path(tempfile.gettempdir())
    parent = usual if len(os.fsencode(usual)) <= MAX_PARENT_BYTES else SHORT
    for left in parent.glob(f"{PREFIX}*/{MARK_FILE}"):
        _remove_abandoned(left)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    (folder / MARK_FILE).write_text(own_mark(), encoding="utf-8")
    cache = usual / f"torchinductor_{_user()}"
    with contextlib.suppress(OSError):  # it is compiled anew
        cache.mkdir(exist_ok=True)
        (folder / cache.name).symlink_to(cache)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    return folder


def remove(folder: Path) -> None:
    """Remove this process's folder; it has none afterwards."""
    shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(mark_file: Path) -> None:
    folder = mark_file.parent
    with contextlib.suppress(OSError, UnicodeDecodeError):  # another user's, or gone meanwhile
        mark = mark_file.read_text(encoding="utf-8")
        if not folder.is_symlink() and re.fullmatch(MARK, mark) and is_abandoned(folder, mark):
            shutil.rmtree(folder, ignore_errors=True)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in some containers
        return f"uid_{os.getuid()}"
