"""The rules of the house (DESIGN, section 2), checked on the syntax tree of every module.

A rule takes a tree (path to source) and yields one line for each breach. Every rule is also shown to fail, on a small
made-up tree: BREACHES. An import counts wherever it stands: in a function, under TYPE_CHECKING, or as the literal
argument of `import_module`. A name of a module stands for itself and all that lies below it.
"""

import ast
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import pytest

from tests.conftest import ROOT

Tree = Mapping[str, str]
"""Path, relative to the top of the repository, to source."""

PACKAGES = ("orchestrator", "actors", "studies", "tests")
TOP_LEVEL = {*PACKAGES, "pyproject.toml", "ray_cluster.yaml", "README.md", "Makefile", "LICENSE"}
"""And dot-files."""

MAY_IMPORT = {
    "orchestrator": ("orchestrator", "actors.messages", "actors.sites", "actors.harness", "studies"),
    "actors": ("actors", "studies"),
    "studies": ("studies",),
}
"""Of our own modules. The tests import what they like."""

ONLY_IN = {
    "ray": (
        "orchestrator.runner",
        "orchestrator.pool",
        "orchestrator.host",
        "orchestrator.ray_session",
        "orchestrator.submit",  # Ray's job client, the one thing of Ray's that it needs
        "orchestrator.cli",
    ),
    "mlflow": ("orchestrator.store",),
    "vllm": ("actors.ablation", "actors.vllm_worker"),
    "lm_eval": ("actors.harness",),
    "spacy": ("studies.annotation",),
    "pydantic": (
        "orchestrator.spec",
        "orchestrator.spec_fields",
        "orchestrator.model_spec",
        "orchestrator.evaluation_spec",
        "orchestrator.study_file",
    ),
    "yaml": ("orchestrator.study_yaml",),
    "typer": ("orchestrator.cli", "orchestrator.progress"),
    "rich": ("orchestrator.cli", "orchestrator.progress"),
}
"""Of the packages that are shipped, these modules alone may import it."""

ONLY_IN_FUNCTIONS = ("vllm", "lm_eval", "spacy")

NEVER_REACHES = {
    ("orchestrator", "studies"): ("torch", "transformers", "vllm"),
    ("actors.sketches", "actors.difficulty", "actors.clamps", "actors.token_tree", "actors.logits_pass"): (
        "ray",
        "vllm",
        "mlflow",
    ),
}
"""Modules to what neither they nor any module of ours that they import, directly or not, may import."""

EMPTY_NAMES = {"util", "utils", "helper", "helpers", "common", "misc"}


class Import(NamedTuple):
    """One imported name."""

    name: str
    """Absolute and with what is taken from it: `from actors.messages import Progress` is actors.messages.Progress."""
    line: int
    in_function: bool


def module_name(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def within(name: str, places: Iterable[str]) -> bool:
    return any(name == place or name.startswith(place + ".") for place in places)


def shipped(tree: Tree) -> list[str]:
    return [path for path in tree if within(module_name(path), MAY_IMPORT)]


def imports(path: str, source: str) -> Iterator[Import]:
    package = path.split("/")[:-1]

    def visit(node: ast.AST, in_function: bool) -> Iterator[Import]:
        match node:
            case ast.Import(names=names):
                yield from (Import(alias.name, node.lineno, in_function) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = [*(package[: len(package) + 1 - level] if level else []), *([module] if module else [])]
                yield from (Import(".".join([*base, alias.name]), node.lineno, in_function) for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield Import(name, node.lineno, in_function)
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    return visit(ast.parse(source, path), False)


# ---- the rules


def imports_run_one_way(tree: Tree) -> Iterator[str]:
    for path in shipped(tree):
        allowed = MAY_IMPORT[path.split("/")[0]]
        for found in imports(path, tree[path]):
            if within(found.name, PACKAGES) and not within(found.name, allowed):
                yield f"{path}:{found.line} imports {found.name}; of ours it may import {', '.join(allowed)}"


def third_party_packages_stay_in_their_modules(tree: Tree) -> Iterator[str]:
    for path in shipped(tree):
        for found in imports(path, tree[path]):
            allowed = ONLY_IN.get(found.name.split(".")[0])
            if allowed is not None and not within(module_name(path), allowed):
                yield f"{path}:{found.line} imports {found.name}, which belongs in {', '.join(allowed)}"


def some_packages_are_imported_in_functions(tree: Tree) -> Iterator[str]:
    for path in shipped(tree):
        for found in imports(path, tree[path]):
            if within(found.name, ONLY_IN_FUNCTIONS) and not found.in_function:
                yield f"{path}:{found.line} imports {found.name} outside a function"


def some_packages_are_out_of_reach(tree: Tree) -> Iterator[str]:
    paths = {module_name(path): path for path in tree}
    found_in = {module: list(imports(path, tree[path])) for module, path in paths.items()}
    for starts, forbidden in NEVER_REACHES.items():
        came_from = {module: module for module in paths if within(module, starts)}
        todo = list(came_from)
        while todo:
            module = todo.pop()
            for found in found_in[module]:
                if within(found.name, forbidden):
                    yield f"{paths[module]}:{found.line} imports {found.name} and is reached from {came_from[module]}"
                parts = found.name.split(".")  # importing a module also runs the packages it lies in
                for reached in (".".join(parts[: i + 1]) for i in range(len(parts))):
                    if reached in paths and reached not in came_from:
                        came_from[reached] = came_from[module]
                        todo.append(reached)


def names_say_something(tree: Tree) -> Iterator[str]:
    for path in tree:
        if empty := EMPTY_NAMES.intersection(path.removesuffix(".py").split("/")):
            yield f"{path}: {empty.pop()!r} says nothing of what is in it"


def every_module_has_a_docstring(tree: Tree) -> Iterator[str]:
    for path, source in tree.items():
        if not (ast.get_docstring(ast.parse(source, path)) or "").strip():
            yield f"{path} has no docstring"


NEVER = "being allowed to"
UNSAFE_CALLS = {
    "eval": NEVER,
    "exec": NEVER,
    "pickle.load": NEVER,
    "pickle.loads": NEVER,
    "pickle.Unpickler": NEVER,
    ".read_pickle": NEVER,
    ".full_load": NEVER,
    ".unsafe_load": NEVER,
    "torch.load": "weights_only=True",
    "yaml.load": "Loader=yaml.SafeLoader",
    "yaml.load_all": "Loader=yaml.SafeLoader",
    "yaml.compose": "Loader=yaml.SafeLoader",
    ".from_pretrained": "trust_remote_code=",
}
"""{call that may run what it reads: the argument without which nothing shipped may make it}; `.x` is any object's."""

UNPICKLERS = ("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib")
MAY_UNPICKLE = {
    "studies.benchmarks.minimal_pairs": "an unpickler that finds no global",
    "actors.plain": "the name of an error",
}


def data_is_never_code(tree: Tree) -> Iterator[str]:
    for path in shipped(tree):
        for found in imports(path, tree[path]):
            if within(found.name, UNPICKLERS) and module_name(path) not in MAY_UNPICKLE:
                yield f"{path}:{found.line} imports {found.name}, which runs what it reads"
            if found.name in ("torch.load", "yaml.load", "numpy.load"):
                yield f"{path}:{found.line} imports {found.name} under a bare name"
        for node in ast.walk(ast.parse(tree[path], path)):
            if isinstance(node, ast.Call) and (missing := _missing_argument(node)):
                yield f"{path}:{node.lineno} calls {ast.unparse(node.func)} without {missing}"


def _missing_argument(call: ast.Call) -> str:
    name = ast.unparse(call.func)
    given = [f"{keyword.arg}={ast.unparse(keyword.value)}" for keyword in call.keywords]
    if any(one.startswith("allow_pickle=") and one != "allow_pickle=False" for one in given):
        return "allow_pickle=False"
    attribute = f".{call.func.attr}" if isinstance(call.func, ast.Attribute) else ""
    needed = UNSAFE_CALLS.get(name) or UNSAFE_CALLS.get(attribute, "")
    found = any(one == needed or (needed.endswith("=") and one.startswith(needed)) for one in given)
    return "" if found else needed


def the_top_level_is_tidy(tree: Tree) -> Iterator[str]:
    for name in sorted({path.split("/")[0] for path in tree} - TOP_LEVEL):
        if not name.startswith("."):
            yield f"{name} does not belong at the top level of the repository"


RULES = (
    imports_run_one_way,
    third_party_packages_stay_in_their_modules,
    some_packages_are_imported_in_functions,
    some_packages_are_out_of_reach,
    names_say_something,
    every_module_has_a_docstring,
    data_is_never_code,
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


# ---- the rules themselves

CLEAN = {
    "orchestrator/__init__.py": '"""Doc."""',
    "orchestrator/plan.py": '"""Doc."""\nimport raygun, studies\nfrom actors.messages import Go\nfrom . import spec',
    "orchestrator/spec.py": '"""Doc."""\nimport pydantic\nfrom studies.claims import CLAIMS',
    "orchestrator/study.py": '"""Doc."""\ndef start():\n    from orchestrator import pool',
    "orchestrator/ray_session.py": '"""Doc."""\ndef start():\n    import ray',
    "orchestrator/store.py": '"""Doc."""\ndef open():\n    from mlflow import MlflowClient',
    "orchestrator/cli.py": '"""Doc."""\nimport ray, typer, rich.table',
    "actors/__init__.py": '"""Doc."""',
    "actors/messages.py": '"""Doc."""\nfrom dataclasses import dataclass',
    "actors/sketches.py": '"""Doc."""\nimport torch\nfrom studies import claims',
    "actors/score.py": '"""Doc."""\nimport transformers\nfrom actors.sketches import Sketch\nmodel.eval()',
    "actors/plain.py": '"""Doc."""\ntorch.load(path, weights_only=True)\nA.from_pretrained(p, trust_remote_code=x)',
    "actors/ablation.py": '"""Doc."""\nclass Ablation:\n    def engine(self):\n        from vllm import LLM',
    "actors/harness.py": '"""Doc."""\ndef model():\n    from lm_eval.api.model import LM',
    "studies/__init__.py": '"""Doc."""',
    "studies/claims.py": '"""Doc."""\nimport numpy\nfrom studies.benchmarks import choices',
    "tests/test_all.py": '"""Doc."""\nimport torch, ray, vllm, mlflow, actors.score',
}

BREACHES = [
    (imports_run_one_way, "orchestrator/pool.py", "import actors.score", "pool.py:2 imports actors.score"),
    (imports_run_one_way, "orchestrator/pool.py", "import actors", "imports actors"),
    (imports_run_one_way, "orchestrator/pool.py", "def f():\n    from actors import score", "pool.py:3 .*actors.score"),
    (imports_run_one_way, "orchestrator/pool.py", "from actors import *", r"imports actors\.\*"),
    (imports_run_one_way, "orchestrator/pool.py", "from actors.messages_old import Go", "actors.messages_old.Go"),
    (imports_run_one_way, "orchestrator/pool.py", "import importlib\nimportlib.import_module('actors.score')", "score"),
    (imports_run_one_way, "orchestrator/pool.py", "from tests.oracles import exact", "imports tests.oracles.exact"),
    (imports_run_one_way, "actors/score.py", "from orchestrator.steps import Step", "imports orchestrator.steps.Step"),
    (imports_run_one_way, "studies/claims.py", "from actors.messages import Go", "imports actors.messages.Go"),
    (imports_run_one_way, "studies/benchmarks/tse.py", "from ...orchestrator import plan", "imports orchestrator.plan"),
    (
        imports_run_one_way,
        "studies/claims.py",
        "try:\n    import orchestrator\nexcept ImportError:\n    pass",
        "claims",
    ),
    *(
        (third_party_packages_stay_in_their_modules, path, f"def f():\n    import {package}.x", f"imports {package}.x")
        for package, path in (
            ("ray", "actors/score.py"),
            ("ray", "orchestrator/plan.py"),
            ("ray", "studies/claims.py"),
            ("mlflow", "orchestrator/runner.py"),
            ("mlflow", "actors/score.py"),
            ("vllm", "actors/score.py"),
            ("vllm", "orchestrator/pool.py"),
            ("lm_eval", "actors/ablation.py"),
            ("pydantic", "orchestrator/plan.py"),
            ("yaml", "studies/claims.py"),
            ("typer", "orchestrator/study.py"),
            ("rich", "orchestrator/runner.py"),
        )
    ),
    (third_party_packages_stay_in_their_modules, "actors/score.py", "__import__('ray')", "imports ray"),
    (some_packages_are_imported_in_functions, "actors/ablation.py", "from vllm import LLM", "py:2 imports vllm.LLM"),
    (some_packages_are_imported_in_functions, "actors/vllm_worker.py", "class W:\n    import vllm", "vllm outside a"),
    (
        some_packages_are_imported_in_functions,
        "actors/harness.py",
        "from lm_eval import tasks",
        "lm_eval",
    ),
    (some_packages_are_imported_in_functions, "actors/ablation.py", "if TYPE_CHECKING:\n    import vllm", "py:3"),
    (some_packages_are_out_of_reach, "orchestrator/pool.py", "def f():\n    import torch", "pool.py:3 imports torch"),
    (some_packages_are_out_of_reach, "studies/claims.py", "from torch.nn import Linear", "imports torch.nn.Linear"),
    (some_packages_are_out_of_reach, "orchestrator/resolve.py", "import transformers", "imports transformers"),
    (some_packages_are_out_of_reach, "orchestrator/resolve.py", "def f():\n    import vllm", "imports vllm"),
    (some_packages_are_out_of_reach, "actors/messages.py", "import torch", "messages.py:2 .* from orchestrator.plan"),
    (some_packages_are_out_of_reach, "actors/__init__.py", "import torch", r"__init__.py:2 .* from orchestrator.plan"),
    (some_packages_are_out_of_reach, "actors/difficulty.py", "from actors import ablation", "vllm.LLM .*difficulty"),
    *(
        (some_packages_are_out_of_reach, f"actors/{name}.py", f"def f():\n    import {package}", f"imports {package}")
        for name in ("sketches", "difficulty", "clamps", "token_tree", "logits_pass")
        for package in ("ray", "vllm", "mlflow")
    ),
    *((names_say_something, f"{folder}/{name}.py", "", name) for folder in PACKAGES for name in sorted(EMPTY_NAMES)),
    (names_say_something, "studies/utils/text.py", "", "utils"),
    (every_module_has_a_docstring, "studies/bare.py", None, "studies/bare.py has no docstring"),
    (every_module_has_a_docstring, "tests/unit/__init__.py", None, "tests/unit/__init__.py has no docstring"),
    *(
        (data_is_never_code, path, lines, message)
        for path, lines, message in (
            ("actors/score.py", "import pickle", "imports pickle"),
            ("actors/score.py", "def f():\n    from joblib import load", "imports joblib.load"),
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
            ("actors/score.py", "torch.load(path)", "calls torch.load without weights_only=True"),
            ("actors/score.py", "torch.load(path, weights_only=False)", "without weights_only=True"),
            ("actors/score.py", "from torch import load", "under a bare name"),
            ("studies/claims.py", "numpy.load(path, allow_pickle=True)", "without allow_pickle=False"),
            ("studies/claims.py", "pandas.read_pickle(path)", "calls pandas.read_pickle"),
            ("studies/claims.py", "eval(text)", "calls eval"),
            ("studies/claims.py", "exec(text)", "calls exec"),
            ("orchestrator/study_yaml.py", "import yaml\nyaml.load(text, Loader=yaml.Loader)", "without Loader"),
            ("orchestrator/study_yaml.py", "import yaml\nyaml.unsafe_load(text)", "calls yaml.unsafe_load"),
            ("actors/score.py", "AutoModel.from_pretrained(path)", "without trust_remote_code"),
        )
    ),
    (the_top_level_is_tidy, "setup.py", "", "setup.py does not belong"),
    (the_top_level_is_tidy, "scripts/run.py", "", "scripts does not belong"),
]


@pytest.mark.parametrize("rule", [*RULES, the_top_level_is_tidy], ids=lambda rule: rule.__name__)
def test_a_rule_is_silent_on_a_clean_tree_and_has_a_breach(rule: Callable[[Tree], Iterator[str]]) -> None:
    assert list(rule(CLEAN | {".ci/run.py": '"""Doc."""'})) == []
    assert any(rule is broken for broken, *_ in BREACHES)


@pytest.mark.parametrize(
    ("rule", "path", "lines", "message"), BREACHES, ids=[f"{rule.__name__}-{path}" for rule, path, *_ in BREACHES]
)
def test_a_rule_sees_its_breach(
    rule: Callable[[Tree], Iterator[str]], path: str, lines: str | None, message: str
) -> None:
    broken = CLEAN | {path: "x = 1" if lines is None else f'"""Doc."""\n{lines}'}
    (breach,) = rule(broken)
    assert re.search(message, breach)
