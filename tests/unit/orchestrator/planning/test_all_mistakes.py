"""`Study.open` on files with many mistakes: all are told, each with its place; and what a user is warned of."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.planning import models
from orchestrator.study import Study
from studies.benchmarks import hub
from studies.errors import Mistakes, StudyError
from tests import oracles
from tests.unit.orchestrator.planning.test_resolve import CONFIG, make_folder
from tests.unit.studies.benchmarks.files import write_jsonl

PAIR = {"sentence_good": "She runs.", "sentence_bad": "She run."}


@pytest.fixture
def never_asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the hub was asked for: nothing answers."""
    asked: list[str] = []

    def ask(name: str) -> Callable[..., Any]:
        def refuse(*arguments: Any, **options: Any) -> None:
            hub.about_to_ask()
            asked.append(name)
            raise StudyError(f"{name} is not on the hub")

        return refuse

    monkeypatch.setattr(hub, "load_rows", ask("data"))
    monkeypatch.setattr(hub, "config_names", ask("data"))
    monkeypatch.setattr(models, "hub_model", ask("model"))
    return asked


def opened(folder: Path, text: str, **options: Any) -> Study:
    (folder / "s.yaml").write_text(text, encoding="utf-8")
    return Study.open(folder / "s.yaml", workdir=folder / "work", **options)


def told(folder: Path, text: str, **options: Any) -> list[str]:
    """The lines with which a study is refused, without the file's name."""
    with pytest.raises(StudyError) as caught:
        opened(folder, text, **options)
    lines = str(caught.value).split("\n")
    assert all(line.isprintable() and line.startswith(f"{folder}/s.yaml:") for line in lines)
    return [line.removeprefix(f"{folder}/s.yaml:") for line in lines]


MANY = """\
study: many
models:
  - ./absent
  - {path: ./a, dtype: float8}
  - ./b
  - org/nowhere
profile: {corpus: absent.txt, widow: 64}
conditions:
  top: {select: top, fraction: 1%, clamp: negative}
  like: {select: random, like: top, clamp: negative}
  unlike: {select: random, like: nothing, clamp: negative}
  listed: {select: explicit, neurons: absent.csv, clamp: zero}
  layers: {select: top, fraction: 0.5, layers: [0, 7], clamp: zero}
evaluate:
  - pairs: bad.jsonl
  - choices: absent.jsonl
  - embedded_pairs: {per_construction: 1}
  - blimp
tracking_uri: sqlite:////elsewhere.db
"""


def test_the_mistakes_of_the_file_and_of_what_it_names_are_told_together(
    tmp_path: Path, never_asked: list[str]
) -> None:
    make_folder(tmp_path / "a")
    make_folder(tmp_path / "b")
    write_jsonl(tmp_path / "bad.jsonl", PAIR, PAIR | {"uid": None})
    lines = told(tmp_path, MANY)
    expected = (
        f"3: models.0: there is no model folder {tmp_path}/absent",
        "4: models.1.dtype: 'float8' is not allowed; did you mean 'float32'?",
        "6: models.3: model is not on the hub",
        "7: profile.widow: unknown key; did you mean 'window'?",
        f"7: profile.corpus: there is no text file '{tmp_path}/absent.txt'; corpora by name: ",
        "9: conditions.top.fraction: must be a number; found '1%'; write 0.01",
        "11: conditions.unlike.like: there is no condition 'nothing'; allowed: ",
        f"12: conditions.listed.neurons: {tmp_path}/absent.csv cannot be read: No such file or directory",
        "13: conditions.layers.layers: b: there is no layer 7; layers are 0 to 1",
        f"15: evaluate.0: {tmp_path}/bad.jsonl:2: 'uid' must be a non-empty text or a whole number; found null",
        f"16: evaluate.1: {tmp_path}/absent.jsonl cannot be read: No such file or directory",
        "17: evaluate.2.embedded_pairs.per_construction: must be at least 4; found 1",
        "18: evaluate.3: data is not on the hub",
        "19: tracking_uri: 'sqlite:////elsewhere.db' is neither a server",
    )
    assert len(lines) == len(expected), lines
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start), line
    assert sorted(never_asked) == ["data", "model"]


ROOTLESS = """\
study: rootless
models: [org/m]
profile: {corpus: wikitext2}
conditions:
  top: {select: top, fraction: 0.1, clamp: negative}
evaluate: [blimp, tse, piqa, surprisal]
"""


def test_a_missing_data_root_is_named_before_the_hub_is_asked(tmp_path: Path, never_asked: list[str]) -> None:
    lines = told(tmp_path, ROOTLESS)
    assert [line.partition(": ")[2].partition(" ")[0] for line in lines] == [
        "evaluate.1:",
        "evaluate.2:",
        "evaluate.3:",
    ]
    assert all("give --data-root, or data: {root: ...}, a folder with " in line for line in lines)
    assert never_asked == []
    (tmp_path / "data").mkdir()
    lines = told(tmp_path, ROOTLESS, data_root=tmp_path / "data")
    assert any("model is not on the hub" in line for line in lines) and never_asked == ["model"]


def test_a_data_root_that_is_not_there_is_told_once(tmp_path: Path, never_asked: list[str]) -> None:
    lines = told(tmp_path, ROOTLESS + "data: {root: absent}\n")
    assert lines == [f"7: data.root: there is no folder {tmp_path}/absent"] and never_asked == []


def test_a_series_tells_each_checkpoint(tmp_path: Path) -> None:
    make_folder(tmp_path / "run" / "step0")
    make_folder(tmp_path / "run" / "step2", config={**CONFIG, "intermediate_size": 32})
    text = MANY.replace("study: many", "study: many\ncheckpoints: {of: ./run, revisions: [step0, step1, step2]}")
    lines = [line for line in told(tmp_path, text) if "checkpoints" in line]
    assert lines == [
        f"2: checkpoints.revisions.1: there is no model folder {tmp_path}/run/step1; model folders beside it: step0, "
        "step2",
        "2: checkpoints.revisions.2: step2 is not a checkpoint of the same model: d_mlp is 32, 16 at run@step0",
    ]


def test_all_mistakes_survive_a_pickle_round_trip() -> None:
    import pickle

    error = Mistakes(["one", "two"])
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is Mistakes and str(again) == str(error) == "one\ntwo"


# -- sizes of texts and windows ----------------------------------------------------------------------------------------

SIZED = """\
study: sized
models:
{models}
profile: {{corpus: {corpus}{profile}}}
conditions:
  top: {{select: top, fraction: 0.1, clamp: negative}}
evaluate:
  - perplexity: {{corpus: {corpus}, window: 16{perplexity}}}
"""


def sized(folder: Path, *, models: str = "a", corpus: str = "text.txt", profile: str = "", perplexity: str = "") -> str:
    """A study file; its models have 64 (`a`, `b`) and 32 positions (`c`), its text 400 tokens."""
    for name, context in (("a", 64), ("b", 64), ("c", 32)):
        if not (folder / name).exists():
            oracles.make_tokenizer(make_folder(folder / name, {**CONFIG, "max_position_embeddings": context}), "$A")
    (folder / "text.txt").write_text("the cat sat. " * 100)
    (folder / "short.txt").write_text("the cat sat.\n")
    listed = "\n".join(f"  - ./{name}" for name in models.split())
    return SIZED.format(models=listed, corpus=corpus, profile=profile, perplexity=perplexity)


WARNED = {
    "nothing": ({"profile": ", window: 64"}, []),
    "a window": (
        {"profile": ", window: 128"},
        ["4: profile.window: windows of 128 tokens are longer than the model's positions, which leaves windows of 64 "
         "tokens for a"],
    ),
    "a window that the file does not say, of several models": (
        {"models": "a b c"},
        ["6: profile: windows of 2048 tokens are longer than the model's positions, which leaves windows of 64 tokens "
         "for a, b; windows of 32 tokens for c"],
    ),
    "tokens": (
        {"profile": ", window: 64, tokens: 5000", "perplexity": ", tokens: 4000"},
        ["4: profile.tokens: 5000 tokens are more than the text has, which is all used: {count} for a",
         "8: evaluate.0.perplexity.tokens: 4000 tokens are more than the text has, which is all used: {count} for a"],
    ),
    "as many tokens as there are": ({"profile": ", window: 64, tokens: 300", "perplexity": ", tokens: 300"}, []),
}  # fmt: skip


@pytest.mark.parametrize(("parts", "expected"), WARNED.values(), ids=WARNED)
def test_a_user_is_warned_of_windows_and_texts_that_are_not_what_the_file_says(
    tmp_path: Path, parts: dict[str, str], expected: list[str]
) -> None:
    from tokenizers import Tokenizer

    study = opened(tmp_path, sized(tmp_path, **parts))
    tokenizer = Tokenizer.from_file(str(tmp_path / "a" / "tokenizer.json"))
    texts = study.plan.study.texts.values()
    (count,) = {len(tokenizer.encode(text.text, add_special_tokens=False).ids) for text in texts}
    assert study.warnings == [f"{tmp_path}/s.yaml:{line.format(count=count)}" for line in expected]


TOO_SHORT = {
    "a text": (
        {"corpus": "short.txt", "profile": ", window: 64"},
        ["4: profile: the text has {} tokens for a, fewer than one window of 64"],
    ),
    "tokens of perplexity": (
        {"perplexity": ", tokens: 9", "profile": ", window: 64"},
        ["8: evaluate.0: 9 tokens are fewer than one window of 16; ask for more, or a shorter window"],
    ),
}


@pytest.mark.parametrize(("parts", "expected"), TOO_SHORT.values(), ids=TOO_SHORT)
def test_a_text_of_less_than_a_window_is_refused(tmp_path: Path, parts: dict[str, str], expected: list[str]) -> None:
    lines = told(tmp_path, sized(tmp_path, **parts))
    for line, start in zip(lines, expected, strict=False):
        before, _, behind = start.partition("{}")
        assert line.startswith(before) and line.endswith(behind), lines


def test_a_text_that_no_tokenizer_here_can_count_is_left_to_the_run(tmp_path: Path) -> None:
    text = sized(tmp_path, profile=", window: 64, tokens: 5000")
    (tmp_path / "a" / "tokenizer.json").write_text(json.dumps({}))
    assert opened(tmp_path, text).warnings == []
