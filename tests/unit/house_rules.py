"""The rules of the house (docs/architecture.md), checked on the syntax tree of every module.

A rule takes a tree (path to source) and yields one line for each breach; `test_architecture` applies them to this
repository and shows each to fail. An import counts wherever it stands: in a function, under TYPE_CHECKING, or as the
literal argument of `import_module`. The name of a module stands for the module and everything below it.
"""

import ast
import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

Tree = Mapping[str, str]
"""Path, relative to the top of the repository, to source."""

PACKAGES = ("orchestrator", "actors", "studies", "tests")
TOP_LEVEL = {*PACKAGES, "docs", "pyproject.toml", "ray_cluster.yaml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"}
TOP_LEVEL |= {"Makefile", "LICENSE", "halfwave.py"}
"""And dot-files."""

MAY_IMPORT = {
    "orchestrator": (
        "orchestrator",
        "actors.messages",
        "actors.sites",
        "actors.engine_limits",
        "actors.model_files",
        "actors.ablation.memory",
        "actors.scoring.memory",
        "studies",
    ),
    "actors": ("actors", "studies"),
    "studies": ("studies",),
}
"""Of our own modules. The tests import what they like."""

FLOORS = (
    ("studies.errors", "studies.embedded"),
    ("studies.files",),
    ("studies.benchmarks", "studies.neurons"),
    ("studies.statistics",),
    ("studies.claims",),
    ("studies.reporting",),
    ("actors.messages", "actors.sites", "actors.model_files", "actors.gguf_tokenizer"),
    ("actors.engine_limits", "actors.gguf"),
    ("actors.hf_model", "actors.loaded_files"),
    ("actors.tokens",),
    ("actors.probe", "actors.matched_control"),
    ("actors.scoring", "actors.ablation"),
    (
        "orchestrator.address",
        "orchestrator.checkout",
        "orchestrator.node_load",
        "orchestrator.redaction",
        "orchestrator.streams",
    ),
    ("orchestrator.study_file", "orchestrator.record"),
    ("orchestrator.steps", "orchestrator.workspace"),
    ("orchestrator.planning",),
    (
        "orchestrator.scheduling",
        "orchestrator.garbage",
        "orchestrator.jobs",
        "orchestrator.definition",
        "orchestrator.notebook",
        "orchestrator.progress",
    ),
    ("orchestrator.execution", "orchestrator.review", "orchestrator.page", "orchestrator.named_study"),
    (
        "orchestrator.last_report",
        "orchestrator.planned_steps",
        "orchestrator.status",
        "orchestrator.comparison",
        "orchestrator.interface",
    ),
    ("orchestrator.explanation",),
    ("orchestrator.study",),
    ("orchestrator.terminal",),
    ("orchestrator.cli",),
)
"""The rooms of the house from the ground up. A room imports rooms below it; rooms on one floor do not know each
other."""

ONLY_IN = {
    "ray": (
        "orchestrator.execution.pool",
        "orchestrator.execution.host",
        "orchestrator.execution.ray_session",
        "orchestrator.jobs.submit",  # Ray's job client
    ),
    "mlflow": (
        "orchestrator.record.client.calls",
        "orchestrator.record.client.credentials",
        "orchestrator.record.creation",
        "orchestrator.record.mlflow_store",
    ),
    "vllm": (
        "actors.ablation.engine",
        "actors.ablation.vllm_decoder",
        "actors.ablation.vllm_loader",
        "actors.ablation.vllm_worker",
    ),
    "lm_eval": ("studies.benchmarks.harness",),
    "spacy": ("studies.benchmarks.annotation",),
    "pydantic": ("orchestrator.study_file",),
    "yaml": ("orchestrator.study_file.located",),
    "typer": ("orchestrator.cli",),
    "tokenizers": ("orchestrator.planning.tokenizer_files", "actors.gguf_tokenizer"),
    "jinja2": ("studies.reporting.page.render", "studies.benchmarks.harness"),
    "markupsafe": ("studies.reporting.page.render",),
    "rich": ("orchestrator.terminal",),
}
"""Of the packages that are shipped, these modules alone may import it."""

ONLY_IN_FUNCTIONS = ("vllm", "lm_eval", "spacy")

NEVER_REACHES = {
    ("orchestrator", "studies"): ("torch", "transformers", "vllm"),
    (
        "actors.scoring",
        "actors.ablation.clamps",
        "actors.ablation.token_tree",
        "actors.ablation.condition_tree",
        "actors.ablation.coverage",
        "actors.ablation.load_account",
        "actors.ablation.tree_attention",
        "actors.ablation.logits_pass",
    ): ("ray", "vllm", "mlflow"),
    ("orchestrator.planning", "orchestrator.scheduling", "orchestrator.execution.runner"): ("ray",),
}
"""{modules: what neither they nor any module of ours that they import, directly or not, may import}."""

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


@functools.cache
def parsed(path: str, source: str) -> ast.Module:
    """A module's syntax tree: every rule walks it."""
    return ast.parse(source, path)


@functools.cache
def imports(path: str, source: str) -> tuple[Import, ...]:
    """The imports of a module, wherever they stand."""
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

    return tuple(visit(parsed(path, source), False))


# ---- the rules


def imports_run_one_way(tree: Tree) -> Iterator[str]:
    for path in shipped(tree):
        allowed = MAY_IMPORT[path.split("/")[0]]
        for found in imports(path, tree[path]):
            if within(found.name, PACKAGES) and not within(found.name, allowed):
                yield f"{path}:{found.line} imports {found.name}; of ours it may import {', '.join(allowed)}"


def imports_never_go_up(tree: Tree) -> Iterator[str]:
    for path in shipped(tree):
        own = _floor(module_name(path))
        for found in imports(path, tree[path]):
            if (other := _floor(found.name)) is not None and own is not None and other.room != own.room:
                if other.number == own.number:
                    yield f"{path}:{found.line} imports {found.name} of a room on its own floor"
                elif other.number > own.number:
                    yield f"{path}:{found.line} imports {found.name} of a room above"


def every_module_is_in_a_room(tree: Tree) -> Iterator[str]:
    for path in shipped(tree):
        if "." in module_name(path) and _floor(module_name(path)) is None:
            yield f"{path} is in no room of FLOORS"


class _Floor(NamedTuple):
    number: int
    room: str


def _floor(name: str) -> _Floor | None:
    places = (_Floor(i, room) for i, rooms in enumerate(FLOORS) for room in rooms if within(name, (room,)))
    return next(places, None)


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
        if not (ast.get_docstring(parsed(path, source)) or "").strip():
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
    "actors.hf_model": "the name of an error",
}


def data_is_never_code(tree: Tree) -> Iterator[str]:
    for path in shipped(tree):
        for found in imports(path, tree[path]):
            if within(found.name, UNPICKLERS) and module_name(path) not in MAY_UNPICKLE:
                yield f"{path}:{found.line} imports {found.name}, which runs what it reads"
            if found.name in ("torch.load", "yaml.load", "numpy.load"):
                yield f"{path}:{found.line} imports {found.name} under a bare name"
        for node in ast.walk(parsed(path, tree[path])):
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


def text_files_are_utf8(tree: Tree) -> Iterator[str]:
    """Without an encoding, Python follows the locale of the machine."""
    for path in shipped(tree):
        for node in ast.walk(parsed(path, tree[path])):
            if isinstance(node, ast.Call) and _opens_text(node) and "encoding" not in {k.arg for k in node.keywords}:
                yield f"{path}:{node.lineno} calls {ast.unparse(node.func)} without encoding="


def _opens_text(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "read_text":
        return not call.args
    if name == "write_text":
        return len(call.args) == 1
    mode_at = 0 if isinstance(call.func, ast.Attribute) else 1
    modes = [*call.args[mode_at : mode_at + 1], *(k.value for k in call.keywords if k.arg == "mode")]
    is_path = isinstance(call.func, ast.Name) or not call.args or all(isinstance(m, ast.Constant) for m in modes)
    is_binary = any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in modes)
    return name == "open" and is_path and not is_binary


def the_top_level_is_tidy(tree: Tree) -> Iterator[str]:
    for name in sorted({path.split("/")[0] for path in tree} - TOP_LEVEL):
        if not name.startswith("."):
            yield f"{name} does not belong at the top level of the repository"


MAX_FILE, MAX_FUNCTION, MAX_FOLDER = 400, 60, 18
"""Lines of a shipped file and of a function in it; modules of a folder."""


def files_are_short(tree: Tree) -> Iterator[str]:
    for path in shipped(tree):
        if (lines := tree[path].count("\n")) > MAX_FILE:
            yield f"{path} has {lines} lines; at most {MAX_FILE}"


def functions_fit_on_a_screen(tree: Tree) -> Iterator[str]:
    for path in shipped(tree):
        for node in ast.walk(parsed(path, tree[path])):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MAX_FUNCTION:
                    yield f"{path}:{node.lineno} {node.name} has {lines} lines; at most {MAX_FUNCTION}"


def folders_are_small(tree: Tree) -> Iterator[str]:
    folders = Counter(path.rpartition("/")[0] for path in shipped(tree))
    for folder, count in folders.items():
        if count > MAX_FOLDER:
            yield f"{folder} has {count} modules; at most {MAX_FOLDER}"


RULES = (
    files_are_short,
    functions_fit_on_a_screen,
    folders_are_small,
    imports_run_one_way,
    imports_never_go_up,
    every_module_is_in_a_room,
    third_party_packages_stay_in_their_modules,
    some_packages_are_imported_in_functions,
    some_packages_are_out_of_reach,
    names_say_something,
    every_module_has_a_docstring,
    data_is_never_code,
    text_files_are_utf8,
)
