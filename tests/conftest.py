"""Fixtures shared by all tests: where real data and real weights lie, and a quiet environment."""

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it to all that it starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest.register_assert_rewrite("tests.world")

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("HALFWAVE_TEST_DATA", ROOT / ".." / "shared" / "data")).resolve()
SMOLLM2 = ROOT / ".models" / "SmolLM2-135M-Instruct"


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The evaluation data, in the layout of docs/data.md."""
    if not (DATA / "blimp").is_dir():
        pytest.skip(f"no evaluation data at {DATA} (set HALFWAVE_TEST_DATA)")
    return DATA


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Real weights: SmolLM2-135M-Instruct, dequantised."""
    if not (SMOLLM2 / "config.json").is_file():
        pytest.skip(f"no model at {SMOLLM2} (run `make model`)")
    return SMOLLM2
