"""Mutated files of items, texts, neurons and models: each is valid, or `validate` refuses it in lines with a place.

The mutants are made from small valid files of every kind that a study file can name: from their rows, their text and
their bytes; some become a folder or a link to nothing. `show(number)` makes the mutant of that number again.
"""

import json
import os
import pickle
import random
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.study import Study
from studies.benchmarks.texts import Continuations, Documents, Sentences, TextRequest, Windows
from studies.errors import StudyError
from tests import oracles
from tests.unit.orchestrator.planning.test_resolve import CONFIG, make_folder
from tests.unit.orchestrator.study_file.test_fuzz import VALUES, lines

NUM_LONG = 2_000
PER_WORKER = 250

HEAD = """\
study: items
models: [./model]
data: {root: data}
profile: {corpus: CORPUS, window: 16}
conditions:
  listed: {select: explicit, neurons: NEURONS, clamp: negative}
evaluate:
  - EVALUATION
"""
PAIR = {"sentence_good": "She runs.", "sentence_bad": "She run."}
RAW = {"support": "", "sentence": "So _ b", "option1": "A", "option2": "C", "answer": "1"}
ITEM = {"context": "The sky is", "choices": ["A b", "C b"], "gold": 0, "raw": RAW}
CONLLU = (
    "# newdoc\n1-2\tcan't\t_\t_\t_\t_\t_\t_\t_\t_\n1\tca\tcan\tAUX\t_\t_\t2\taux\t_\t_\n2\tn't\tnot\tPART\t_\t_\t0"
    "\troot\t_\t_\n2.1\tx\tx\tVERB\t_\t_\t_\t_\t_\t_\n3\t.\t.\tPUNCT\t_\t_\t2\tpunct\t_\tSpaceAfter=No\n\n"
)
PROSE = "".join(f" = Title {i} = \n\n the cat sat on text {i} .\n\n" for i in range(20))


def rows_of(row: dict[str, Any], **ids: Callable[[int], Any]) -> str:
    return lines([{**row, **{name: made(i) for name, made in ids.items()}} for i in range(4)])


def number(i: int) -> str:
    return str(i)


KINDS: dict[str, tuple[str, str | bytes, str]] = {
    "pairs": ("pairs.jsonl", rows_of({**PAIR, "uid": "u", "phenomenon": "p"}), "pairs: pairs.jsonl"),
    "choices": ("choices.jsonl", rows_of(ITEM, id=number), "choices: choices.jsonl"),
    "blimp": ("data/blimp/u.jsonl", rows_of({**PAIR, "UID": "u", "linguistics_term": "t"}, pairID=number), "blimp"),
    "tse": ("data/tse/simple_agrmt.jsonl", rows_of({**PAIR, "case": "c"}), "tse"),
    "tse pickle": (
        "data/tse/vp.pickle",
        pickle.dumps({"c": [("She runs.", "She run.")] * 3, "d": [("a", "b", "c")]}),
        "tse",
    ),
    **{
        task: (f"data/mc/{task}.jsonl", rows_of(ITEM, id=number, gold=lambda i: i % 2), task)
        for task in ("arc_easy", "boolq", "sciq", "winogrande")
    },
    "conllu": ("gold.conllu", CONLLU * 2, "surprisal: {corpus: gold.conllu, window: 16}"),
    "text": ("text.txt", PROSE, "perplexity: {corpus: text.txt, window: 16}"),
    "wikitext2": ("data/wikitext2/validation.txt", PROSE, "perplexity: {window: 16}"),
    "scoring text": ("scored.txt", PROSE, "embedded_knowledge"),
    "csv": ("neurons.csv", "layer,neuron\n0,1\n1,2\n", "embedded_knowledge"),
    "parquet": ("neurons.parquet", b"", "embedded_knowledge"),
    "config": ("model/config.json", json.dumps(CONFIG), "embedded_knowledge"),
    "weights": ("model/model.safetensors", b"", "embedded_knowledge"),
    "tokenizer": ("model/tokenizer.json", "", "embedded_knowledge"),
    "tokenizer config": ("model/tokenizer_config.json", "", "embedded_knowledge"),
    "provenance": ("model/provenance.json", json.dumps({"note": "dequantised"}), "embedded_knowledge"),
}
"""{kind: (file, content, an evaluation that reads it)}; content that libraries write is filled in by `contents`."""


def write_world(root: Path) -> dict[str, bytes]:
    """A study of every kind of file, in a folder each would be too slow; returns {kind: valid content of its file}."""
    oracles.make_tokenizer(make_folder(root / "model"), "$A")
    pd.DataFrame({"layer": [0, 1], "neuron": [1, 2]}).to_parquet(root / "neurons.parquet")
    header = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "__metadata__": {"a": "b"}}
    text = json.dumps(header).encode()
    (root / "model" / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    contents = {}
    for kind, (name, content, _) in KINDS.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        contents[kind] = path.read_bytes()
    return contents


def study_of(kind: str) -> str:
    """A study file that reads the file of a kind."""
    name, _, evaluation = KINDS[kind]
    neurons = name if kind in ("csv", "parquet") else "{0: [1]}"
    corpus = name if kind == "scoring text" else "embedded"
    return HEAD.replace("CORPUS", corpus).replace("NEURONS", neurons).replace("EVALUATION", evaluation)


# -- mutations ---------------------------------------------------------------------------------------------------------

PIECES = (
    b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r", b"\t", b"\n", b"\\ud800", b"\\u0000", b"NaN", b"-Infinity", b"1e999",
    b"null", b"true", b'"', b"{", b"}", b"[" * 3000, b"9" * 5000, b"-1", b"1.5", b",", b",,", b"_", b"1-2", b"8.1",
    b"#", b"# newdoc", "\u2028".encode(), "\U0001f4a5".encode(), "\x85".encode(), b"x" * 3000, b"=", b"layer,",
    b"\xed\xa0\x80",
)  # fmt: skip
FIELDS = (
    "sentence_good", "sentence_bad", "uid", "phenomenon", "UID", "linguistics_term", "pairID", "pair_id", "case", "id",
    "context", "choices", "gold", "raw", "support", "sentence", "option1", "answer", "model_type", "hidden_size",
    "num_hidden_layers", "intermediate_size", "hidden_act", "max_position_embeddings", "vocab_size", "architectures",
    "rope_scaling", "sliding_window", "layer_types", "head_dim", "quantization_config", "torch_dtype", "auto_map",
    "text_config", "note", "bos_token", "eos_token", "data_offsets", "dtype", "",
)  # fmt: skip


def mutant(kind: str, content: bytes, generator: random.Random) -> bytes:
    is_json = kind in ("config", "provenance", "tokenizer config", "tokenizer") or KINDS[kind][0].endswith(".jsonl")
    if kind == "weights" and generator.random() < 0.6:
        header = _json(content[8:-8], generator)
        return struct.pack("<Q", len(header)) + header + content[-8:]
    if is_json and generator.random() < 0.6:
        parts = content.split(b"\n") if KINDS[kind][0].endswith(".jsonl") else [content]
        at = generator.randrange(max(1, len(parts) - 1))
        parts[at] = _json(parts[at], generator)
        return b"\n".join(parts)
    if kind == "tse pickle" and generator.random() < 0.5:
        cases = pickle.loads(content)
        cases[generator.choice((*cases, *filter(_hashable, VALUES)))] = generator.choice(
            (
                *VALUES,
                [generator.choice(VALUES)],
                [("a", generator.choice(VALUES))],
                [("a", "b", generator.choice(VALUES))],
            )
        )
        return pickle.dumps(cases, protocol=generator.randrange(5))
    return _bytes(content, generator)


def _hashable(value: Any) -> bool:
    return not isinstance(value, list | dict)


def _json(line: bytes, generator: random.Random) -> bytes:
    """Drop, double, rename or replace a key or a value; swap types."""
    row = json.loads(line)
    holders = list(_holders(row))
    for _ in range(generator.choice((1, 1, 2))):
        holder = generator.choice(holders)
        key = generator.choice(list(holder)) if holder else generator.choice(FIELDS)
        value = generator.choice((*VALUES, *holder.values(), str(holder.get(key)), [holder.get(key)]))
        match generator.randrange(4):
            case 0:
                holder.pop(key, None)
            case 1:
                holder[generator.choice(FIELDS)] = holder.pop(key, None)
            case 2:
                holder[generator.choice(FIELDS)] = value
            case 3:
                holder[key] = value
    text = _dumped(row, ascii_only=generator.random() < 0.5)
    if generator.random() < 0.1:  # a key twice
        text = text.replace("{", '{"uid": 1, "gold": 0, "uid": 2, ', 1)
    return text.encode("utf-8", "surrogatepass")


def _dumped(row: Any, *, ascii_only: bool) -> str:
    try:
        return json.dumps(row, ensure_ascii=ascii_only)
    except ValueError:  # a number of too many digits
        return '{"gold": ' + "9" * 5000 + "}"


def _holders(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _holders(value)


def _bytes(content: bytes, generator: random.Random) -> bytes:
    """Cut off, cut out, insert, flip, encode differently, or change lines and columns."""
    at, other = sorted(generator.randrange(len(content) + 1) for _ in range(2))
    rows = content.split(b"\n")
    line = generator.randrange(len(rows))
    match generator.randrange(9):
        case 0:
            return content[:at]
        case 1:
            return content[:at] + content[other:]
        case 2 | 3:
            return content[:at] + generator.choice(PIECES) + content[at:]
        case 4:
            return bytes(byte ^ (generator.random() < 0.02) * generator.randrange(256) for byte in content)
        case 5:
            text = content.decode("latin-1")
            return text.encode(generator.choice(("utf-16", "utf-8-sig", "utf-32", "latin-1")))
        case 6:
            del rows[line]
        case 7:
            rows.insert(generator.randrange(len(rows) + 1), rows[line])
        case 8:
            separator = b"\t" if b"\t" in rows[line] else b","
            columns = rows[line].split(separator)
            columns[generator.randrange(len(columns))] = generator.choice((*PIECES, b""))
            rows[line] = separator.join(columns)
    return b"\n".join(rows)


def place(path: Path, content: bytes, generator: random.Random) -> None:
    """Put the mutant in the place of the file: now and then as a folder, a link to nothing, or nothing."""
    chance = generator.random()
    if chance < 0.02:
        path.mkdir()
    elif chance < 0.04:
        path.symlink_to(path.with_name("absent"))
    elif chance > 0.01 * 5:
        path.write_bytes(content)


# -- the test ----------------------------------------------------------------------------------------------------------


def outcome(number: int, root: Path, contents: dict[str, bytes]) -> str:
    """`valid` or `refused`; AssertionError, with the mutant, for anything else."""
    generator = random.Random(number)
    kind = list(KINDS)[number % len(KINDS)]
    path = root / KINDS[kind][0]
    made = mutant(kind, contents[kind], generator)
    _remove(path)
    place(path, made, generator)
    study = root / "study.yaml"
    study.write_text(study_of(kind), encoding="utf-8")
    shown = f"mutant {number} of {kind}:\n{made[:3000]!r}"
    try:
        answer = CliRunner().invoke(cli.app, ["validate", str(study), "--workdir", str(root / "work")])
        if answer.exception is None:
            opened = Study.open(study, workdir=root / "work")
            for request in opened.plan.study.texts.values():
                assert all(isinstance(text, str) and text.encode() for text in _texts(request)), shown
            return "valid"
        assert isinstance(answer.exception, StudyError), f"{answer.exception!r}\n{shown}"
        for line in str(answer.exception).split("\n"):
            assert line.isprintable() and line.startswith(f"{study}:") and len(line) < 2000, f"{line!r}\n{shown}"
        return "refused"
    finally:
        _remove(path)
        path.write_bytes(contents[kind])


def _texts(request: TextRequest) -> Iterator[str]:
    match request:
        case Sentences(texts=texts) | Documents(texts=texts):
            yield from texts
        case Continuations(contexts=contexts, continuations=continuations):
            yield from continuations
            assert all(isinstance(context, str) for context in contexts)
        case Windows(text=text):
            yield text


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def outcomes(numbers: range, root: Path) -> Counter[str]:
    root.mkdir(exist_ok=True)
    contents = write_world(root)
    return Counter(outcome(number, root, contents) for number in numbers)


def test_mutated_files_are_valid_or_refused_in_one_line_each(tmp_path: Path) -> None:
    counts = outcomes(range(200), tmp_path / "world")
    assert min(counts["valid"], counts["refused"]) >= 40, counts


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_thousand_mutated_files_are_valid_or_refused_in_one_line_each(tmp_path: Path) -> None:
    parts = [range(start, start + PER_WORKER) for start in range(200, 200 + NUM_LONG, PER_WORKER)]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as workers:
        counts = sum(workers.map(outcomes, parts, [tmp_path / str(part.start) for part in parts]), Counter())
    assert counts.total() == NUM_LONG and min(counts["valid"], counts["refused"]) >= NUM_LONG // 5, counts


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_that_mutants_are_made_from_are_valid(kind: str, tmp_path: Path) -> None:
    write_world(tmp_path)
    (tmp_path / "study.yaml").write_text(study_of(kind), encoding="utf-8")
    answer = CliRunner().invoke(cli.app, ["validate", str(tmp_path / "study.yaml")])
    assert answer.exit_code == 0 and "is valid" in answer.stdout, answer.exception
