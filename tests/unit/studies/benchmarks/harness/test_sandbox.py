"""Seeds and output around the harness. What its definitions may run is in `tests/integration/test_harness.py`."""

import random
import sys

import numpy as np
import pytest

from studies.benchmarks.harness.sandbox import NUMPY_SEED, RANDOM_SEED, harness_context


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
