"""This repository keeps the rules of the house, and every rule is shown to fail on a small made-up tree (BREACHES)."""

import re
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import ROOT
from tests.unit.house_rules import (
    EMPTY_NAMES,
    PACKAGES,
    RULES,
    Tree,
    data_is_never_code,
    every_module_has_a_docstring,
    every_module_is_in_a_room,
    files_are_short,
    folders_are_small,
    functions_fit_on_a_screen,
    imports_never_go_up,
    imports_run_one_way,
    names_say_something,
    shipped,
    some_packages_are_imported_in_functions,
    some_packages_are_out_of_reach,
    text_files_are_utf8,
    the_top_level_is_tidy,
    third_party_packages_stay_in_their_modules,
)

# ---- this repository


@pytest.fixture(scope="module")
def repository() -> Tree:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    return {file.relative_to(ROOT).as_posix(): file.read_text() for file in sorted(files)}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_repository_keeps(rule: Callable[[Tree], Iterator[str]], repository: Tree) -> None:
    assert {path.split("/")[0] for path in repository} == set(PACKAGES)
    assert list(rule(repository)) == []


def test_the_top_level_of_the_repository_is_tidy() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    files = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")[:-1]
    assert "pyproject.toml" in files
    assert list(the_top_level_is_tidy(dict.fromkeys(files, ""))) == []


def test_the_map_of_the_code_names_every_module(repository: Tree) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    tree = re.search(r"```\n(halfwave.py .*?)```", page, re.DOTALL)
    assert tree is not None
    named = set(re.findall(r"\w+", tree[1]))
    modules = {path for path in shipped(repository) if not path.endswith("__init__.py")}
    assert [path for path in sorted(modules) if not set(path.removesuffix(".py").split("/")) <= named] == []


# ---- the rules themselves

CLEAN = {
    "orchestrator/__init__.py": '"""Doc."""',
    "orchestrator/planning/plan.py": '"""Doc."""\nimport raygun\nfrom actors.messages import Go\nfrom . import resolve',
    "orchestrator/study_file/spec.py": '"""Doc."""\nimport pydantic\nfrom studies.claims.paper import CLAIMS',
    "orchestrator/study.py": '"""Doc."""\ndef start():\n    from orchestrator.execution import pool',
    "orchestrator/execution/ray_session.py": '"""Doc."""\ndef start():\n    import ray',
    "orchestrator/record/mlflow_store.py": '"""Doc."""\ndef open():\n    from mlflow import MlflowClient',
    "orchestrator/cli.py": '"""Doc."""\nimport typer',
    "orchestrator/terminal.py": '"""Doc."""\nimport rich.table',
    "actors/__init__.py": '"""Doc."""',
    "actors/messages.py": '"""Doc."""\nfrom dataclasses import dataclass',
    "actors/scoring/sketches.py": '"""Doc."""\nimport torch\nfrom studies import claims',
    "actors/scoring/actor.py": '"""Doc."""\nimport transformers\nfrom actors.scoring.sketches import S\nmodel.eval()',
    "actors/hf_model.py": '"""Doc."""\ntorch.load(path, weights_only=True)\nA.from_pretrained(p, trust_remote_code=x)',
    "actors/ablation/engine.py": '"""Doc."""\nclass Ablation:\n    def engine(self):\n        from vllm import LLM',
    "studies/benchmarks/harness/lm_eval.py": '"""Doc."""\ndef model():\n    from lm_eval.api.model import LM',
    "studies/__init__.py": '"""Doc."""',
    "studies/claims/paper.py": '"""Doc."""\nimport numpy\nfrom studies.statistics import intervals',
    "tests/test_all.py": '"""Doc."""\nimport torch, ray, vllm, mlflow, actors.scoring.actor',
}

BREACHES = [
    (
        imports_run_one_way,
        "orchestrator/execution/pool.py",
        "import actors.scoring.actor",
        "pool.py:2 imports actors.scoring.actor",
    ),
    (imports_run_one_way, "orchestrator/execution/pool.py", "import actors", "imports actors"),
    (
        imports_run_one_way,
        "orchestrator/execution/pool.py",
        "def f():\n    from actors import tokens",
        "pool.py:3 .*actors.tokens",
    ),
    (imports_run_one_way, "orchestrator/execution/pool.py", "from actors import *", r"imports actors\.\*"),
    (
        imports_run_one_way,
        "orchestrator/execution/pool.py",
        "from actors.messages_old import Go",
        "actors.messages_old.Go",
    ),
    (
        imports_run_one_way,
        "orchestrator/execution/pool.py",
        "import importlib\nimportlib.import_module('actors.tokens')",
        "tokens",
    ),
    (
        imports_run_one_way,
        "orchestrator/execution/pool.py",
        "from tests.oracles import exact",
        "imports tests.oracles.exact",
    ),
    (
        imports_run_one_way,
        "actors/scoring/actor.py",
        "from orchestrator.steps.step import Step",
        "imports orchestrator.steps.step.Step",
    ),
    (imports_run_one_way, "studies/claims/paper.py", "from actors.messages import Go", "imports actors.messages.Go"),
    (imports_run_one_way, "studies/benchmarks/tse.py", "from ...orchestrator import plan", "imports orchestrator.plan"),
    (
        imports_run_one_way,
        "studies/claims/paper.py",
        "try:\n    import orchestrator\nexcept ImportError:\n    pass",
        "claims",
    ),
    (imports_never_go_up, "orchestrator/steps/step.py", "from orchestrator.planning import plan", "of a room above"),
    (imports_never_go_up, "orchestrator/review/report.py", "import orchestrator.execution.runner", "on its own floor"),
    (imports_never_go_up, "orchestrator/record/record.py", "def f():\n    import orchestrator.steps.step", "py:3"),
    (imports_never_go_up, "studies/neurons/selection.py", "from studies.statistics import intervals", "room above"),
    (imports_never_go_up, "actors/scoring/actor.py", "from actors.ablation import clamps", "on its own floor"),
    (every_module_is_in_a_room, "orchestrator/attic.py", "", "attic.py is in no room"),
    (every_module_is_in_a_room, "actors/attic/box.py", "", "box.py is in no room"),
    (files_are_short, "studies/claims/paper.py", "x = 1\n" * 400, "401 lines"),
    (functions_fit_on_a_screen, "studies/claims/paper.py", "def f():\n" + "    x = 1\n" * 60, "f has 61 lines"),
    *(
        (third_party_packages_stay_in_their_modules, path, f"def f():\n    import {package}.x", f"imports {package}.x")
        for package, path in (
            ("ray", "actors/scoring/actor.py"),
            ("ray", "orchestrator/planning/plan.py"),
            ("ray", "studies/claims/paper.py"),
            ("mlflow", "orchestrator/execution/runner.py"),
            ("mlflow", "actors/scoring/actor.py"),
            ("vllm", "actors/scoring/actor.py"),
            ("vllm", "orchestrator/execution/pool.py"),
            ("lm_eval", "actors/ablation/engine.py"),
            ("pydantic", "orchestrator/planning/plan.py"),
            ("yaml", "studies/claims/paper.py"),
            ("typer", "orchestrator/study.py"),
            ("rich", "orchestrator/execution/runner.py"),
        )
    ),
    (third_party_packages_stay_in_their_modules, "actors/scoring/actor.py", "__import__('ray')", "imports ray"),
    (
        some_packages_are_imported_in_functions,
        "actors/ablation/engine.py",
        "from vllm import LLM",
        "py:2 imports vllm.LLM",
    ),
    (
        some_packages_are_imported_in_functions,
        "actors/ablation/vllm_worker.py",
        "class W:\n    import vllm",
        "vllm outside a",
    ),
    (
        some_packages_are_imported_in_functions,
        "studies/benchmarks/harness/lm_eval.py",
        "from lm_eval import tasks",
        "lm_eval",
    ),
    (
        some_packages_are_imported_in_functions,
        "actors/ablation/engine.py",
        "if TYPE_CHECKING:\n    import vllm",
        "py:3",
    ),
    (
        some_packages_are_out_of_reach,
        "orchestrator/execution/pool.py",
        "def f():\n    import torch",
        "pool.py:3 imports torch",
    ),
    (
        some_packages_are_out_of_reach,
        "studies/claims/paper.py",
        "from torch.nn import Linear",
        "imports torch.nn.Linear",
    ),
    (some_packages_are_out_of_reach, "orchestrator/planning/resolve.py", "import transformers", "imports transformers"),
    (some_packages_are_out_of_reach, "orchestrator/planning/resolve.py", "def f():\n    import vllm", "imports vllm"),
    (
        some_packages_are_out_of_reach,
        "actors/messages.py",
        "import torch",
        "messages.py:2 .* from orchestrator.planning.plan",
    ),
    (
        some_packages_are_out_of_reach,
        "actors/__init__.py",
        "import torch",
        r"__init__.py:2 .* from orchestrator.planning.plan",
    ),
    (
        some_packages_are_out_of_reach,
        "actors/scoring/mapping_difficulty.py",
        "from actors.ablation import engine",
        "vllm.LLM .*difficulty",
    ),
    *(
        (some_packages_are_out_of_reach, f"actors/{name}.py", f"def f():\n    import {package}", f"imports {package}")
        for name in (
            "scoring/sketches",
            "scoring/actor",
            "ablation/clamps",
            "ablation/token_tree",
            "ablation/logits_pass",
        )
        for package in ("ray", "vllm", "mlflow")
    ),
    *((names_say_something, f"{folder}/{name}.py", "", name) for folder in PACKAGES for name in sorted(EMPTY_NAMES)),
    (names_say_something, "studies/utils/text.py", "", "utils"),
    (every_module_has_a_docstring, "studies/bare.py", None, "studies/bare.py has no docstring"),
    (every_module_has_a_docstring, "tests/unit/__init__.py", None, "tests/unit/__init__.py has no docstring"),
    *(
        (data_is_never_code, path, lines, message)
        for path, lines, message in (
            ("actors/scoring/actor.py", "import pickle", "imports pickle"),
            ("actors/scoring/actor.py", "def f():\n    from joblib import load", "imports joblib.load"),
            (
                "studies/benchmarks/minimal_pairs.py",
                "import pickle\npickle.loads(b)",
                "calls pickle.loads without being",
            ),
            (
                "studies/benchmarks/minimal_pairs.py",
                "import pickle\npickle.Unpickler(f)",
                "minimal_pairs.py:3 calls pickle.Unpickler",
            ),
            ("actors/scoring/actor.py", "torch.load(path)", "calls torch.load without weights_only=True"),
            ("actors/scoring/actor.py", "torch.load(path, weights_only=False)", "without weights_only=True"),
            ("actors/scoring/actor.py", "from torch import load", "under a bare name"),
            ("studies/claims/paper.py", "numpy.load(path, allow_pickle=True)", "without allow_pickle=False"),
            ("studies/claims/paper.py", "pandas.read_pickle(path)", "calls pandas.read_pickle"),
            ("studies/claims/paper.py", "eval(text)", "calls eval"),
            ("studies/claims/paper.py", "exec(text)", "calls exec"),
            (
                "orchestrator/study_file/located.py",
                "import yaml\nyaml.load(text, Loader=yaml.Loader)",
                "without Loader",
            ),
            ("orchestrator/study_file/located.py", "import yaml\nyaml.unsafe_load(text)", "calls yaml.unsafe_load"),
            ("actors/scoring/actor.py", "AutoModel.from_pretrained(path)", "without trust_remote_code"),
        )
    ),
    *(
        (text_files_are_utf8, "studies/claims/paper.py", lines, "without encoding=")
        for lines in ("path.read_text()", "path.write_text(text)", "open(name)", "path.open()", 'open(name, mode="w")')
    ),
    (the_top_level_is_tidy, "setup.py", "", "setup.py does not belong"),
    (the_top_level_is_tidy, "scripts/run.py", "", "scripts does not belong"),
]


@pytest.mark.parametrize("rule", [*RULES, the_top_level_is_tidy], ids=lambda rule: rule.__name__)
def test_a_rule_is_silent_on_a_clean_tree_and_has_a_breach(rule: Callable[[Tree], Iterator[str]]) -> None:
    assert list(rule(CLEAN | {".ci/run.py": '"""Doc."""'})) == []
    assert rule is folders_are_small or any(rule is broken for broken, *_ in BREACHES)


@pytest.mark.parametrize(
    ("rule", "path", "lines", "message"), BREACHES, ids=[f"{rule.__name__}-{path}" for rule, path, *_ in BREACHES]
)
def test_a_rule_sees_its_breach(
    rule: Callable[[Tree], Iterator[str]], path: str, lines: str | None, message: str
) -> None:
    broken = CLEAN | {path: "x = 1" if lines is None else f'"""Doc."""\n{lines}'}
    (breach,) = rule(broken)
    assert re.search(message, breach)


def test_a_crowded_folder_is_a_breach() -> None:
    crowded = {f"studies/claims/paper{i}.py": '"""Doc."""' for i in range(19)}
    assert list(folders_are_small(crowded)) == ["studies/claims has 19 modules; at most 18"]


@pytest.mark.parametrize(
    "line",
    [
        *(
            'open(name, "rb")',
            'path.open("xb")',
            'path.read_text(encoding="utf-8")',
            "store.write_text(run, path, text)",
        ),
        *("os.open(folder, os.O_RDONLY)", "Study.open(path, workdir=folder)", 'open(name, "x", encoding="utf-8")'),
    ],
)
def test_bytes_and_other_things_that_are_opened_need_no_encoding(line: str) -> None:
    assert list(text_files_are_utf8({"studies/a.py": f'"""Doc."""\n{line}'})) == []
