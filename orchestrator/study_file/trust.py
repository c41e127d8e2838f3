"""What a study file may do only if its user trusts it: run Python of its own, reach other files, open connections.

Owns which values need that, and the one line that each is refused with. Only the command line gives trust
(`--trust-study`, or `trusted` of the Python entry points): no key of a file, and no variable that it could set. Trust
is no part of any step's identity.
Invariant: a place that is refused is not looked up, so nothing of it runs.
"""

from collections.abc import Iterator, Mapping

from orchestrator.study_file.engine_options import ALLOWED, NEVER, installed_options, unknown_value
from orchestrator.study_file.located import KeyPath, Located, Problem, quote
from orchestrator.study_file.spec import StudySpec
from studies.errors import did_you_mean

REMEDY = "if you trust this study file with that, add --trust-study"
MODEL_CODE = f"runs the Python of the model's repository; {REMEDY}"
TASK_CODE = f"runs the Python of the tasks, here and now; {REMEDY}"
ENGINE = f"this engine option can run Python, reach files or open connections; {REMEDY}"


def untrusted(spec: StudySpec, located: Located) -> Iterator[Problem]:
    """What a study asks for that its user has to trust it with."""
    for place, options, runs_code in _loadings(spec, located):
        if runs_code:
            yield located.problem((*place, "trust_remote_code"), MODEL_CODE)
        for option in options:
            if option not in ALLOWED | NEVER.keys() and not _is_unknown(option):
                yield located.problem((*place, "engine", option), ENGINE)
    for i, entry in enumerate(spec.evaluate):
        if entry.document().get("trust_remote_code"):
            yield located.problem(("evaluate", i, entry.kind, "trust_remote_code"), TASK_CODE)


def unknown_options(spec: StudySpec, located: Located) -> Iterator[Problem]:
    """Engine options and backends that the vLLM installed here does not have."""
    for place, options, _ in _loadings(spec, located):
        for option, value in options.items():
            at = (*place, "engine", option)
            if _is_unknown(option):
                longer = [known for known in ALLOWED if known.startswith(option)]
                near = did_you_mean(option, longer or installed_options(), listed="`vllm serve --help`")
                yield located.problem(at, f"unknown key: the installed vLLM has no such engine option{near}")
            elif known := unknown_value(option, value):
                yield located.problem(at, f"{quote(value)} is not allowed{did_you_mean(str(value), known)}")


def _is_unknown(option: str) -> bool:
    return bool(installed_options()) and option not in installed_options() | NEVER.keys()


def _loadings(spec: StudySpec, located: Located) -> Iterator[tuple[KeyPath, Mapping[str, object], bool]]:
    """(place, engine options, whether its repository's Python runs) of every model and series."""
    for i, model in enumerate(spec.models):
        yield ("models", i), model.engine, model.trust_remote_code
    for i, series in enumerate(spec.checkpoints):
        in_list = isinstance(located.data.get("checkpoints"), list)
        yield (("checkpoints", i) if in_list else ("checkpoints",)), series.engine, series.trust_remote_code
