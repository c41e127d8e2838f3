"""The temporary folder of an actor: short, its own, and the only one that is removed."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.execution.scratch import MARK_FILE
from orchestrator.record.ownership import own_mark

ACTOR = """\
import os, sys, tempfile
from orchestrator.execution import scratch
from torch._inductor.runtime.cache_dir_utils import default_cache_dir
folder = scratch.use_own_folder()
assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(folder)
open(folder / "socket", "w").close()
print(folder, os.path.realpath(default_cache_dir()))
if sys.argv[1:] == ["closed"]:
    scratch.remove(folder)
"""


def actor(parent: Path, *words: str) -> tuple[Path, str]:
    """Start one whose usual temporary folder this is; returns its own folder, and the place of the compiler's cache."""
    done = subprocess.run(
        [sys.executable, "-c", ACTOR, *words], env=os.environ | {"TMPDIR": str(parent)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    folder, cache = done.stdout.split()
    return Path(folder), cache


@pytest.fixture
def parent() -> Iterator[Path]:
    """A folder with a short path, wherever pytest keeps its own."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_it_is_removed_when_the_actor_is_closed_and_else_by_the_next_actor(parent: Path) -> None:
    folder, cache = actor(parent, "closed")
    assert folder.parent == parent and not folder.exists()
    assert Path(cache).parent == parent and Path(cache).exists(), "what a compiler keeps stays where it was"
    killed, _ = actor(parent)
    assert (killed / "socket").exists()
    foreign = {Path(cache), parent / "hw-notes", parent / "hw-copy", parent / "hw-living"}
    for place in foreign - {Path(cache)}:
        place.mkdir()
    (parent / "hw-copy" / MARK_FILE).write_text("not a mark")
    (parent / "hw-living" / MARK_FILE).write_text(own_mark())
    (parent / "hw-link").symlink_to(killed)
    actor(parent, "closed")
    assert set(parent.iterdir()) == foreign | {parent / "hw-link"}


def test_below_a_long_path_it_is_elsewhere(parent: Path) -> None:
    deep = parent / ("d" * 60)
    deep.mkdir()
    folder, cache = actor(deep, "closed")
    assert folder.parent == Path("/tmp") and Path(cache).parent == deep
    assert len(f"{folder}/{'u' * 36}") < 107
