"""Made-up texts and studies on disk, and the command as a user types it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

import halfwave


class Answer(NamedTuple):
    """What a command printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]
"""(verb, study file, *options) -> its answer; see the fixture `in_process`."""


def phrases() -> Callable[[int], str]:
    """phrase(count): so many of forty made-up words, the same ones in the same order every time."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), rng.integers(2, 6))) for _ in range(40)]
    return lambda count: " ".join(rng.choice(words, count))


def write_text_and_pairs(folder: Path, phrase: Callable[[int], str], *, num_pairs: int) -> None:
    """`text.txt` and `pairs.jsonl`, of three paradigms."""
    (folder / "text.txt").write_text("\n".join(phrase(12) for _ in range(120)) + "\n")
    pairs = ({"sentence_good": phrase(4), "sentence_bad": phrase(4), "uid": f"u{i % 3}"} for i in range(num_pairs))
    write_jsonl(folder / "pairs.jsonl", pairs)


def write_jsonl(path: Path, rows: Iterable[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_study(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.write_text(text.format(root=root))
    return path


def command(study_file: Path, workdir: Path, verb: str = "run", *options: str) -> list[str]:
    return [sys.executable, "-m", "orchestrator.cli", verb, str(study_file), "--workdir", str(workdir), *options]


def run(study_file: Path, workdir: Path, *options: str, timeout: float = 600) -> subprocess.CompletedProcess:
    called = command(study_file, workdir, "run", *options)
    return subprocess.run(called, capture_output=True, text=True, timeout=timeout)


def hosts() -> set[int]:
    """Process ids of actors and engine workers on this machine."""
    found = set()
    for process in psutil.process_iter(["pid", "cmdline"]):
        name = " ".join(process.info["cmdline"] or ())
        if "ray::Host" in name or "VLLM" in name:
            found.add(process.info["pid"])
    return found


def numbers(workdir: Path, study: str):
    """As `numbers_at`, from the store of a working folder."""
    return numbers_at(f"sqlite:///{workdir / 'mlflow.db'}", study)


def numbers_at(tracking_uri: str, study: str):
    """Every metric of every condition of the study, as recorded in MLflow; no timings among them."""
    frame = halfwave.load(tracking_uri, study).conditions
    values = frame.set_index(["model", "condition"]).sort_index()
    return values.select_dtypes("number").drop(columns=["seed", "fraction"], errors="ignore").sort_index(axis=1)


def assert_same(found, expected, rtol: float = 1e-6) -> None:
    """The same numbers of the same conditions."""
    assert found.index.equals(expected.index) and list(found.columns) == list(expected.columns)
    np.testing.assert_allclose(found.to_numpy(float), expected.to_numpy(float), rtol=rtol, equal_nan=True)
