"""What is behind standard output goes away, is full, is closed or knows no umlauts: the work goes on.

In real processes; Python code in an argument is ASCII, because a locale without umlauts takes it apart.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT
from tests.unit.orchestrator.cli.test_verbs import STUDY
from tests.unit.orchestrator.planning.test_resolve import make_folder

WORK = """\
import sys
from pathlib import Path
from orchestrator import streams
streams.prepare()
if sys.argv[2:]:
    streams.goes_on_without(sys.argv[2])
for i in range(20_000):
    print(f"line {i}", flush=i % 100 == 0)
print("a word on standard error", file=sys.stderr)
Path(sys.argv[1]).write_text("done", encoding="utf-8")
sys.exit(3 if streams.is_lost() else 0)
"""
ASCII_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
HALFWAVE = "from orchestrator.cli import entry; entry()"


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def run(code: str, *words: str | bytes, shell: str = '"$@"', env: Mapping[str, str] | None = None) -> Ended:
    """Run Python code in a process of its own, through a line of the shell."""
    command: Sequence[str | bytes] = ["bash", "-c", shell, "bash", sys.executable, "-c", code, *words]
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONIOENCODING", "PYTHONUTF8")}
    ended = subprocess.run(command, cwd=ROOT, env={**kept, **(env or {})}, capture_output=True, timeout=60, check=False)
    return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


READERS = {
    "head": ('set -o pipefail; "$@" | head -n 3', 0, "line 0\nline 1\nline 2\n"),
    "nobody": ('set -o pipefail; "$@" | true', 0, ""),
    "closed": ('"$@" >&-', 0, ""),
    "all closed": ('"$@" <&- >&- 2>&-', 0, ""),
}


@pytest.mark.parametrize(("shell", "code", "out"), READERS.values(), ids=READERS)
def test_a_reader_that_goes_away_ends_nothing_and_is_no_error(tmp_path: Path, shell: str, code: int, out: str) -> None:
    ended = run(WORK, str(tmp_path / "done"), shell=shell)
    expected = "" if shell.endswith("2>&-") else "a word on standard error\n"
    assert ended == (code, out, expected) and (tmp_path / "done").read_text() == "done"


def test_who_asks_for_it_is_told_once_that_nobody_reads(tmp_path: Path) -> None:
    ended = run(WORK, str(tmp_path / "done"), "the study goes on", shell='set -o pipefail; "$@" | head -n 1')
    assert ended == (0, "line 0\n", "halfwave: the study goes on\na word on standard error\n")


def test_a_closed_standard_error_ends_nothing(tmp_path: Path) -> None:
    for number, shell in enumerate(('"$@" 2>&-', 'set -o pipefail; "$@" 2> >(exec true)')):
        ended = run(WORK, str(tmp_path / str(number)), shell=shell)
        assert (ended.code, ended.err) == (0, "") and ended.out.endswith("line 19999\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_and_ends_nothing(tmp_path: Path) -> None:
    ended = run(WORK, str(tmp_path / "done"), shell='"$@" > /dev/full')
    lost = "halfwave: standard output cannot be written (No space left on device); what follows is lost\n"
    assert ended == (3, "", lost + "a word on standard error\n") and (tmp_path / "done").exists()
    works = run(WORK, str(tmp_path / "done"), "the study goes on", shell='"$@" > /dev/full')
    assert works == (0, "", lost + "a word on standard error\n")


def test_a_terminal_that_is_closed_ends_nothing(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, str(tmp_path / "done")], cwd=ROOT, stdout=theirs, stderr=subprocess.PIPE, text=True
    )
    os.close(theirs)
    assert os.read(ours, 100).startswith(b"line 0\r\n")
    os.close(ours)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "a word on standard error\n") and (tmp_path / "done").exists()


def test_what_children_write_after_the_reader_has_gone_is_dropped_too(tmp_path: Path) -> None:
    child = WORK.replace("Path(sys", "import subprocess\nsubprocess.run(['echo', 'hello'], check=True)\nPath(sys")
    assert run(child, str(tmp_path / "done"), shell='set -o pipefail; "$@" | head -n 1').code == 0


SHOWN = {
    "umlauts on an ASCII terminal": ("print('für – 5 %')", {"PYTHONIOENCODING": "ascii"}, "f?r ? 5 %\n"),
    "umlauts in an ASCII locale": ("print('f\\xfcr \\u2013 5 %')", ASCII_LOCALE, "f?r ? 5 %\n"),
    "an own choice in an ASCII locale": ("print('f\\xfcr')", {**ASCII_LOCALE, "PYTHONIOENCODING": "utf-8"}, "für\n"),
    "umlauts in Latin-1": ("print('f\\u0171r')", {"PYTHONIOENCODING": "latin-1"}, "f?r\n"),
    "half a character": ("print('b\\udcfcro')", {}, "b\\udcfcro\n"),
    "half a character on an ASCII terminal": ("print('b\\udcfcro')", {"PYTHONIOENCODING": "ascii"}, "b?ro\n"),
    "files in an ASCII locale": ("open(sys.argv[1], 'w').write('\\xfc'); print('ok')", ASCII_LOCALE, "ok\n"),
}


@pytest.mark.parametrize(("code", "env", "expected"), SHOWN.values(), ids=SHOWN)
def test_what_a_terminal_cannot_show_is_replaced(tmp_path: Path, code: str, env: dict[str, str], expected: str) -> None:
    ended = run(
        f"import sys\nfrom orchestrator import streams\nstreams.prepare()\n{code}", str(tmp_path / "ü"), env=env
    )
    assert ended == (0, expected, "")
    assert not (tmp_path / "ü").exists() or (tmp_path / "ü").read_bytes() == "ü".encode()


def test_children_inherit_utf8_from_an_ascii_locale() -> None:
    child = "import subprocess; subprocess.run([sys.executable, '-c', \"print(open(0).encoding)\"], check=True)"
    ended = run(f"import sys\nfrom orchestrator import streams\nstreams.prepare()\n{child}", env=ASCII_LOCALE)
    assert ended == (0, "utf-8\n", "")


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def umlauts(tmp_path: Path) -> Path:
    """A study file with umlauts in its name, its folder and its text."""
    make_folder(tmp_path / "Büro" / "Mödell")
    path = tmp_path / "Büro" / "stüdie.yaml"
    path.write_text(STUDY.replace("./a", "./Mödell").replace("embedded}", "embedded, window: 32}"), encoding="utf-8")
    return path


@pytest.mark.parametrize("env", [{}, {"PYTHONIOENCODING": "ascii"}, ASCII_LOCALE], ids=["utf-8", "terminal", "locale"])
def test_a_study_with_umlauts_is_valid_on_every_terminal(umlauts: Path, env: dict[str, str]) -> None:
    ended = run(HALFWAVE, "validate", str(umlauts), env=env)
    shown = str(umlauts) if not env else str(umlauts).replace("ü", "?")
    assert ended == (0, f"{shown}: s is valid: 1 models, 5 steps\n", "")


@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "ascii"}, ASCII_LOCALE], ids=["terminal", "locale"])
def test_a_mistake_with_umlauts_is_told_on_every_terminal(umlauts: Path, env: dict[str, str]) -> None:
    umlauts.write_text(umlauts.read_text(encoding="utf-8").replace("study: s", "study: 'für'"), encoding="utf-8")
    ended = run(HALFWAVE, "validate", str(umlauts), env=env)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("halfwave: ") and ended.err.count("\n") == 1 and "found 'f\\xfcr'" in ended.err


def test_a_name_that_is_no_utf8_is_shown_and_crashes_nothing(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/b\xfcro.yaml"
    ended = run(HALFWAVE, b"validate", name)
    assert ended == (
        2,
        "",
        f"halfwave: {tmp_path}/b\\udcfcro.yaml: the study file cannot be read: No such file or directory\n",
    )
    Path(os.fsdecode(name)).write_text(STUDY.replace("embedded}", "embedded, window: 32}"), encoding="utf-8")
    make_folder(tmp_path / "a")
    ended = run(HALFWAVE, b"validate", name)
    assert ended == (0, f"{tmp_path}/b\\udcfcro.yaml: s is valid: 1 models, 5 steps\n", "")


def test_help_may_be_read_in_part() -> None:
    ended = run(HALFWAVE, "--help", shell='set -o pipefail; "$@" | head -n 1')
    assert (ended.code, ended.err) == (0, "")


def test_a_working_folder_that_mlflow_could_not_name_is_refused_in_one_line(umlauts: Path) -> None:
    folder = os.fsencode(umlauts.parent) + b"/b\xfcro"
    os.mkdir(folder)
    ended = run(HALFWAVE, b"validate", os.fsencode(umlauts), b"--workdir", folder)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "b\\udcfcro is not UTF-8, and MLflow could not store it; rename the folder, or choose another" in ended.err


LOGS = """\
import logging, sys
from orchestrator import streams
from pathlib import Path
from orchestrator.redaction import redact_logs
from orchestrator.cli.messages import say
redact_logs()
streams.log_to_stderr(logging.WARNING)
streams.log_to_file(Path(sys.argv[1]))
logging.getLogger("ours").debug("a password: %s\\nof two lines", "swordfish")
logging.getLogger("ours").warning("shown")
say("said")
"""
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} "


def test_a_log_file_has_everything_with_its_time_and_without_secrets(tmp_path: Path) -> None:
    file = tmp_path / "run.log"
    file.write_text("of before\n")
    ended = run(LOGS, str(file), env={"SOME_PASSWORD": "swordfish"})
    assert ended == (0, "", "WARNING shown\nhalfwave: said\n"), "debug messages go to the file alone"
    before, *lines = file.read_text().splitlines()
    assert before == "of before"
    assert re.fullmatch(STAMP + r"DEBUG ours a password: \*\*\*", lines[0])
    assert lines[1] == "    of two lines"
    assert re.fullmatch(STAMP + "WARNING ours shown", lines[2])
    assert re.fullmatch(STAMP + "INFO halfwave.said said", lines[3]) and len(lines) == 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_that_fills_the_disk_costs_the_log_alone(tmp_path: Path) -> None:
    full = tmp_path / "run.log"
    full.symlink_to("/dev/full")
    ended = run(LOGS, str(full))
    lost = f"halfwave: --log-file: {full} cannot be written any more: [Errno 28] No space left on device\n"
    assert ended.code == 0 and ended.err == f"{lost}WARNING shown\nhalfwave: said\n"


@pytest.mark.parametrize(("place", "why"), [("absent/run.log", "No such file or directory"), (".", "Is a directory")])
def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path, place: str, why: str) -> None:
    file = tmp_path / place
    ended = run(HALFWAVE, "--log-file", str(file), "gc")
    assert ended.code == 2 and ended.out == "" and ended.err.startswith(f"halfwave: --log-file: {file} cannot be")
    assert why in ended.err and ended.err.count("\n") == 1
