"""Closed pipes, ASCII and narrow terminals, in real processes: the study goes on, and every name can be read.

The studies are the first ones that went wrong: `run | head` marked runs FAILED, an umlaut ended a verb on an ASCII
terminal, and outside a terminal three rows of a wide table had one name.
"""

import os
import re
import select
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from mlflow import MlflowClient

from tests import oracles
from tests.integration.made_up import command

pytestmark = pytest.mark.usefixtures("no_process_outlives_its_driver")

STUDY = """\
study: test
models: [{path: ./Mödell}]
profile: {corpus: embedded, tokens: 2048, window: 64, pairs: 16}
conditions:
  wasserstein: {select: top, fraction: 0.05, clamp: negative}
evaluate:
  - perplexity: {corpus: embedded, window: 64, tokens: 1024}
  - embedded_pairs: {per_construction: 8}
noise_floor: false
"""
WIDE = """\
study: wide
models: [{path: ./Mödell}]
profile: {corpus: embedded, tokens: 2048, window: 64, pairs: 16}
conditions:
  wasserstein: {select: top, fraction: 0.05, clamp: negative}
  random: {select: random, like: wasserstein, seeds: [0, 1, 2], clamp: negative}
evaluate:
  - perplexity: {corpus: wikitext2, window: 64, tokens: 1024}
  - blimp: {per_paradigm: 2}
  - tse: {per_case: 2}
  - arc_easy: {items: 10}
  - arc_challenge: {items: 10}
  - piqa: {items: 10}
  - hellaswag: {items: 10}
  - winogrande: {items: 10}
  - openbookqa: {items: 10}
  - boolq: {items: 10}
  - sciq: {items: 10}
noise_floor: false
"""
ASCII_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CONTROL_CODES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def halfwave(study: Path, verb: str, *options: str, shell: str = '"$@"', env: dict[str, str] | None = None) -> Ended:
    """A verb, through a line of the shell."""
    called = ["bash", "-c", f"set -o pipefail; {shell}", "bash", *command(study, workdir_of(study), verb, *options)]
    ended = subprocess.run(called, capture_output=True, env=os.environ | (env or {}), timeout=600, check=False)
    return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def workdir_of(study: Path) -> Path:
    return study.with_suffix(".work")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file in a folder with an umlaut, of a model with one."""
    folder = tmp_path_factory.mktemp("terminals") / "Büro"
    folder.mkdir()
    oracles.make_model(folder / "Mödell", "llama")
    path = folder / "stüdie.yaml"
    path.write_text(STUDY, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def cut_off(study: Path) -> Ended:
    """The first run, of whose output three lines are read."""
    return halfwave(study, "run", shell='"$@" | head -n 3')


def test_a_pipe_that_closes_does_not_end_a_study(study: Path, cut_off: Ended) -> None:
    assert cut_off.code == 0 and len(cut_off.out.splitlines()) == 3
    assert "halfwave: nobody reads the output any more; the study goes on" in cut_off.err
    assert "Traceback" not in cut_off.err and "BrokenPipe" not in cut_off.err
    client = MlflowClient(f"sqlite:///{workdir_of(study)}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    statuses = {run.info.status for run in client.search_runs(experiments)}
    assert statuses == {"FINISHED"}
    again = halfwave(study, "run")
    assert again.code == 0 and re.search(r"^0 steps computed, \d+ cached", again.out, re.M)
    assert "wasserstein" in again.out and "Mödell" in again.out and "…" not in again.out


READERS = ['"$@" | head -n 1', '"$@" | true', '"$@" >&- 2>&-', '"$@" 2>&-']


@pytest.mark.usefixtures("cut_off")
@pytest.mark.parametrize(
    ("verb", "shell"),
    [
        ("report", READERS[0]),
        *(
            pytest.param(verb, shell, marks=pytest.mark.long)
            for verb in ("validate", "plan", "run", "report", "gc")
            for shell in READERS
            if (verb, shell) != ("report", READERS[0])
        ),
    ],
)
def test_no_verb_minds_who_reads_it(study: Path, verb: str, shell: str) -> None:
    ended = halfwave(study, verb, shell=shell)
    assert (ended.code == 0 and len(ended.out.splitlines()) <= 1) or shell == READERS[3]
    assert "Traceback" not in ended.err and "Exception ignored" not in ended.err and "BrokenPipe" not in ended.err


@pytest.mark.usefixtures("cut_off")
@pytest.mark.parametrize(
    ("verb", "env"),
    [
        ("report", {"PYTHONIOENCODING": "ascii"}),
        *(
            pytest.param(verb, env, marks=pytest.mark.long)
            for verb in ("validate", "plan", "run", "report", "gc")
            for env in ({"PYTHONIOENCODING": "ascii"}, ASCII_LOCALE)
            if (verb, env) != ("report", {"PYTHONIOENCODING": "ascii"})
        ),
    ],
)
def test_an_ascii_terminal_shows_what_it_can(study: Path, verb: str, env: dict[str, str]) -> None:
    ended = halfwave(study, verb, env=env)
    assert ended.code == 0 and "Traceback" not in ended.err and ended.out.isascii() and ended.err.isascii()
    if verb in ("plan", "run", "report"):
        assert "M?dell" in ended.out and ("wasserstein" in ended.out)


@pytest.mark.usefixtures("cut_off")
@pytest.mark.long
def test_a_study_with_umlauts_is_computed_in_an_ascii_locale(study: Path, tmp_path: Path) -> None:
    """All of it: the model is loaded from a folder that the locale cannot name."""
    ended = halfwave(study, "run", "--workdir", str(tmp_path / "wörk"), env=ASCII_LOCALE)
    assert ended.code == 0 and re.search(r"^\d+ steps computed, 0 cached", ended.out, re.M), ended.err
    numbers = [
        re.search(r"wasserstein .*", halfwave(study, "report", "--workdir", str(place)).out)
        for place in (tmp_path / "wörk", workdir_of(study))
    ]
    assert numbers[0] and numbers[1] and numbers[0][0] == numbers[1][0]


@pytest.mark.long
def test_a_live_table_shows_whole_names_until_its_terminal_is_closed(study: Path, tmp_path: Path) -> None:
    """A terminal of 50 columns, closed as soon as the table is there: the study goes on."""
    ours, theirs = os.openpty()
    called = command(study, tmp_path / "work", "run")
    process = subprocess.Popen(
        called, stdout=theirs, stderr=subprocess.PIPE, env=os.environ | {"COLUMNS": "50", "TERM": "xterm"}
    )
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + 300
    while b"running" not in shown and time.monotonic() < deadline:
        if select.select([ours], [], [], 1.0)[0]:
            shown += os.read(ours, 65536)
    os.close(ours)
    _, err = process.communicate(timeout=600)
    text = CONTROL_CODES.sub("", shown.decode())
    assert process.returncode == 0, err.decode()
    assert "evaluate.embedded_pairs" in text and "…" not in text and b"Traceback" not in err
    assert re.search(r"^0 steps computed", halfwave(study, "run", "--workdir", str(tmp_path / "work")).out, re.M)


@pytest.mark.long
def test_a_wide_table_has_a_name_for_every_row(study: Path, data_root: Path) -> None:
    wide = study.with_name("wide.yaml")
    wide.write_text(WIDE, encoding="utf-8")
    ended = halfwave(wide, "run", "--data-root", str(data_root), env={"COLUMNS": "100"})
    assert ended.code == 0, ended.err
    rows = [line.split("│")[1].strip() for line in ended.out.splitlines() if line.startswith("│")]
    assert rows == ["baseline", "wasserstein", "random/seed=0", "random/seed=1", "random/seed=2"]
    (heading,) = [line for line in ended.out.splitlines() if "condition" in line and "SciQ" in line]
    assert heading.count("┃") == 14
