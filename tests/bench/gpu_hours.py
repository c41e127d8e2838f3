"""GPU-hours of the catalog's studies of the paper, in 16 and in 32 bits, as the product forecasts them: needs no GPU.

    python -m tests.bench.gpu_hours --data DATA

Prints the tables of docs/gpu.md, which has the formulas and the assumptions.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from actors.ablation.routes import cuda_nodes
from orchestrator.execution.sources import model_source
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.plan import Plan
from orchestrator.scheduling.estimates import RATES, flops, memory_need
from orchestrator.scheduling.forecast import Forecast, forecast, parse_nodes
from orchestrator.scheduling.placement import Demand
from orchestrator.study_file.spec import ProfileSpec
from tests.bench.makespan import STUDIES, plan_of

H100 = parse_nodes("1x8@80")
DTYPES = ("bfloat16", "float32")
"""float16 takes what bfloat16 takes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    data_root = parser.parse_args().data
    print("| study | dtype | GPU-hours | on one GPU, hours | on 4 nodes of 8, hours |\n|---|---|---|---|---|")
    models: dict[str, ResolvedModel] = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        for study in STUDIES:
            plan = plan_of(study, data_root, monkeypatch)
            models |= {model.label: model for model in plan.study.models if not model.checkpoint}
            for dtype in DTYPES:
                print(hours(study, replace_dtype(plan, dtype)), flush=True)
    print("\n| model | nodes of a pack |", " | ".join(f"{dtype}: seconds, GiB of a GPU" for dtype in DTYPES), "|")
    print("|---" * (2 + len(DTYPES)) + "|")
    for model in sorted(models.values(), key=lambda model: model.num_parameters):
        print(pack(model))


def in_dtype(model: ResolvedModel, dtype: str) -> ResolvedModel:
    return replace(model, spec=model.spec.model_copy(update={"dtype": dtype}))


def replace_dtype(plan: Plan, dtype: str) -> Plan:
    """The plan with all models in this dtype."""
    models = tuple(in_dtype(model, dtype) for model in plan.study.models)
    return replace(plan, study=replace(plan.study, models=models))


def hours(study: str, plan: Plan) -> str:
    alone, many = foreseen(plan, "1x1@80"), foreseen(plan, "4x8@80")
    without = {fit.model.partition("@")[0] for fit in alone.models if fit.lacking}
    apart = f" without {', '.join(sorted(without))}" if without else ""
    spans = f"{alone.makespan / 3600:.1f}{apart} | {many.makespan / 3600:.1f}"
    return f"| `{study}` | {plan.study.models[0].dtype} | {many.device_hours:.1f} | {spans} |"


def foreseen(plan: Plan, cluster: str) -> Forecast:
    return forecast(plan, (), parse_nodes(cluster), RATES, where=cluster)


def pack(model: ResolvedModel) -> str:
    """A pack of the default size: its nodes, the seconds of a forward pass, and what the actor needs of each GPU."""
    ranks = model.spec.tensor_parallel or 1
    cells = []
    for dtype in DTYPES:
        one = in_dtype(model, dtype)
        nodes = cuda_nodes(model_source(one, Demand(1, ranks), ranks))
        seconds = flops(one, nodes) / (RATES.gpu[dtype] * ranks)
        cells += [f"{nodes:,} | {seconds:.2f}", f"{memory_need(one, ProfileSpec(), ranks, H100) / 2**30:.0f}"]
    sixteen, gib, full, full_gib = cells
    name = model.label if ranks == 1 else f"{model.label} on {ranks} GPUs"
    return f"| {name} | {sixteen} s, {gib} GiB | {full.partition('| ')[2]} s, {full_gib} GiB |"


if __name__ == "__main__":
    main()
