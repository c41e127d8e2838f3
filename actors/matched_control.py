"""Measures what the search for a perplexity-matched control asks for: fractions of a ranking, on windows of a text.

Owns which windows each measurement is made on and what is kept of it; the two searches are `studies.neurons.matching`
and `studies.neurons.neighbour`, and how a model answers belongs to the ablation actor. The search for the fraction sees
the search's windows alone; what is accepted is measured on all windows of the evidence, and the neighbour is judged on
those that the search has not seen. Invariant: every number is finite or the step fails.
"""

import dataclasses
import math
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from actors.messages.ablation import Intervention, Matched, MatchRequest, Receipt, WindowLosses
from actors.messages.model import ModelSource
from actors.messages.stream import Progress, StepFailed
from studies.benchmarks.perplexity import perplexity
from studies.benchmarks.texts import Windows
from studies.neurons.match_windows import match_windows
from studies.neurons.matching import SearchLimits, SearchOutcome, match_perplexity
from studies.neurons.neighbour import Levels, Neighbour, local_power, seek_neighbour

Role = Literal["baseline", "treated", "try", "accepted", "neighbour"]
Neurons = Mapping[int, tuple[int, ...]]

Part = Literal["search", "evidence"]
Found = TypeVar("Found")

NO_CONTROL = "not needed: no fraction was accepted"
NOT_ASKED_FOR = "not needed: nothing rests on this control's evidence"


class MeasuredModel(Protocol):
    """A model that answers under one intervention after another."""

    @property
    def source(self) -> ModelSource:
        """What the model is."""
        ...

    def num_windows(self, texts: Windows) -> int:
        """How many windows a text has, whichever of them are used."""
        ...

    def plan(self, benchmark: str, texts: Windows, max_nodes: int | None) -> Any:
        """What the windows of a request are scored by, once for each of them."""
        ...

    def losses(self, intervention: Intervention, plan: Any) -> tuple[np.ndarray, np.ndarray, Receipt]:
        """([num_windows] sums of log-probabilities in nats, [num_windows] scored tokens, proof of the intervention).

        Raises FloatingPointError if a log-probability is not finite.
        """
        ...


def matched_control(model: MeasuredModel, request: MatchRequest) -> Iterator[Progress | Matched | StepFailed]:
    """Search the fraction of lowest-scored neurons whose clamp costs the treated condition's perplexity."""
    started = time.monotonic()
    measurement = _Measurement(model, request)
    try:
        levels = yield from measurement.searched_levels()
        outcome, receipt = yield from _search(measurement, levels)
        neighbour = Neighbour(None, NO_CONTROL)
        if outcome.fraction is not None:
            power = local_power(outcome.curve, levels.baseline, outcome.fraction)
            neighbour, receipt = yield from _on_the_evidence(measurement, outcome.fraction, power)
    except FloatingPointError as error:  # of the gate, or of a worker
        yield StepFailed(step=request.step, error=f"{model.source.label}: {error}")
        return
    accepted = outcome.fraction
    yield Matched(
        step=request.step,
        matched=accepted is not None,
        reason=outcome.reason,
        fraction=math.nan if accepted is None else accepted,
        neurons={} if accepted is None else measurement.lowest(accepted),
        curve=outcome.curve,
        windows=measurement.windows,
        losses=tuple(measurement.losses),
        neighbour=neighbour,
        neighbour_neurons={} if neighbour.fraction is None else measurement.lowest(neighbour.fraction),
        receipt=receipt,
        seconds=time.monotonic() - started,
    )


class _Measurement:
    """The model under one intervention after another; keeps the losses of every window."""

    def __init__(self, model: MeasuredModel, request: MatchRequest) -> None:
        self.model, self.request = model, request
        texts, name, max_nodes = request.texts, request.benchmark, request.max_nodes
        num_evidence = model.num_windows(texts)
        num_windows = model.num_windows(dataclasses.replace(texts, num_tokens=None))
        self.windows = match_windows(num_evidence, num_windows, num_shared=texts.num_shared)
        """Which windows are searched, and which are held out."""
        searched = dataclasses.replace(texts, num_tokens=None, only=self.windows.search)
        self._parts = {
            "search": (model.plan(name, searched, max_nodes), self.windows.search),
            "evidence": (model.plan(name, texts, max_nodes), range(num_evidence)),
        }
        self._num_measured = 0
        self.losses: list[WindowLosses] = []
        """What was measured, and what was recorded before."""

    def lowest(self, fraction: float) -> Neurons:
        """This fraction of every layer's lowest-scored neurons."""
        count = round(fraction * self.model.source.d_mlp)
        return {layer: tuple(ranked[:count]) for layer, ranked in self.request.ranking.items()}

    def try_out(self, role: Role, windows: Part, fraction: float) -> Generator[Progress, None, tuple[float, Receipt]]:
        """The perplexity under the clamp on this fraction; as `measure`."""
        intervention = Intervention(clamp=self.request.clamp, neurons=self.lowest(fraction))
        return (yield from self.measure(role, windows, fraction, intervention))

    def measure(
        self, role: Role, windows: Part, fraction: float, intervention: Intervention
    ) -> Generator[Progress, None, tuple[float, Receipt]]:
        """The perplexity on the search's windows, or on those of the evidence that are held out, with the proof.

        Raises FloatingPointError for a number that is not finite.
        """
        where = f"under the {role} condition" if role in ("baseline", "treated") else f"at a fraction of {fraction:.4g}"
        plan, numbers = self._parts[windows]
        try:
            sums, counts, receipt = self.model.losses(intervention, plan)
        except FloatingPointError as error:
            raise FloatingPointError(f"{where} {error}") from error
        used = np.isin(numbers, self.windows.held_out) if windows == "evidence" else np.full(len(numbers), True)
        level = perplexity(sums[used], counts[used])
        if not math.isfinite(level):
            raise FloatingPointError(f"{where} the perplexity is {level}")
        self.losses.append(
            WindowLosses(
                role=role,
                fraction=fraction,
                windows=windows,
                numbers=tuple(numbers),
                nll=-sums / counts,
                num_tokens=counts,
            )
        )
        self._num_measured = done = self._num_measured + 1
        total = max(done, self.request.max_evaluations)
        yield Progress(step=self.request.step, done=done, total=total, unit="perplexities")
        return level, receipt

    def searched_levels(self) -> Generator[Progress, None, Levels]:
        """The perplexities between which the search moves."""
        request = self.request
        baseline, _ = yield from self.measure("baseline", "search", 0.0, Intervention())
        treated, _ = yield from self.measure("treated", "search", request.treated_fraction, request.treated)
        return Levels(baseline, treated)

    def recorded_levels(self) -> Levels:
        """Those of the evidence, which were recorded before the search began."""
        self.losses += self.request.evidence
        used = np.isin(self.request.evidence[0].numbers, self.windows.held_out)
        baseline, treated = (float(np.exp(recorded.nll[used].mean())) for recorded in self.request.evidence)
        return Levels(baseline, treated)


def _search(
    measurement: _Measurement, levels: Levels
) -> Generator[Progress, None, tuple[SearchOutcome, Receipt | None]]:
    """The search for the fraction, and the proof of its last try."""
    request, d_mlp = measurement.request, measurement.model.source.d_mlp
    search = match_perplexity(
        baseline=levels.baseline,
        treated=levels.treated,
        start=request.treated_fraction,
        cap=_cap(measurement),
        limits=SearchLimits(
            within=request.within,
            within_rise=request.within_rise,
            max_evaluations=request.max_evaluations,
            resolution=1 / d_mlp,
        ),
    )
    return (yield from _tried(measurement, "search", search))


def _on_the_evidence(
    measurement: _Measurement, accepted: float, power: float | None
) -> Generator[Progress, None, tuple[Neighbour, Receipt]]:
    """The neighbour of the accepted point, and the proof of that point on the evidence. power: see `local_power`."""
    request = measurement.request
    levels = measurement.recorded_levels()
    level, receipt = yield from measurement.try_out("accepted", "evidence", accepted)
    if request.neighbour_beyond is None:
        return Neighbour(None, NOT_ASKED_FOR), receipt
    seek = seek_neighbour(
        levels,
        (accepted, level),
        power=power,
        width=measurement.model.source.d_mlp,
        cap=_cap(measurement),
        beyond=request.neighbour_beyond,
    )
    neighbour, _ = yield from _tried(measurement, "evidence", seek)
    _name_the_neighbour(measurement, neighbour)
    return neighbour, receipt


def _tried(
    measurement: _Measurement, windows: Part, search: Generator[float, float, Found]
) -> Generator[Progress, None, tuple[Found, Receipt | None]]:
    """The outcome of a search that is sent what its fractions give, and the proof of the last try."""
    receipt = None
    try:
        fraction = next(search)
        while True:
            level, receipt = yield from measurement.try_out("try", windows, fraction)
            fraction = search.send(level)
    except StopIteration as stop:
        return stop.value, receipt


def _cap(measurement: _Measurement) -> float:
    """The largest fraction: all that the ranking has in every layer."""
    return min(map(len, measurement.request.ranking.values())) / measurement.model.source.d_mlp


def _name_the_neighbour(measurement: _Measurement, neighbour: Neighbour) -> None:
    """Give the losses of the neighbour their role."""
    measurement.losses[:] = [
        dataclasses.replace(losses, role="neighbour")
        if losses.windows == "evidence" and losses.role == "try" and losses.fraction == neighbour.fraction
        else losses
        for losses in measurement.losses
    ]
