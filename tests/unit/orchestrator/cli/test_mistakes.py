"""Every mistake of the table is one line with the place, what was found and the remedy; exit code 2, no traceback."""

import json
import sys
from pathlib import Path

import pytest

from orchestrator import cli
from tests.unit.orchestrator.cli.mistakes import COMMANDS, IN_FILE, STUDY, Mistake
from tests.unit.orchestrator.planning.test_resolve import CONFIG, make_folder

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a study file, models and data of which most are broken."""
    for name in ("a", "weightless", "pointer", "broken", "family"):
        make_folder(tmp_path / name)
    (tmp_path / "weightless" / "model.safetensors").unlink()
    (tmp_path / "pointer" / "model.safetensors").write_text(LFS)
    (tmp_path / "broken" / "config.json").write_text("{")
    (tmp_path / "family" / "config.json").write_text(
        json.dumps({**CONFIG, "model_type": "mixtral", "architectures": ["MixtralForCausalLM"]})
    )
    for name in (".git", "empty", "packed", "old"):
        (tmp_path / name).mkdir()
    (tmp_path / "packed" / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "old" / "mlflow.db").write_text("not a database")
    (tmp_path / "keys.jsonl").write_text('{"good": "a", "bad": "b"}\n')
    (tmp_path / "pairs.csv").write_text("good,bad\na,b\n")
    (tmp_path / "neurons.csv").write_text("layer,neuron\n0,1\n0,999999\n")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "s.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The line that the command ends with; nothing else but warnings is printed."""
    monkeypatch.setattr(sys, "argv", ["halfwave", *words])
    with pytest.raises(SystemExit) as end:
        cli.entry()
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("halfwave: warning: ")]
    assert (end.value.code, len(lines)) == (2, 1) and "Traceback" not in out + err, out + err
    return lines[0].removeprefix("halfwave: ")


@pytest.mark.parametrize("mistake", IN_FILE.values(), ids=IN_FILE)
def test_a_mistake_in_a_study_file(
    mistake: Mistake, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert STUDY.count(mistake.before) >= 1
    (here / "s.yaml").unlink()
    (here / "study.yaml").write_text(STUDY.replace(mistake.before, mistake.after, 1))
    line = told(["validate", "study.yaml", *mistake.options], monkeypatch, capsys)
    assert line.startswith("study.yaml:") and mistake.line.replace("{here}", str(here)) in line


@pytest.mark.parametrize("mistake", COMMANDS.values(), ids=COMMANDS)
def test_a_mistake_on_the_command_line(
    mistake: Mistake, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if mistake.verb == "validate" and mistake.options == (".",):
        (here / "empty.yaml").unlink()
    line = told([mistake.verb, *mistake.options], monkeypatch, capsys)
    assert line.startswith(mistake.line.replace("{here}", str(here)))


def test_without_a_verb_the_help_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["halfwave"])
    with pytest.raises(SystemExit) as end:
        cli.entry()
    assert not end.value.code and "validate" in capsys.readouterr().out
