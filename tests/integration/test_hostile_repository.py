"""Every verb on a study in a repository with a hostile git configuration, by a Halfwave in another such one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import oracles
from tests.conftest import ROOT
from tests.hostile_git import commit, make_hostile
from tests.integration import made_up

STUDY = """\
study: tiny
models:
  - {{path: {root}/llama}}
profile: {{corpus: embedded, tokens: 4000, window: 64, bins: 256, scores: [wasserstein_distance]}}
conditions:
  top: {{select: top, fraction: 0.1, clamp: negative}}
evaluate: [embedded_knowledge]
"""
NOBODY = "127.0.0.1:1"
VERBS = (
    ("validate",),
    ("plan",),
    ("run", "--address", NOBODY),
    ("report",),
    ("submit", "--address", f"http://{NOBODY}", "--tracking-uri", f"http://{NOBODY}"),
    ("gc",),
)
EVERY_VERB = f"""\
import sys
from orchestrator import checkout
from orchestrator.cli import entry
print(checkout.__file__, repr(checkout.own_commit()))
for verb, *options in {VERBS!r}:
    sys.argv = ["halfwave", verb, "study.yaml", *options]
    try:
        entry()
    except SystemExit as end:
        print("EXIT", verb, end.code)
"""


@pytest.mark.timeout(300)
def test_no_verb_runs_a_program_that_a_repository_names(tmp_path: Path) -> None:
    project, own, marker = tmp_path / "project", tmp_path / "own", tmp_path / "ran"
    project.mkdir()
    oracles.make_model(project / "llama", "llama")
    made_up.write_study(project, "study.yaml", STUDY)
    for package in ("orchestrator", "actors", "studies"):
        shutil.copytree(ROOT / package, own / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", own)
    for name, folder in (("project", project), ("own", own)):
        commit(folder)
        make_hostile(folder, tmp_path / f"ran-{name}")
    (project / "llama" / "generation_config.json").write_text("{}")
    environment = {**os.environ, "PYTHONPATH": str(own), "GIT_CEILING_DIRECTORIES": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", EVERY_VERB], cwd=project, env=environment, capture_output=True, text=True, timeout=280
    )
    assert f"{own}/orchestrator/checkout.py" in done.stdout, done.stderr
    codes = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("EXIT")]
    assert codes == [["validate", "0"], ["plan", "0"], ["run", "2"], ["report", "2"], ["submit", "2"], ["gc", "0"]], (
        done.stdout + done.stderr
    )
    assert not list(tmp_path.glob(f"{marker.name}-project")) + list(tmp_path.glob(f"{marker.name}-own"))
