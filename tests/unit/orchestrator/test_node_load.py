"""Samples of a machine's load."""

import subprocess
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from orchestrator import node_load
from orchestrator.node_load import SECONDS, LoadMeter, gpu_metrics
from orchestrator.record.limits import check_metrics


def test_a_sample_is_due_now_and_then_and_its_names_are_those_of_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_load.socket, "gethostname", lambda: "node 7/ü.local")
    now = [100.0]
    meter = LoadMeter(lambda: now[0])
    assert meter.due() is None
    now[0] += SECONDS
    sample = meter.due()
    assert sample is not None and meter.due() is None
    assert set(sample.metrics) >= {
        f"system/node_7_ü.local/{name}"
        for name in (
            "cpu_utilization_percentage",
            "system_memory_usage_megabytes",
            "system_memory_usage_percentage",
        )
    }
    assert check_metrics(sample.metrics) == dict(sample.metrics) and all(v >= 0 for v in sample.metrics.values())


def test_the_gpus_of_nvidia_smi() -> None:
    answer = "0, 97, 40960, 81920\n1, [N/A], [N/A], 81920\n10, 0, 0, 81920\n\n"
    assert gpu_metrics(answer) == {
        "gpu_0_utilization_percentage": 97.0,
        "gpu_0_memory_usage_megabytes": 42949.7,
        "gpu_0_memory_usage_percentage": 50.0,
        "gpu_10_utilization_percentage": 0.0,
        "gpu_10_memory_usage_megabytes": 0.0,
        "gpu_10_memory_usage_percentage": 0.0,
    }
    assert gpu_metrics("Unable to determine the device handle") == {}


FAILURES = (OSError("gone"), subprocess.TimeoutExpired("smi", 5), subprocess.CalledProcessError(9, "smi"))


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_what_cannot_be_sampled_is_left_out(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    def no_memory() -> Any:
        raise psutil.Error

    monkeypatch.setattr(node_load.shutil, "which", lambda name: "/bin/nvidia-smi")
    monkeypatch.setattr(node_load.subprocess, "run", fail)
    now = [0.0]
    meter = LoadMeter(lambda: now[0])
    now[0] += SECONDS
    sample = meter.due()
    assert sample is not None and not any("gpu" in name for name in sample.metrics)
    monkeypatch.setattr(node_load, "psutil", SimpleNamespace(Error=psutil.Error, virtual_memory=no_memory))
    now[0] += SECONDS
    assert meter.due() is not None  # and nothing in it
