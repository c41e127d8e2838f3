"""Everything that can be checked on a GPU machine with torch alone, as one table: `python -m tests.gpu`.

Ends with 1 if a check fails. Without a GPU, `--device cpu` runs the checks of correctness.
"""

import argparse
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator

import torch

from tests.gpu import checks
from tests.gpu.checks import Row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    device = torch.device(parser.parse_args().device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device; --device cpu runs the checks of correctness")
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "CPU"
    print(f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}, Python {platform.python_version()}\n")
    print("| check | found | at most | |\n|---|---|---|---|")
    started, num_failed = time.monotonic(), 0
    for part in (checks.correctness, checks.speed_and_memory)[: 2 if device.type == "cuda" else 1]:
        for row in rows(part, device):
            num_failed += row.verdict == "FAILED"
            limit = f"{row.at_most:.3g}" if row.verdict else ""
            print(f"| {row.name} | {row.found:.3g} {row.unit} | {limit} | {row.verdict} |", flush=True)
    print(f"\n{num_failed} failed, {time.monotonic() - started:.0f} s")
    return 1 if num_failed else 0


def rows(part: Callable[[torch.device], Iterator[Row]], device: torch.device) -> Iterator[Row]:
    """The rows of one part; an exception ends it with a row that failed, and its trace on stderr."""
    try:
        yield from part(device)
    except Exception as error:  # of any kind: the rest of the table is worth having
        traceback.print_exc()
        yield Row(f"{part.__name__}: {type(error).__name__}", 1, "", 0)


if __name__ == "__main__":
    sys.exit(main())
