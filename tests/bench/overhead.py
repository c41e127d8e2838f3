"""Costs of the record and the plan at scale: 10,080 finished steps of a study with 20 models, in a real SQLite store.

The models are tiny random folders; the steps are those of the real plan. Their results are made up and committed
through `Record`, as the runner does; nothing is computed. Timed are the commits, `halfwave plan` as a whole process,
and the work of a resume before its first decision: look up all steps, verify every artifact, take the steps over.

    python -m tests.bench.overhead --folder /tmp/overhead      # a store that is in the folder already is reused
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

from orchestrator.execution.runner import Runner
from orchestrator.record.record import Record
from orchestrator.steps.artifacts import NEURON_SET, NEURONS, identity_document, items_table
from orchestrator.steps.step import Step
from orchestrator.study import Study
from studies.neurons.selection import NeuronSet

NUM_MODELS = 20
ITEMS = 400
"""Rows in the table of every evaluation, about as many as the embedded pairs have."""

Times = dict[str, tuple[float, float]]
"""{stage: (seconds, seconds of processor time)}."""

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
    parser.add_argument("--folder", type=Path, required=True, help="for the study, its models and its store")
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
    for name in rounds[0]:
        wall, processor = zip(*(times[name] for times in rounds), strict=True)
        spread = f"[{min(wall):.1f}, {max(wall):.1f}]"
        print(
            f"{name:34} {statistics.median(wall):6.1f} s {spread:14} of processor {statistics.median(processor):6.1f} s"
        )


def write_study(folder: Path, num_models: int) -> Path:
    """Write the study file, its models and its two files of pairs; models that are there stay."""
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
    resolved = study.plan.study.document()
    record.open_study(spec.study, definition=study.path.read_text(), resolved=resolved, environment={})
    return record


def commit_all(file: Path) -> tuple[float, int]:
    """Commit a made-up result for every step of the plan; returns (seconds, number of steps)."""
    study = open_study(file)
    record, plan = open_record(study), study.plan
    started = time.perf_counter()
    for step in plan.steps.values():
        key, *others = plan.runs[step.id]
        frames, metrics = made_up(step)
        identity = {identity_document(step.name): json.loads(json.dumps(step.payload))}
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
    """Random tables and metrics of the shapes that a real step would have, seeded by its id."""
    rng = np.random.default_rng(int(step.id[:8], 16))
    match step.kind.name:
        case "profile":
            return {NEURONS: pd.DataFrame(rng.normal(size=(768, 10)), columns=list("abcdefghij"))}, {"seconds": 1.0}
        case "select":
            neurons = NeuronSet.of({layer: rng.permutation(256)[:26].tolist() for layer in range(3)})
            return {NEURON_SET: neurons.to_frame()}, {}
    scores = {"logprob_good": rng.normal(size=ITEMS), "logprob_bad": rng.normal(size=ITEMS)}
    items = pd.DataFrame({"uid": "u", "pair": range(ITEMS), **scores, "correct": 1.0})
    benchmark = step.payload["params"]["benchmark"]
    return {items_table(benchmark): items}, {f"{benchmark}/accuracy": float(rng.random())}


def timed(file: Path) -> Times:
    """One round, in fresh processes."""
    times: Times = {}
    command = [sys.executable, "-m", "orchestrator.cli", "plan", str(file), "--workdir", str(file.parent / "work")]
    with stage(times, "halfwave plan, the whole process"):
        output = run(command)
    assert " 0 to run" in output, output[-500:]
    code = "import json, pathlib, sys; from tests.bench.overhead import resume; "
    code += "print(json.dumps(resume(pathlib.Path(sys.argv[1]))))"
    return {**times, **json.loads(run([sys.executable, "-c", code, str(file)]))}


def run(command: list[str]) -> str:
    """The output of a command that may cache byte code, as Python does by default."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout


def resume(file: Path) -> Times:
    """The stages of a resume; called in a process of its own."""
    times: Times = {}
    with stage(times, "resume: read, resolve and plan"):
        study = open_study(file)
    with stage(times, "resume: open the record"):
        record = open_record(study)
    runner = Runner(study.plan, record)
    with stage(times, "resume: look up, verify, take over"):
        assert runner.load_finished()
    record.close("FINISHED")
    return times


@contextmanager
def stage(times: Times, name: str) -> Iterator[None]:
    """Time the block, with its child processes."""
    started, before = time.perf_counter(), os.times()
    yield
    after = os.times()
    times[name] = time.perf_counter() - started, sum(after[:4]) - sum(before[:4])


if __name__ == "__main__":
    main()
