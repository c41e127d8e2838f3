"""Every place of a study that names a file, with one there that never ends, or that is too large: one line each."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.study import Study
from studies.errors import StudyError
from tests.unit.orchestrator.planning.test_resolve import make_folder

STUDY = """\
study: s
models:
  - {{path: ./a, pickled_weights: true}}
data: {{root: root}}
profile: {{corpus: {corpus}}}
conditions:
  top: {{{select}, clamp: negative}}
evaluate: [{benchmark}]
"""
TOP = "select: top, fraction: 0.1"

PLACES = {
    "corpus": ("x.txt", {"corpus": "x.txt"}, "5: profile.corpus"),
    "wikitext": ("root/wikitext2/train.txt", {"corpus": "wikitext2"}, "5: profile.corpus"),
    "neurons": ("x.csv", {"select": "select: explicit, neurons: x.csv"}, "7: conditions.top.neurons"),
    "table": ("x.parquet", {"select": "select: explicit, neurons: x.parquet"}, "7: conditions.top.neurons"),
    "pairs": ("x.jsonl", {"benchmark": "{pairs: x.jsonl}"}, "8: evaluate.0"),
    "choices": ("x.jsonl", {"benchmark": "{choices: x.jsonl}"}, "8: evaluate.0"),
    "blimp": ("root/blimp/x.jsonl", {"benchmark": "blimp"}, "8: evaluate.0"),
    "pickle": ("root/tse/x.pickle", {"benchmark": "tse"}, "8: evaluate.0"),
    "tasks": ("root/mc/arc_easy.jsonl", {"benchmark": "arc_easy"}, "8: evaluate.0"),
    "conllu": ("x.conllu", {"benchmark": "{surprisal: {corpus: x.conllu}}"}, "8: evaluate.0"),
    "perplexity": ("x.txt", {"benchmark": "{perplexity: {corpus: x.txt}}"}, "8: evaluate.0"),
    **{
        f"model's {name}": (f"a/{name}", {}, "3: models.0")
        for name in (
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "model.safetensors",
            "model.safetensors.index.json",
            "chat_template.jinja",
            "provenance.json",
            "generation_config.json",
            "vocab.txt",
        )
    },
}


def told(root: Path, **parts: str) -> str:
    """What is said of a study with these parts."""
    text = STUDY.format(**({"corpus": "embedded", "select": TOP, "benchmark": "embedded_knowledge"} | parts))
    (root / "s.yaml").write_text(text)
    with pytest.raises(StudyError) as error:
        Study.open(root / "s.yaml", workdir=root / "work")
    return str(error.value)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_folder(tmp_path / "a")
    (tmp_path / "root").mkdir()
    return tmp_path


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [make_pipe, make_zeros])
@pytest.mark.parametrize(("file", "parts", "place"), PLACES.values(), ids=PLACES)
def test_a_file_that_never_ends_is_refused_at_its_place(
    root: Path, file: str, parts: dict[str, str], place: str, make: Callable[[Path], None]
) -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    make(path)
    assert told(root, **parts) == f"{root}/s.yaml:{place}: {path} cannot be read: it is not an ordinary file"


@pytest.mark.parametrize("name", ["tokenizer.json", "chat_template.jinja", "vocab.txt", "own.py"])
def test_a_file_of_a_model_that_no_model_needs_so_large_is_refused(root: Path, name: str) -> None:
    (root / "a" / name).touch()
    os.truncate(root / "a" / name, 2**29)
    assert told(root) == (
        f"{root}/s.yaml:3: models.0: {root}/a/{name} has 512 MiB; at most 256 MiB of such a file are read"
    )


@pytest.mark.parametrize("length", [2**60, 2**27])
def test_a_header_longer_than_any_is_not_read(root: Path, length: int) -> None:
    weights = root / "a" / "model.safetensors"
    weights.write_bytes(struct.pack("<Q", length) + b"{}")
    assert told(root) == (
        f"{root}/s.yaml:3: models.0: {weights} is not a safetensors file: its header has {length:,} bytes; at most "
        "100,000,000 are read"
    )
