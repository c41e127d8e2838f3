"""Closed pipes, ASCII and narrow terminals, in real processes: the study goes on, and every name can be read.

The studies are the first ones that went wrong: `run | head` marked runs FAILED, an umlaut ended a verb on an ASCII
terminal, and outside a terminal three rows of a wide table had one name. All but one have made-up actors.
"""

import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from mlflow import MlflowClient

from tests import oracles
from tests.conftest import ROOT
from tests.integration.made_up import command
from tests.unit.orchestrator.planning.test_resolve import make_folder

STUDY = """\
study: test
models: [{path: ./Mödell}]
profile: {corpus: embedded, tokens: 2048, window: 64, pairs: 16}
conditions:
  wasserstein: {select: top, fraction: 0.1, clamp: negative}
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
  wasserstein: {select: top, fraction: 0.1, clamp: negative}
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


def words(study: Path, verb: str, *options: str) -> list[str]:
    """The command with made-up actors."""
    workdir = str(workdir_of(study))
    return [sys.executable, "-m", "tests.integration.made_up_actors", verb, str(study), "--workdir", workdir, *options]


def halfwave(called: list[str], shell: str = '"$@"', env: dict[str, str] | None = None) -> Ended:
    """A command, through a line of the shell."""
    through = ["bash", "-c", f"set -o pipefail; {shell}", "bash", *called]
    environment = os.environ | (env or {})
    ended = subprocess.run(through, cwd=ROOT, capture_output=True, env=environment, timeout=600, check=False)
    return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def workdir_of(study: Path) -> Path:
    return study.with_suffix(".work")


def statuses(workdir: Path) -> set[str]:
    """Of all runs in the store."""
    client = MlflowClient(f"sqlite:///{workdir}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return {run.info.status for run in client.search_runs(experiments)}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file in a folder with an umlaut, of a model with one."""
    folder = tmp_path_factory.mktemp("terminals") / "Büro"
    make_folder(folder / "Mödell")
    path = folder / "stüdie.yaml"
    path.write_text(STUDY, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def cut_off(study: Path) -> Ended:
    """The first run, of whose output three lines are read."""
    return halfwave(words(study, "run"), '"$@" | head -n 3')


def assert_goes_on(cut_off: Ended) -> None:
    """Three lines were read of a run that goes on."""
    assert cut_off.code == 0 and len(cut_off.out.splitlines()) == 3, cut_off
    assert "halfwave: nobody reads the output any more; the study goes on" in cut_off.err
    assert "Traceback" not in cut_off.err and "BrokenPipe" not in cut_off.err


def test_a_pipe_that_closes_does_not_end_a_study(study: Path, cut_off: Ended) -> None:
    assert_goes_on(cut_off)
    assert statuses(workdir_of(study)) == {"FINISHED"}
    again = halfwave(words(study, "run"))
    assert again.code == 0 and re.search(r"^0 steps computed, \d+ cached", again.out, re.M)
    assert "wasserstein" in again.out and "Mödell" in again.out and "…" not in again.out


VERBS = ("validate", "plan", "run", "report", "gc")
READERS = {"head": '"$@" | head -n 1', "nobody": '"$@" | true', "all closed": '"$@" >&- 2>&-', "no errors": '"$@" 2>&-'}
ASCII = {"terminal": {"PYTHONIOENCODING": "ascii"}, "locale": ASCII_LOCALE}


@pytest.mark.usefixtures("cut_off")
@pytest.mark.parametrize(
    ("verb", "reader"),
    [
        pytest.param(verb, reader, marks=[] if (verb, reader) == ("report", "head") else pytest.mark.long)
        for verb in VERBS
        for reader in READERS
    ],
)
def test_no_verb_minds_who_reads_it(study: Path, verb: str, reader: str) -> None:
    ended = halfwave(words(study, verb), READERS[reader])
    assert ended.code == 0 and (reader == "no errors" or len(ended.out.splitlines()) <= 1), ended
    assert "Traceback" not in ended.err and "Exception ignored" not in ended.err and "BrokenPipe" not in ended.err


@pytest.mark.usefixtures("cut_off")
@pytest.mark.parametrize(
    ("verb", "ascii_only"),
    [
        pytest.param(verb, where, marks=[] if (verb, where) == ("report", "locale") else pytest.mark.long)
        for verb in VERBS
        for where in ASCII
    ],
)
def test_an_ascii_terminal_shows_what_it_can(study: Path, verb: str, ascii_only: str) -> None:
    ended = halfwave(words(study, verb), env=ASCII[ascii_only])
    assert ended.code == 0 and "Traceback" not in ended.err and ended.out.isascii() and ended.err.isascii(), ended
    if verb in ("plan", "run", "report"):
        assert "M?dell" in ended.out and "wasserstein" in ended.out


@pytest.mark.long
def test_a_narrow_live_table_has_whole_names_until_its_terminal_is_closed(study: Path, tmp_path: Path) -> None:
    """Of 50 columns, and closed as soon as it has shown something: the study goes on."""
    ours, theirs = os.openpty()
    environment = os.environ | {"COLUMNS": "50", "TERM": "xterm"}
    called = words(study, "run", "--workdir", str(tmp_path / "work"))
    process = subprocess.Popen(called, cwd=ROOT, stdout=theirs, stderr=subprocess.PIPE, env=environment)
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + 300
    while b"perplexity" not in shown and time.monotonic() < deadline:
        if select.select([ours], [], [], 1.0)[0]:
            shown += os.read(ours, 65536)
    os.close(ours)
    _, err = process.communicate(timeout=600)
    text = CONTROL_CODES.sub("", shown.decode(errors="replace"))
    assert process.returncode == 0, err.decode()
    assert "evaluate.embedded_pairs" in text and b"Traceback" not in err, text
    assert statuses(tmp_path / "work") == {"FINISHED"}


@pytest.mark.long
def test_a_wide_table_has_a_name_for_every_row(study: Path, data_root: Path) -> None:
    wide = study.with_name("wide.yaml")
    wide.write_text(WIDE, encoding="utf-8")
    ended = halfwave(words(wide, "run", "--data-root", str(data_root)), env={"COLUMNS": "100"})
    assert ended.code == 0, ended.err
    rows = [line.split("│")[1].strip() for line in ended.out.splitlines() if line.startswith("│")]
    assert rows == ["baseline", "wasserstein", "random/seed=0", "random/seed=1", "random/seed=2"]
    (heading,) = [line for line in ended.out.splitlines() if "condition" in line and "SciQ" in line]
    assert heading.count("┃") == 14


@pytest.mark.long
@pytest.mark.usefixtures("no_process_outlives_its_driver")
def test_a_study_with_umlauts_is_computed_in_an_ascii_locale_although_nobody_reads(tmp_path: Path) -> None:
    """With real actors: the model is loaded from a folder that the locale could not name."""
    oracles.make_model(tmp_path / "Büro" / "Mödell", "llama")
    study = tmp_path / "Büro" / "stüdie.yaml"
    study.write_text(STUDY, encoding="utf-8")
    called = command(study, workdir_of(study))
    assert_goes_on(halfwave(called, '"$@" | head -n 3', ASCII_LOCALE))
    assert statuses(workdir_of(study)) == {"FINISHED"}
    again = halfwave(called)
    assert again.code == 0 and re.search(r"^0 steps computed, \d+ cached", again.out, re.M)
    assert "Mödell" in again.out
