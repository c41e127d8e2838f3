"""match: searches the fraction of low-scored neurons whose clamp costs as much perplexity as the treated condition.

Runs on an ablation actor; the result is a neuron set, like that of a selection, and the set of its neighbour beyond the
target, where the accepted point is some way from it on the windows of the evidence.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from actors.messages.ablation import Matched, MatchRequest, WindowLosses
from orchestrator.steps.artifacts import MATCHING, MATCHING_CURVE, MATCHING_LOSSES, NEIGHBOUR_SET, NEURON_SET
from orchestrator.steps.evaluate import intervention
from orchestrator.steps.kind import ActorStepKind, Request, StepContext
from orchestrator.steps.result import StepResult, receipt_document
from orchestrator.steps.step import ANY_ROLE, Role, Step
from orchestrator.study_file.spec import ConditionSpec, MatchSpec
from studies.benchmarks.measures import PERPLEXITY
from studies.benchmarks.texts import Windows
from studies.errors import StudyError
from studies.neurons import selection
from studies.neurons.clamps import Clamp
from studies.neurons.neighbour import NEIGHBOUR_BEYOND
from studies.neurons.selection import NeuronSet

EXPECTED_EVALUATIONS = 10
"""Perplexities that a search is expected to compute; only estimates depend on it."""


def params(condition: ConditionSpec, search: MatchSpec, *, treated: Clamp, with_neighbour: bool) -> dict[str, Any]:
    """The science parameters; `search` is the condition's `match` block, `treated` the clamp of the condition that it
    names."""
    return {
        "score": condition.score,
        "clamp": condition.clamp.payload,
        "treated_clamp": treated.payload,
        "within": search.within,
        "within_rise": search.within_rise,
        "evaluations": search.evaluations,
        "neighbour_beyond": NEIGHBOUR_BEYOND if with_neighbour else None,
    }


class Match(ActorStepKind[Matched]):
    """A neuron set, searched by its perplexity."""

    name, version, role = "match", 4, Role.ABLATION

    def request(self, steps: Sequence[Step], context: StepContext) -> Request:
        """The ranking of the neurons, and the condition whose perplexity is searched."""
        (step,) = steps
        params, inputs, benchmark = step.params, step.inputs, context.perplexity
        texts = benchmark.request
        if not isinstance(texts, Windows):
            raise StudyError(f"{benchmark.name} is not scored on windows of a text, so nothing can be matched to it")
        neurons, treated = context.neuron_table(inputs["profile"]), context.neuron_set(inputs["treated"])
        num_neurons = int(neurons["layer"].isin(list(treated.indices)).sum())
        message = MatchRequest(
            step=step.id,
            benchmark=benchmark.name,
            texts=texts,
            ranking=selection.ascending(neurons, score=params["score"], without=treated),
            clamp=Clamp.from_payload(params["clamp"]),
            treated=intervention(Clamp.from_payload(params["treated_clamp"]), treated, neurons),
            treated_fraction=treated.count / num_neurons,
            evidence=(
                _recorded("baseline", 0.0, context.windows(inputs["baseline_perplexity"], benchmark.name)),
                _recorded(
                    "treated",
                    treated.count / num_neurons,
                    context.windows(inputs["treated_perplexity"], benchmark.name),
                ),
            ),
            within=params["within"],
            within_rise=params["within_rise"],
            max_evaluations=params["evaluations"],
            neighbour_beyond=params["neighbour_beyond"],
            max_nodes=self.pack_size(step, context),
        )
        return Request("match", message)

    def packs_of(self, step: Step) -> str:
        """Those of the recorded perplexities."""
        return step.inputs["baseline_perplexity"]

    def result(self, step: Step, answer: Matched, context: StepContext) -> StepResult:  # noqa: ARG002
        """The neuron set and that of its neighbour, the outcome of the search, its curve, and what it measured."""
        neurons, neighbour = NeuronSet.of(answer.neurons), NeuronSet.of(answer.neighbour_neurons)
        curve = pd.DataFrame(answer.curve, columns=["fraction", "perplexity"])
        metrics = {"matching/evaluations": float(len(curve))}
        if answer.matched:
            metrics["matching/fraction"] = answer.fraction
        if answer.neighbour.fraction is not None:
            metrics["matching/neighbour_fraction"] = answer.neighbour.fraction
        outcome = {
            "matched": answer.matched,
            "reason": answer.reason,
            "fraction": answer.fraction if answer.matched else None,
            "curve": [list(point) for point in answer.curve],
            "neuron_set": neurons.digest,
            "search": {
                **_range_document(answer.windows.search),
                "disjoint": answer.windows.is_disjoint,
                **_perplexities(answer, "search", ("baseline", "treated"), answer.windows.search),
            },
            "evidence": {
                **_range_document(answer.windows.held_out),
                **_perplexities(
                    answer, "evidence", ("baseline", "treated", "accepted", "neighbour"), answer.windows.held_out
                ),
            },
            "neighbour": {
                "fraction": answer.neighbour.fraction,
                "why": answer.neighbour.why,
                "neuron_set": neighbour.digest,
            },
            "receipt": receipt_document(answer.receipt) if answer.receipt else None,
            "seconds": answer.seconds,
        }
        frames = {
            NEURON_SET: neurons.to_frame(),
            NEIGHBOUR_SET: neighbour.to_frame(),
            MATCHING_CURVE: curve,
            MATCHING_LOSSES: losses_frame(answer.losses),
        }
        series = {
            f"matching/search_{name}": dict(enumerate(curve[name].tolist(), 1)) for name in ("fraction", "perplexity")
        }
        why = why_unmatched(outcome)
        return StepResult(metrics, frames, {MATCHING: outcome}, {"matching.outcome": why} if why else {}, series)

    def why_barren(self, document: Callable[[str], Any]) -> Mapping[str, str]:
        """A search that found no match leaves no neurons to evaluate, and one without a neighbour none of those."""
        outcome = document(MATCHING)
        if why := why_unmatched(outcome):
            return {ANY_ROLE: why}
        why = why_no_neighbour(outcome)
        return {"neighbour": f"the matched control has no neighbour: {why}"} if why else {}


KIND = Match()


def _recorded(role: Literal["baseline", "treated"], fraction: float, items: pd.DataFrame) -> WindowLosses:
    """The losses on the evidence, from the items of an evaluation of perplexity."""
    return WindowLosses(
        role=role,
        fraction=fraction,
        windows="evidence",
        numbers=tuple(items["window"].tolist()),
        nll=items["nll"].to_numpy(np.float64),
        num_tokens=items["num_tokens"].to_numpy(),
    )


def why_unmatched(outcome: Mapping[str, Any]) -> str:
    """Why a recorded search, the content of `match.json`, found no control; empty where it found one."""
    return "" if outcome["matched"] else f"the control cannot be matched: {outcome['reason']}"


def why_no_neighbour(outcome: Mapping[str, Any]) -> str:
    """Why a recorded search, the content of `match.json`, left no neighbour; empty where it did."""
    if "neighbour" not in outcome:  # version 3 and before
        return "not needed: the search did not look for one"
    return "" if outcome["neighbour"]["fraction"] is not None else outcome["neighbour"]["why"]


def losses_frame(losses: Sequence[WindowLosses]) -> pd.DataFrame:
    """Columns role, fraction, windows (`search` or `evidence`), window (its number in the text), nll (mean over the
    window's scored tokens, nats) and num_tokens; one row per measurement and window."""
    tables = [
        pd.DataFrame(
            {
                "role": one.role,
                "fraction": one.fraction,
                "windows": one.windows,
                "window": np.array(one.numbers, dtype=np.int64),
                "nll": one.nll,
                "num_tokens": one.num_tokens,
            }
        )
        for one in losses
    ]
    return pd.concat(tables, ignore_index=True)


def _range_document(windows: range) -> dict[str, int]:
    return {"first": windows.start, "stop": windows.stop, "step": windows.step}


def _perplexities(answer: Matched, windows: str, roles: Sequence[str], numbers: range) -> dict[str, float | None]:
    """{role: its perplexity on some windows}; None of a role that was not measured there."""
    levels: dict[str, float | None] = dict.fromkeys(roles)
    for one in answer.losses:
        if one.windows == windows and one.role in levels:
            levels[one.role] = PERPLEXITY.summary(one.nll[np.isin(one.numbers, numbers)].mean())
    return levels
