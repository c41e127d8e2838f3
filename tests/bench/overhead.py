"""What the record and the plan cost at scale: 10,080 finished steps of a study of 20 models, in a real SQLite store.

The models are tiny random folders, the steps those of the real plan, their results made up and committed through
`Record` as the runner does; nothing is computed. Timed are the committing, `halfwave plan` as a whole process, and what
a resume does before it decides anything: looking all steps up, verifying every artifact, taking them over.

    python -m tests.bench.overhead --folder /tmp/overhead      # a folder that holds the store already is used again
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from orchestrator.execution.runner import NEURON_SET, NEURONS, Runner
from orchestrator.record.record import Record
from orchestrator.steps.step import Step
from orchestrator.study import Study
from studies.neurons.selection import NeuronSet

NUM_MODELS = 20
ITEMS = 400
"""Rows in the table of every evaluation; about as many as the embedded pairs have."""
STUDY = """\
study: overhead
models:
{models}
profile: {{corpus: embedded, tokens: 4096, window: 128}}
conditions:
  wasserstein: {{select: top, fraction: 0.01, clamp: negative}}
  dose:        {{select: top, fraction: {fractions}, clamp: negative}}
  random:      {{select: random, like: dose, seeds: [0, 1, 2], clamp: negative}}
  positive:    {{select: top, fraction: 0.01, clamp: positive}}
  zero:        {{select: top, fraction: 0.01, clamp: zero}}
evaluate:
  - perplexity: {{corpus: embedded, window: 128, tokens: 4096}}
  - embedded_pairs
  - embedded_knowledge
  - pairs: first.jsonl
  - pairs: second.jsonl
noise_floor: false
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the study, its models and its store lie")
    parser.add_argument("--models", type=int, default=NUM_MODELS)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    file = write_study(arguments.folder, arguments.models)
    if not (file.parent / "work" / "mlflow.db").exists():
        seconds, count = commit_all(file)
        print(f"committed   {count:,} steps in {seconds:.0f} s: {count / seconds:.1f} a second")
    rounds = [timed(file) for _ in range(arguments.rounds)]
    for what in rounds[0]:
        wall, processor = zip(*(one[what] for one in rounds), strict=True)
        spread = f"[{min(wall):.1f}, {max(wall):.1f}]"
        print(
            f"{what:34} {statistics.median(wall):6.1f} s {spread:14} of processor {statistics.median(processor):6.1f} s"
        )


def write_study(folder: Path, num_models: int) -> Path:
    """The study file, its models and its two files of pairs; what is there stays."""
    from tests.oracles import make_model

    for i in range(num_models):
        if not (folder / f"m{i}" / "tokenizer.json").is_file():
            make_model(folder / f"m{i}", "llama", seed=i)
    for name in ("first", "second"):
        pairs = [{"sentence_good": f"{name} {i} is", "sentence_bad": f"{name} {i} are"} for i in range(ITEMS)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    models = "\n".join(f"  - ./m{i}" for i in range(num_models))
    fractions = [round(0.01 + 0.02 * i, 2) for i in range(1, 21)]
    file = folder / "study.yaml"
    file.write_text(STUDY.format(models=models, fractions=fractions))
    return file


def open_study(file: Path) -> Study:
    return Study.open(file, workdir=file.parent / "work")


def open_record(study: Study) -> Record:
    record, spec = study.record(), study.spec
    facts = study.plan.study.facts()
    record.open_study(spec.study, definition=study.path.read_text(), resolved=facts, environment={})
    return record


def commit_all(file: Path) -> tuple[float, int]:
    """Make up a result for every step of the plan; returns the seconds that committing them took, and their number."""
    study = open_study(file)
    record, plan = open_record(study), study.plan
    started = time.perf_counter()
    for step in plan.steps.values():
        key, *others = plan.runs[step.id]
        frames, metrics = made_up(step)
        identity = {f"identity/{step.name}.json": json.loads(json.dumps(step.payload))}
        receipt = {f"receipts/{step.name}.json": {"route": "tree", "neurons": list(range(100))}}
        committed = record.commit(
            key, step.id, step.name, metrics=metrics, frames=frames, documents={**identity, **receipt}
        )
        for other in others:
            record.adopt(other, committed)
    seconds = time.perf_counter() - started
    assert record.close("FINISHED") == 0
    return seconds, len(plan.steps)


def made_up(step: Step) -> tuple[dict[str, pd.DataFrame], dict[str, float]]:
    rng = np.random.default_rng(int(step.id[:8], 16))
    match step.kind:
        case "profile":
            return {NEURONS: pd.DataFrame(rng.normal(size=(768, 10)), columns=list("abcdefghij"))}, {"seconds": 1.0}
        case "select":
            return {
                NEURON_SET: NeuronSet.of({layer: rng.permutation(256)[:26].tolist() for layer in range(3)}).to_frame()
            }, {}
    scores = {"logprob_good": rng.normal(size=ITEMS), "logprob_bad": rng.normal(size=ITEMS)}
    items = pd.DataFrame({"uid": "u", "pair": range(ITEMS), **scores, "correct": 1.0})
    name = step.payload["params"]["benchmark"]
    return {f"items/{name}.parquet": items}, {f"{name}/accuracy": float(rng.random())}


def timed(file: Path) -> dict[str, tuple[float, float]]:
    """One round, in fresh processes: {what: (seconds, seconds of processor time)}."""
    found = {}
    command = [sys.executable, "-m", "orchestrator.cli", "plan", str(file), "--workdir", str(file.parent / "work")]
    with stage(found, "halfwave plan, the whole process"):
        told = run(command)
    assert " 0 to run" in told, told[-500:]
    code = "import json, pathlib, sys; from tests.bench.overhead import resume; "
    code += "print(json.dumps(resume(pathlib.Path(sys.argv[1]))))"
    return {**found, **json.loads(run([sys.executable, "-c", code, str(file)]))}


def run(command: list[str]) -> str:
    """Its output. With byte code kept, as Python does unless it is told otherwise."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout


def resume(file: Path) -> dict[str, tuple[float, float]]:
    """In a process of its own: the stages of a resume."""
    found: dict[str, tuple[float, float]] = {}
    with stage(found, "resume: read, resolve and plan"):
        study = open_study(file)
    with stage(found, "resume: open the record"):
        record = open_record(study)
    runner = Runner(study.plan, record, listener=lambda *told: None, on_progress=lambda *told: None)
    with stage(found, "resume: look up, verify, take over"):
        assert runner.load_finished()
    record.close("FINISHED")
    return found


@contextmanager
def stage(found: dict[str, tuple[float, float]], name: str) -> Iterator[None]:
    started, before = time.perf_counter(), os.times()
    yield
    after = os.times()
    found[name] = time.perf_counter() - started, sum(after[:4]) - sum(before[:4])


if __name__ == "__main__":
    main()
