"""Random faults while a study runs, one after another: `python -m tests.soak --faults 100 --seed 0`.

Every fault gets a working folder of its own, and every second one a tracking server. A driver runs the study as a user
would; at a random moment the fault strikes; what broke is put right (the server is back, the disk has room), and the
study is run again until it ends with exit code 0. Then its numbers must equal those of an undisturbed run, no run may
be open, and `plan` must find nothing to do. Prints one line a fault, and ends with 1 if any failed. About a minute a
fault on two cores.
"""

import argparse
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas
import psutil
from mlflow import MlflowClient

from tests import oracles
from tests.integration import made_up
from tests.mlflow_server import Server

STUDY = """\
study: soak
models: [{path: ./llama}]
profile: {corpus: ./text.txt, tokens: 4000, window: 64, bins: 256, scores: [wasserstein_distance]}
conditions:
  top:    {select: top, fraction: 0.1, clamp: zero}
  random: {select: random, like: top, seeds: [0], clamp: zero}
evaluate:
  - perplexity: {corpus: ./text.txt, window: 64, tokens: 1280}
  - pairs: ./pairs.jsonl
noise_floor: false
"""
MOST_RUNS = 4
"""Runs after which a study must have ended well."""
RUN_SECONDS = 420.0
DISK_MEBIBYTES = 24


class World(NamedTuple):
    """One fault's surroundings."""

    project: Path
    workdir: Path
    server: Server | None
    chance: random.Random

    @property
    def uri(self) -> str:
        return self.server.uri if self.server else f"sqlite:///{self.workdir}/mlflow.db"

    def command(self, verb: str, *options: str) -> list[str]:
        where = ["--tracking-uri", self.uri] if self.server else []
        return made_up.command(self.project / "study.yaml", self.workdir, verb, *where, *options)


Fault = Callable[[World, subprocess.Popen[bytes]], Callable[[], object]]
"""Breaks something while a driver runs; returns what puts it right once the driver has ended."""


def nothing() -> None:
    return


def signalled(number: signal.Signals) -> Fault:
    """The driver gets a signal."""

    def strike(world: World, driver: subprocess.Popen[bytes]) -> Callable[[], object]:
        driver.send_signal(number)
        return nothing

    return strike


def everything_killed(world: World, driver: subprocess.Popen[bytes]) -> Callable[[], object]:
    """As by a machine without power: driver, Ray and actors at once."""
    for process in (psutil.Process(driver.pid), *children(driver)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return nothing


def killed(name: str) -> Fault:
    """One process of the driver's, by a part of its name, is killed."""

    def strike(world: World, driver: subprocess.Popen[bytes]) -> Callable[[], object]:
        if found := [process for process in children(driver) if name in title(process)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                world.chance.choice(found).kill()
        return nothing

    return strike


def stopped(name: str) -> Fault:
    """One process of the driver's (or the driver, where no name is given) is stopped for some seconds."""

    def strike(world: World, driver: subprocess.Popen[bytes]) -> Callable[[], object]:
        found = [process for process in children(driver) if name in title(process)] if name else []
        chosen = world.chance.choice(found) if found else psutil.Process(driver.pid)
        with contextlib.suppress(psutil.NoSuchProcess):
            chosen.suspend()
            time.sleep(world.chance.uniform(2, 15))
            chosen.resume()
        return nothing

    return strike


def server_away(world: World, driver: subprocess.Popen[bytes]) -> Callable[[], object]:
    """The server is killed and comes back after a while, perhaps only after the driver has given up."""
    server = world.server
    assert server is not None
    server.stop()
    if world.chance.random() < 0.5:
        return server.start
    time.sleep(world.chance.uniform(1, 20))
    server.start()
    return nothing


def disk_full(world: World, driver: subprocess.Popen[bytes]) -> Callable[[], object]:
    """The file system of the working folder is filled to the last byte."""
    ballast = world.workdir.parent / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        for size in (2**16, 2**10, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    return ballast.unlink


def damaged(world: World, driver: subprocess.Popen[bytes]) -> Callable[[], object]:
    """The driver is killed, and one of the study's files is cut, altered or removed."""
    driver.kill()
    driver.wait()
    folders = [world.workdir, server_folder(world.workdir.parent)]
    files = [
        file
        for folder in folders
        for file in folder.rglob("*")
        if file.is_file() and not file.name.startswith(("mlflow.db", "server.log"))
    ]
    if files:
        file = world.chance.choice(sorted(files))
        content = file.read_bytes()
        match world.chance.randrange(3):
            case 0:
                file.unlink()
            case 1:
                file.write_bytes(content[: world.chance.randrange(len(content) + 1)])
            case 2:
                file.write_bytes(bytes(byte ^ 0x55 for byte in content[:99]) + content[99:])
    return nothing


EVERYWHERE: dict[str, Fault] = {
    "driver killed": signalled(signal.SIGKILL),
    "driver terminated": signalled(signal.SIGTERM),
    "terminal closed": signalled(signal.SIGHUP),
    "Ctrl-C": signalled(signal.SIGINT),
    "everything killed": everything_killed,
    "actor killed": killed("ray::Host"),
    "raylet killed": killed("raylet"),
    "head killed": killed("gcs_server"),
    "driver stopped": stopped(""),
    "actor stopped": stopped("ray::Host"),
    "files damaged": damaged,
    "disk full": disk_full,
}
SERVERS_ONLY: dict[str, Fault] = {"server away": server_away}


def server_folder(folder: Path) -> Path:
    """Where the server beside a fault's folder keeps its store."""
    return folder.with_name(f"{folder.name}-server")


def children(driver: subprocess.Popen[bytes]) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(driver.pid).children(recursive=True)
    return []


def title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return f"{process.name()} {' '.join(process.cmdline()[:1])}"
    return ""


@contextlib.contextmanager
def surroundings(project: Path, folder: Path, chance: random.Random, *, with_server: bool) -> Iterator[World]:
    """A small file system, mounted where that is allowed, and perhaps a server."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_MEBIBYTES}m", "tmpfs"]
    is_mounted = not subprocess.run(["mount", *options, folder], capture_output=True, check=False).returncode
    server = None
    try:
        if with_server:
            server_folder(folder).mkdir()
            server = Server(server_folder(folder))
            server.start()
        yield World(project, folder / "work", server, chance)
    finally:
        if server is not None:
            server.stop()
        if is_mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)


def end(driver: subprocess.Popen[bytes]) -> int:
    """The driver's exit code; one that does not end is killed, which is -9."""
    try:
        return driver.wait(RUN_SECONDS)
    except subprocess.TimeoutExpired:
        driver.kill()
        return driver.wait()


def run_through(world: World, log: Path, fault: Fault | None, delay: float) -> list[int]:
    """Run the study until it ends well, with a fault during the first run; returns the exit codes."""
    codes: list[int] = []
    while len(codes) < MOST_RUNS:
        with open(log, "ab") as output:
            driver = subprocess.Popen(world.command("run"), stdout=output, stderr=output)
        repair: Callable[[], object] = nothing
        if fault is not None and not codes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                driver.wait(delay)
            if driver.poll() is None:
                repair = fault(world, driver)
        codes.append(end(driver))
        repair()
        if codes[-1] == 0:
            break
    return codes


def complaints(world: World, codes: list[int], expected: pandas.DataFrame | None, log: Path) -> list[str]:
    """What is wrong once the study has ended."""
    if codes[-1] != 0:
        return [f"not done after {len(codes)} runs"]
    found = []
    if "Traceback" in log.read_text(errors="replace"):
        found.append("a traceback")
    client = MlflowClient(world.uri)
    (experiment,) = client.search_experiments(filter_string="name = 'soak'")
    runs = client.search_runs([experiment.experiment_id])
    found += [f"{run.info.run_name} is open" for run in runs if run.info.status == "RUNNING"]
    if expected is not None:
        try:
            made_up.assert_same(made_up.numbers_at(world.uri, "soak"), expected)
        except AssertionError as error:
            found.append(f"other numbers: {str(error).strip().splitlines()[0]}")
    plan = json.loads(subprocess.run(world.command("plan", "--json"), capture_output=True, check=True).stdout)
    found += [f"plan would run {step['step']}" for step in plan["steps"] if not step["cached"]]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first fault, to go on or to repeat one")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="soak-"))
    project = root / "project"
    oracles.make_model(project / "llama", "llama")
    made_up.write_text_and_pairs(project, made_up.phrases(), num_pairs=60)
    (project / "study.yaml").write_text(STUDY)
    with surroundings(project, root / "undisturbed", random.Random(0), with_server=False) as world:
        began = time.monotonic()
        codes = run_through(world, root / "undisturbed.log", None, 0)
        seconds = time.monotonic() - began
        assert codes == [0], (root / "undisturbed.log").read_text()
        expected = made_up.numbers_at(world.uri, "soak")
    print(f"undisturbed: {seconds:.0f} s; everything is in {root}", flush=True)
    tally: Counter[str] = Counter()
    for number in range(options.first, options.first + options.faults):
        chance = random.Random(f"{options.seed} {number}")
        with_server = chance.random() < 0.5
        name, fault = chance.choice(list((EVERYWHERE | (SERVERS_ONLY if with_server else {})).items()))
        delay, log = chance.uniform(0, seconds), root / f"{number}.log"
        began = time.monotonic()
        with surroundings(project, root / str(number), chance, with_server=with_server) as world:
            codes = run_through(world, log, fault, delay)
            found = complaints(world, codes, expected, log)
        tally[f"{name}: {'FAILED' if found else 'ok'}"] += 1
        where = "server" if with_server else "sqlite"
        verdict = "; ".join(found) or "ok"
        took = time.monotonic() - began
        print(f"{number} {where} {name} after {delay:.1f} s: exit {codes}: {verdict} ({took:.0f} s)", flush=True)
    for line, count in sorted(tally.items()):
        print(f"{count:4} {line}")
    return 1 if any("FAILED" in line for line in tally) else 0


if __name__ == "__main__":
    sys.exit(main())
