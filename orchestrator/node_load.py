"""What the machine of an actor is busy with: CPUs, memory, GPUs, sampled now and then.

Owns the pace, and the names: those of MLflow's own system metrics with the machine in front. Starts no thread: whoever
holds a meter asks it. Invariant: a sample that cannot be taken is none, never an error.
"""

import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable

import psutil

from actors.messages.stream import Load

SECONDS = 30.0
"""Pause between two samples."""
QUERY = ["nvidia-smi", "--query-gpu=index,utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits"]
QUERY_SECONDS = 5.0
MEGABYTE = 1e6
MEBIBYTE = 2**20


class LoadMeter:
    """Samples the machine that it is made on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._node = clock, re.sub(r"[^\w.-]", "_", socket.gethostname()) or "node"
        self._last = clock()
        self._has_gpus = shutil.which(QUERY[0]) is not None
        psutil.cpu_percent()  # the first answer is the mean since this one

    def due(self) -> Load | None:
        """A sample, if the last one is old enough: its CPU load is the mean since then."""
        if self._clock() - self._last < SECONDS:
            return None
        self._last = self._clock()
        metrics: dict[str, float] = {}
        with contextlib.suppress(psutil.Error, OSError):
            memory = psutil.virtual_memory()
            metrics |= {
                "cpu_utilization_percentage": psutil.cpu_percent(),
                "system_memory_usage_megabytes": round(memory.used / MEGABYTE, 1),
                "system_memory_usage_percentage": memory.percent,
            }
        if self._has_gpus:
            metrics |= _gpus()
        return Load(metrics={f"system/{self._node}/{name}": value for name, value in metrics.items()})


def _gpus() -> dict[str, float]:
    """Load and memory of the machine's GPUs, according to `nvidia-smi`; empty where it does not answer."""
    try:
        answer = subprocess.run(QUERY, capture_output=True, text=True, check=True, timeout=QUERY_SECONDS).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return gpu_metrics(answer)


def gpu_metrics(answer: str) -> dict[str, float]:
    """The metrics of nvidia-smi's lines; a GPU that does not report a number, as in a virtual machine, is left out."""
    metrics: dict[str, float] = {}
    for line in answer.splitlines():
        with contextlib.suppress(ValueError):
            index, load, used, total = (float(cell) for cell in line.split(","))
            metrics |= {
                f"gpu_{index:.0f}_utilization_percentage": load,
                f"gpu_{index:.0f}_memory_usage_megabytes": round(used * MEBIBYTE / MEGABYTE, 1),
                f"gpu_{index:.0f}_memory_usage_percentage": round(100 * used / total, 1) if total else 0.0,
            }
    return metrics
