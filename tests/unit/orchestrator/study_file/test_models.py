"""Models and series of checkpoints in a study file."""

import pytest

from tests.unit.orchestrator.study_file.tiny_study import MODEL, MODELS, assert_refused, parse, with_series

REFUSED = {
    "two sources": (
        MODEL, "  - {name: a, path: b}\n",
        ":3: models.0: a model has either a name (hub) or a path (local folder)",
    ),
    "no source": (MODEL, "  - {}\n", ":3: models.0: a model has either a name (hub) or a path (local folder)"),
    "revision of a folder": (MODEL, "  - {path: a, revision: x}\n", ":3: models.0: a local folder has no revision"),
    "unknown dtype": (
        MODEL, "  - {name: a, dtype: float8}\n",
        ":3: models.0.dtype: 'float8' is not allowed; did you mean 'float32'?",
    ),
    "truth as ranks": (
        MODEL, "  - {name: a, tensor_parallel: true}\n",
        ":3: models.0.tensor_parallel: must be a whole number; found true",
    ),
    "revision without a step": (
        MODELS, "checkpoints: {of: a, revisions: [step0, main]}\n",
        ":2: checkpoints.revisions.1: 'main' does not say its training step; write",
    ),
    "long revision without a step": (
        MODELS, f"checkpoints: {{of: a, revisions: [step0, {'a' * 300}]}}\n",
        f":2: checkpoints.revisions.1: '{'a' * 44}...{'a' * 9}' does not say its training step; "
        f"write {{'{'a' * 44}...{'a' * 9}': <step>}}",
    ),
    "word as a step": (
        MODELS, "checkpoints: {of: a, revisions: [step0, {main: x}]}\n",
        ":2: checkpoints.revisions.1: a revision is a word, or {word: training",
    ),
    "huge step": (
        MODELS, "checkpoints: {of: a, revisions: [step0, step1" + 20 * "0" + "]}\n",
        ":2: checkpoints.revisions.1: a revision is a word",
    ),
    "one revision": (
        MODELS, "checkpoints: {of: a, revisions: [step0]}\n",
        ":2: checkpoints.revisions: needs at least 2; found a list",
    ),
    "revisions in another order": (
        MODELS, "checkpoints: {of: a, revisions: [step9, step0]}\n",
        ":2: checkpoints: revisions must be in the order of training",
    ),
    "cohort of no revision": (
        MODELS, "checkpoints: {of: a, revisions: [step0, step9], cohort: step1}\n",
        ":2: checkpoints: cohort: 'step1' is not one of the revisions",
    ),
    "in a series": (
        MODELS, "checkpoints: [{of: a, revision: [step0, step9]}]\n",
        ":2: checkpoints.0.revision: unknown key; did you mean 'revisions'?",
    ),
    "checkpoints of one name": (
        MODELS, "checkpoints: [{of: a, revisions: [step0, step9]}, {of: b/a, revisions: [step0, step9]}]\n",
        ":2: checkpoints.1: two series are shown as 'a'; give one of them a label",
    ),
    "series of one name": (
        MODELS, "checkpoints: [{of: a, revisions: [step0, step9]}, {of: b/a, revisions: [step1, step8]}]\n",
        ":2: checkpoints.1: two series are shown as 'a'; give one of them a label",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_one_line_with_place_value_and_remedy(old: str, new: str, expected: str) -> None:
    assert_refused(old, new, expected)


def test_checkpoints_become_models() -> None:
    study = parse(with_series())
    names = [(model.name, model.revision, model.display, model.dtype) for model in study.all_models]
    assert names == [("org/m", name, f"m@{name}", "bfloat16") for name in ("step0", "step10", "main")]
    assert [revision.step for revision in study.checkpoints[0].revisions] == [0, 10, 50]
    local = parse(with_series("checkpoints: [{of: ./m, label: mine, revisions: [step0, step10]}]\n"))
    assert [(model.path, model.display) for model in local.all_models] == [
        ("./m/step0", "mine@step0"),
        ("./m/step10", "mine@step10"),
    ]
