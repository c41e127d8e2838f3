"""What actors refuse to load: anything but the files that were pinned, local or in the hub's cache."""

import hashlib
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import constants

from actors.loaded_files import cache_file, unchanged, verify
from actors.messages.model import ModelSource
from actors.model_files import model_files, sha256
from studies.errors import StudyError
from tests.hub import COMMIT, digest
from tests.tampering import flip, replace

HERE = platform.node()
CONTENT = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"{} "}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of this node's user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def source_of(path: str, **fields: object) -> ModelSource:
    sizes = {"num_layers": 1, "d_mlp": 1, "d_model": 1, "context": 1, "vocabulary": 1}
    return ModelSource(label="m", path=path, family="llama", **{**sizes, **fields})


def write(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "m")


def pinned(folder: Path) -> ModelSource:
    files = model_files(folder, pickled=False)
    return source_of(str(folder), files={name: sha256(path) for name, path in files.items()})


# -- local folders ---------------------------------------------------------------------------------------------------

NOT_PLANNED = (
    ": not the model that the study was planned with; run again, and the model as it is now gets steps of its own"
)


def other_sha(file: Path) -> str:
    return f"is another file (sha256 {sha256(file)[:12]}, not {hashlib.sha256(CONTENT[file.name]).hexdigest()[:12]})"


CHANGES: dict[str, tuple[Callable[[Path], object], str, Callable[[Path], str]]] = {
    "flipped in place": (flip, "model.safetensors", other_sha),
    "replaced": (replace, "model.safetensors", other_sha),
    "another config": (lambda file: file.write_bytes(b"[]"), "config.json", other_sha),
    "gone": (Path.unlink, "tokenizer.json", lambda _: "is gone"),
    "code that is new": (Path.touch, "own.py", lambda _: "is new"),
    "an adapter that is new": (Path.touch, "adapter_config.json", lambda _: "is new"),
}


@pytest.mark.parametrize(("change", "name", "problem"), CHANGES.values(), ids=CHANGES)
def test_what_is_not_what_was_pinned_is_not_loaded(folder: Path, change, name: str, problem) -> None:
    source, file = pinned(folder), folder / name
    with unchanged(source):
        pass
    change(file)
    with pytest.raises(StudyError) as caught, unchanged(source):
        pytest.fail("it was loaded")
    assert str(caught.value) == f"m: {file} on {HERE} {problem(file)}{NOT_PLANNED}"


def test_what_changes_while_it_is_loaded_is_refused(folder: Path) -> None:
    source, file = pinned(folder), folder / "model.safetensors"
    with pytest.raises(StudyError) as caught, unchanged(source):
        flip(file)
    assert str(caught.value) == f"m: {file} on {HERE} {other_sha(file)}{NOT_PLANNED}"


def test_a_file_rewritten_while_it_is_loaded_may_have_been_read_in_part(folder: Path) -> None:
    with pytest.raises(StudyError) as caught, unchanged(pinned(folder)):
        (folder / "model.safetensors").write_bytes(CONTENT["model.safetensors"])
    assert str(caught.value) == (
        f"m: model.safetensors in {folder} changed while it was loaded on {HERE}; run again once nothing writes there"
    )


def test_a_loaders_error_is_the_change_behind_it_or_itself(folder: Path) -> None:
    source = pinned(folder)
    with pytest.raises(ValueError, match="no such option"), unchanged(source):
        raise ValueError("no such option")
    with pytest.raises(StudyError, match="is gone") as caught, unchanged(source):
        (folder / "model.safetensors").unlink()
        raise OSError("no weights")
    assert str(caught.value.__cause__) == "no weights"


def test_a_folder_that_is_gone_is_one_line(folder: Path) -> None:
    source = pinned(folder)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(StudyError) as caught:
        verify(source)
    assert str(caught.value) == f"m: {folder} cannot be read on {HERE}: No such file or directory"


def test_a_copy_on_another_node_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    source = pinned(folder)
    moved = folder.rename(tmp_path / "other-node")
    write(folder)
    assert moved.stat().st_ino != folder.stat().st_ino
    with unchanged(source):
        pass


# -- what a node remembers -------------------------------------------------------------------------------------------


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose content is hashed."""
    names: list[str] = []
    hash_file = hashlib.file_digest

    def noted(stream, algorithm):
        names.append(Path(stream.name).name)
        return hash_file(stream, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", noted)
    return names


def test_a_node_hashes_a_file_once(folder: Path, read: list[str]) -> None:
    source = pinned(folder)
    read.clear()
    for _ in range(2):
        with unchanged(source):
            pass
    assert sorted(read) == sorted(CONTENT)


def test_actors_that_start_at_once_hash_a_file_once(folder: Path, read: list[str]) -> None:
    source = pinned(folder)
    read.clear()
    actors = [Thread(target=verify, args=[source]) for _ in range(8)]
    for actor in actors:
        actor.start()
    for actor in actors:
        actor.join()
    assert sorted(read) == sorted(CONTENT)


def test_a_cache_that_cannot_be_written_costs_time_only(folder: Path, home: Path, read: list[str]) -> None:
    home.write_text("not a folder")
    source = pinned(folder)
    with unchanged(source):
        pass
    flip(folder / "model.safetensors")
    with pytest.raises(StudyError, match="is another file"):
        verify(source)


def test_a_wrong_digest_in_the_cache_refuses_nothing(folder: Path) -> None:
    source = pinned(folder)
    verify(source)
    known = json.loads(cache_file().read_text())
    cache_file().write_text(json.dumps(dict.fromkeys(known, "0" * 64)))
    verify(source)


def test_the_cache_lies_in_the_users_cache_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_file() == home / "halfwave" / "digests.json"
    monkeypatch.setenv("HOME", "/somebody")
    for unusable in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert cache_file() == Path("/somebody/.cache/halfwave/digests.json")


# -- the hub ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the pinned commit of org/m, as the hub's client leaves it: links to blobs."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    repository = tmp_path / "hub" / "models--org--m"
    folder = repository / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for name, content in CONTENT.items():
        blob = repository / "blobs" / digest(name, content)
        blob.write_bytes(content)
        (folder / name).symlink_to(os.path.relpath(blob, folder))
    return folder


PINNED = {name: digest(name, content) for name, content in CONTENT.items()}


def of_hub(*, is_pinned: bool) -> ModelSource:
    """is_pinned: whether the hub told the driver the digests."""
    return source_of("org/m", revision=COMMIT, files=PINNED if is_pinned else {})


def to_copies(snapshot: Path) -> None:
    """As on a system without links."""
    for name, content in CONTENT.items():
        (snapshot / name).unlink()
        (snapshot / name).write_bytes(content)


def point_at(file: Path, target: Path) -> None:
    file.unlink()
    file.symlink_to(target)


@pytest.mark.parametrize("is_pinned", [True, False])
@pytest.mark.parametrize("copied", [True, False])
def test_a_snapshot_of_the_pinned_commit_is_loaded(snapshot: Path, copied: bool, is_pinned: bool) -> None:
    if copied:
        to_copies(snapshot)
    with unchanged(of_hub(is_pinned=is_pinned)):
        pass


def test_what_is_fetched_while_it_is_loaded_is_verified_afterwards(snapshot: Path) -> None:
    away = snapshot.rename(snapshot.with_name("away"))
    with unchanged(of_hub(is_pinned=True)):
        away.rename(snapshot)
    snapshot.rename(away)
    with pytest.raises(StudyError, match="holds other content"), unchanged(of_hub(is_pinned=True)):
        away.rename(snapshot)
        flip(snapshot / "model.safetensors")


@pytest.mark.parametrize("is_pinned", [True, False])
def test_a_blob_that_is_not_what_its_name_says_is_refused(snapshot: Path, is_pinned: bool) -> None:
    blob = (snapshot / "model.safetensors").resolve()
    flip(blob)
    with pytest.raises(StudyError) as caught:
        verify(of_hub(is_pinned=is_pinned))
    expected = PINNED["model.safetensors"][:12]
    assert str(caught.value) == (
        f"m: {snapshot}/model.safetensors on {HERE} holds other content ({sha256(blob)[:12]}, not {expected}): not "
        f"org/m at {COMMIT}; remove {blob} and run again, and it is fetched anew"
    )


def other_blob(snapshot: Path, content: bytes = b"other weights") -> Path:
    """A blob of another commit of the repository."""
    blob = snapshot.parent.parent / "blobs" / digest("model.safetensors", content)
    blob.write_bytes(content)
    return blob


HUB_CHANGES: dict[str, tuple[Callable[[Path], object], bool, str]] = {
    "config changed": (lambda s: flip(s / "config.json"), True, "config.json on {here} holds other content"),
    "link to another blob": (
        lambda s: point_at(s / "model.safetensors", other_blob(s)),
        True,
        "model.safetensors on {here} holds other content",
    ),
    "link out of the cache": (
        lambda s: point_at(s / "model.safetensors", write(s.parent.parent / "away") / "model.safetensors"),
        False,
        "model.safetensors on {here} is a link that leaves the cache",
    ),
    "file of no commit": (lambda s: (s / "own.py").touch(), True, "own.py on {here} is not in the commit"),
    "copy that changed": (
        lambda s: (to_copies(s), flip(s / "model.safetensors")),
        True,
        "model.safetensors on {here} holds other content",
    ),
}


@pytest.mark.parametrize(("change", "is_pinned", "piece"), HUB_CHANGES.values(), ids=HUB_CHANGES)
def test_what_is_not_of_the_commit_is_refused(snapshot: Path, change, is_pinned: bool, piece: str) -> None:
    change(snapshot)
    with pytest.raises(StudyError) as caught:
        verify(of_hub(is_pinned=is_pinned))
    assert piece.format(here=HERE) in str(caught.value) and "\n" not in str(caught.value)


def test_a_link_retargeted_while_it_is_loaded_is_refused(snapshot: Path) -> None:
    with pytest.raises(StudyError, match="changed while it was loaded"), unchanged(of_hub(is_pinned=False)):
        point_at(snapshot / "model.safetensors", other_blob(snapshot))


def test_a_folder_that_loaders_would_take_for_the_repository_is_refused(snapshot: Path, tmp_path: Path) -> None:
    write(tmp_path / "org" / "m")
    with pytest.raises(StudyError) as caught:
        verify(of_hub(is_pinned=True))
    assert str(caught.value) == (
        f"m: loaders prefer the folder {tmp_path}/org/m to the hub's org/m; run from another folder, or write "
        "path: ./org/m beside the model"
    )
