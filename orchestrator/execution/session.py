"""One session on a Ray cluster: connect, open a pool of actors, choose the order, run what is left of a plan.

Owns the order in which these are opened and closed, and which weights each actor loads. Refuses to know how a step is
run (`runner`) or how Ray is started (`ray_session`).
Invariant: when `compute` returns or raises, no actor is left, and a local Ray has ended.
"""

from actors.messages.model import ModelSource
from orchestrator.execution.pool import Pool
from orchestrator.execution.ray_session import ray_session
from orchestrator.execution.runner import Runner
from orchestrator.execution.sources import model_source
from orchestrator.planning.plan import Plan
from orchestrator.scheduling.cluster import ActorKind
from orchestrator.scheduling.estimates import cluster_of, costs, tensor_parallel
from orchestrator.scheduling.simulation import simulate_best_order
from orchestrator.steps.step import Role


def compute(
    plan: Plan, runner: Runner, *, address: str | None, silence_seconds: float, patience_seconds: float
) -> None:
    """Run the steps of the plan that the runner has not found in the record, each to a terminal state.

    address: of a running Ray cluster, HOST:PORT or `auto`; None = a local one. silence_seconds, patience_seconds: see
    `Pool`. Raises StudyError if there is no such cluster, KeyboardInterrupt if the study was interrupted.
    """
    with ray_session(address):
        sources: dict[str, ModelSource] = {}
        with Pool(sources, silence_seconds=silence_seconds, patience_seconds=patience_seconds) as pool:
            nodes = pool.nodes()
            cluster = cluster_of(plan, nodes)
            for model in plan.study.models:
                demand = cluster.demands[ActorKind(model.label, Role.ABLATION)]
                ranks = tensor_parallel(model, nodes, plan.study.spec.profile)
                sources[model.label] = model_source(model, demand, ranks)
            seconds = costs(plan, cluster)
            cluster, _ = simulate_best_order(plan.steps, seconds, cluster, runner.outcome().states)
            runner.run(pool, cluster, seconds)
