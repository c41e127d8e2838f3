"""The command with actors that answer at once: `python -m tests.integration.made_up_actors run STUDY`.

For tests of what a real process prints, where Ray and a model would only take time.
"""

from orchestrator import cli
from orchestrator.execution.runner import Runner
from orchestrator.scheduling.placement import Demand
from orchestrator.study import Study
from tests import fakes
from tests.world import make_cluster


def compute(study: Study, runner: Runner, *where: object) -> None:
    """In place of `Study._compute`."""
    cluster = make_cluster([fakes.NODE], {model.label: Demand(2.0, 0.0) for model in study.plan.study.models})
    runner.run(fakes.FakePool(study.plan), cluster, {})


if __name__ == "__main__":
    Study._compute = compute
    cli.entry()
