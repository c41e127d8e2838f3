"""Seeds and output around the harness. What its definitions may run is in `tests/integration/test_harness.py`."""

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studies.benchmarks.harness.sandbox import NUMPY_SEED, RANDOM_SEED, harness_context
from studies.errors import StudyError


def draws() -> tuple[float, float]:
    return random.random(), float(np.random.random())


def test_the_harness_has_its_seeds_and_both_generators_go_on_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    random.seed(7)
    np.random.seed(7)
    draws()
    states = random.getstate(), np.random.get_state()
    expected = draws()
    random.setstate(states[0])
    np.random.set_state(states[1])
    with harness_context(trust_remote_code=True):
        inside = draws()
        print("a progress bar", file=sys.stderr)
    assert draws() == expected and capsys.readouterr().err == ""
    assert inside == (random.Random(RANDOM_SEED).random(), float(np.random.RandomState(NUMPY_SEED).random()))


def test_generators_are_restored_after_an_error() -> None:
    before = random.getstate()
    with pytest.raises(KeyError), harness_context(trust_remote_code=True):
        random.random()
        raise KeyError
    assert random.getstate() == before


@pytest.mark.parametrize("enabled", [True, False])
def test_no_documents_of_an_earlier_run_are_served(enabled: bool) -> None:
    import datasets

    before = datasets.is_caching_enabled()
    (datasets.enable_caching if enabled else datasets.disable_caching)()
    try:
        with pytest.raises(KeyError), harness_context(trust_remote_code=True):
            assert not datasets.is_caching_enabled()
            raise KeyError
        assert datasets.is_caching_enabled() == enabled
    finally:
        (datasets.enable_caching if before else datasets.disable_caching)()


REMEDY = "read it, and if you trust it write trust_remote_code: true beside the tasks and run with --trust-study"


def refused(act: Callable[[], object]) -> str:
    """What is said where a definition that is not trusted acts like this."""
    with pytest.raises(StudyError) as error, harness_context(trust_remote_code=False):
        act()
    return str(error.value)


SOURCES: dict[str, tuple[dict[str, Any], str]] = {
    "another builder": (
        {"path": "webdataset"},
        "the definition reads its data with webdataset, not with one of arrow, csv, json, parquet, text",
    ),
    "credentials that it brings": (
        {"path": "json", "storage_options": {"key": "x"}},
        "the definition gives its data set the option storage_options",
    ),
    "credentials of this machine": (
        {"path": "json", "data_files": {"test": ["s3://bucket/rows.jsonl"]}},
        "the definition reads its data from s3://bucket/rows.jsonl, with credentials of this machine",
    ),
    "passwords of netrc": (
        {"path": "json", "data_files": {"test": "https://internal.example/rows.jsonl"}},
        "the definition reads its data from https://internal.example/rows.jsonl, with credentials of this machine",
    ),
    "a chain of transports": (
        {"path": "json", "data_files": "zip://x::https://evil.example/x.zip"},
        "the definition reads its data from zip://x::https://evil.example/x.zip, with credentials of this machine",
    ),
}


@pytest.mark.parametrize(("options", "problem"), SOURCES.values(), ids=SOURCES)
def test_data_comes_from_plain_files_and_the_hub_alone(options: dict[str, Any], problem: str) -> None:
    pytest.importorskip("lm_eval")
    import datasets

    assert refused(lambda: datasets.load_dataset(**options)) == f"{problem}; {REMEDY}"


def test_prompts_come_from_the_definition_itself(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval.api import task

    name = f"{tmp_path}/prompts.yaml:mine"
    assert refused(lambda: task.get_prompt(name)) == (
        f"the definition takes its prompt from elsewhere, {name}; {REMEDY}"
    )


@pytest.mark.parametrize("tag", ["!!python/name:os.system", "!!python/object/apply:os.system ['true']"])
def test_yaml_of_a_definition_names_no_python(tmp_path: Path, tag: str) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval.tasks import _yaml_loader

    (tmp_path / "x.yaml").write_text(f"process_docs: {tag}\n")
    with pytest.raises(Exception, match="could not determine a constructor"), harness_context(trust_remote_code=False):
        _yaml_loader.load_yaml(tmp_path / "x.yaml")


@pytest.mark.timeout(60)
def test_files_that_never_end_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    import datasets
    from lm_eval.tasks import _index

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "including.yaml").write_text("include: pipe\n")
    for act in (
        lambda: datasets.load_dataset("json", data_files={"test": str(pipe)}),
        lambda: datasets.load_dataset("json", data_files=f"file://{pipe}"),
        lambda: datasets.load_dataset(str(tmp_path)),
        lambda: _index.load_yaml(pipe),
        lambda: _index.load_yaml(tmp_path / "including.yaml"),
    ):
        assert refused(act) == f"{pipe} cannot be read: it is not an ordinary file"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("template", ["'a' * 10 ** 12", "10 ** (10 ** 10)", "'%999999999d' % 1", "[0] * 10 ** 9"])
def test_a_template_cannot_fill_the_memory(template: str) -> None:
    pytest.importorskip("lm_eval")
    from jinja2.exceptions import SecurityError
    from lm_eval import utils

    with pytest.raises(SecurityError), harness_context(trust_remote_code=False):
        utils.apply_template(f"{{{{ {template} }}}}", {})


def test_templates_of_tasks_do_what_they_did() -> None:
    pytest.importorskip("lm_eval")
    from lm_eval import utils

    with harness_context(trust_remote_code=False):
        made = utils.apply_template("{{ '-' * n }}{{ 2 ** 3 }}{{ 7 % 4 }}{{ '%03d|' % n }}{{ [n] * 2 }}", {"n": 5})
    assert made == "-----83005|[5, 5]"
