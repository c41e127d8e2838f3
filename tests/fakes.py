"""A pool and a record in memory, for tests of the runner: no Ray, no MLflow, no models.

The pool answers as actors do, with results of the right shape; a test puts other messages in their place.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from actors.messages.ablation import EvaluateRequest, Matched, MatchRequest, Part, Receipt, Scored, WindowLosses
from actors.messages.model import EngineFacts, ModelSource, Route
from actors.messages.probe import Probed, Reference
from actors.messages.scoring import Profiled, ProfileRequest
from actors.messages.stream import Finished, Opened
from orchestrator.planning.plan import Plan
from orchestrator.record.client.failures import DamagedArtifact
from orchestrator.record.keys import NOTHING, Committed, RunKey
from orchestrator.record.pages.run_page import RunPage
from orchestrator.scheduling.cluster import Resident
from orchestrator.scheduling.decisions import Start
from orchestrator.scheduling.placement import Demand, Node
from orchestrator.steps.artifacts import ENGINE_PROBE, NEURON_SET
from orchestrator.steps.step import Role, Step
from studies.benchmarks.corpora import Corpus
from studies.benchmarks.protocol import Benchmark
from studies.benchmarks.special_tokens import SpecialTokens
from studies.benchmarks.texts import Continuations, Sentences
from studies.neurons.match_windows import MatchWindows
from studies.neurons.neighbour import Neighbour
from studies.neurons.selection import NeuronSet
from tests.plans import SILU

Answer = Callable[[str, Start, Any], Iterator[Any]]
"""(actor, start, request) -> messages in place of the usual ones; none = the usual ones."""

NODE = Node("n", cpus=8.0)
RECEIPT = Receipt(layers_matched=2, neurons_per_layer=(6, 6), digest="d", probe_tokens=9, clipped_fraction=0.5)
ENGINE = EngineFacts(
    route=Route.TREE,
    route_reason="",
    attention="",
    device="cpu",
    dtype="float32",
    versions={},
    probe_difference=0.0,
    probe_tolerance=0.01,
    probe_mean=0.0,
    probe_mean_tolerance=0.001,
    max_nodes=512,
)


IDS = ((0, 1, 2), (0, 3))
"""Tokens of the probe."""


def probed(model: str, log_probability: float = -2.0, **fields: Any) -> Probed:
    """The probe under an engine, by default as Transformers computes it."""
    start = {"versions": {"transformers": "5"}, "device": "cpu"}
    values = {"log_probabilities": np.full(3, log_probability, dtype=np.float32), "start": start, "is_exchanged": False}
    return Probed(**{"model": model, "ids": IDS, **values, **fields})


def reference(model: str, **fields: Any) -> Reference:
    """The probe under Transformers."""
    same = np.full(3, -2.0, dtype=np.float32)
    values = {"ids": IDS, "log_probabilities": same, "rounded": same, "transformers": "5"}
    return Reference(**{"model": model, **values, **fields})


def profiled(request: ProfileRequest) -> Profiled:
    """A neuron table of the hand-made model."""
    layers, neurons = np.divmod(np.arange(SILU.num_layers * SILU.d_mlp), SILU.d_mlp)
    scores = ("wasserstein_distance", "wasserstein_distance_negative", "mapping_difficulty", "mean", "std", "skewness")
    scores += ("kurtosis", "negative_fraction", "negative_mean", "matched_ceiling")
    columns = {"layer": layers, "neuron": neurons, **{name: 1.0 + neurons / 64 for name in scores}}
    columns["mapping_difficulty_reliability"] = np.full(len(neurons), 0.75)
    return Profiled(
        step=request.step,
        columns=columns,
        num_windows=1,
        num_tokens=9,
        num_pairs=4,
        num_pairs_asked=4,
        num_pairs_dropped=0,
        reference=reference("a"),
        special_tokens=SpecialTokens(kind="windows"),
        seconds=0.0,
    )


def scored(step: str, request: EvaluateRequest, pack_plan: str = "plan") -> Scored:
    """The same log-probability for every sequence."""
    texts = request.texts
    match texts:
        case Sentences():
            count = len(texts.texts)
        case Continuations():
            count = len(texts.contexts)
        case _:
            count = 4
    return Scored(
        step=step,
        sums=np.full(count, -2.0),
        counts=np.full(count, 2),
        receipt=RECEIPT,
        special_tokens=SpecialTokens(kind="sentences"),
        route=Route.TREE,
        route_reason="",
        pack_plan=pack_plan,
        num_nodes=4,
        num_tokens=4,
        seconds=0.0,
    )


def losses(role: Any, windows: Any, fraction: float, *nll: float) -> WindowLosses:
    """The losses of one measurement on windows of 7 tokens, the searched ones behind those of the evidence."""
    first = len(nll) if windows == "search" else 0
    numbers = tuple(range(first, first + len(nll)))
    num_tokens = np.full(len(nll), 7)
    return WindowLosses(
        role=role, fraction=fraction, windows=windows, numbers=numbers, nll=np.array(nll), num_tokens=num_tokens
    )


def matched(request: MatchRequest, *, found: bool = True, neighbour: bool = True) -> Matched:
    """The lowest neuron of every layer, or no match; and two of them as its neighbour, unless none is needed."""
    neurons = {layer: ranked[:1] for layer, ranked in request.ranking.items()} if found else {}
    fraction, neighbour = 1 / SILU.d_mlp if found else float("nan"), neighbour and found
    measured = [
        losses("baseline", "search", 0.0, 0.8, 1.0),
        losses("treated", "search", request.treated_fraction, 0.9, 1.1),
        losses("try", "search", 1 / SILU.d_mlp, 0.9, 1.08),
    ]
    if found:
        measured += [
            losses("baseline", "evidence", 0.0, 0.9, 0.9),
            losses("treated", "evidence", request.treated_fraction, 1.0, 1.0),
            losses("accepted", "evidence", fraction, 1.01, 0.99),
        ]
    if neighbour:
        measured.append(losses("neighbour", "evidence", 2 * fraction, 1.0, 1.02))
    return Matched(
        windows=MatchWindows(range(2, 4), range(2), True),
        losses=tuple(measured),
        neighbour=Neighbour(2 * fraction if neighbour else None, "" if neighbour else "not needed: near enough"),
        neighbour_neurons={i: ranked[:2] for i, ranked in request.ranking.items()} if neighbour else {},
        step=request.step,
        matched=found,
        reason="" if found else "perplexity never comes near",
        fraction=fraction,
        neurons=neurons,
        curve=((1 / SILU.d_mlp, math.exp(0.99)),),
        receipt=RECEIPT if found else None,
        seconds=0.0,
    )


class FakePool:
    """Actors that answer at once."""

    def __init__(
        self,
        plan: Plan,
        answer: Answer | None = None,
        nodes: Sequence[Node] = (NODE,),
        probe: Callable[[str], Probed] = lambda label: probed(label),
    ) -> None:
        """probe: {model label: the probe under its engines}."""
        self.sources: Mapping[str, ModelSource] = {}
        self.requests: list[tuple[str, str, Any]] = []
        """Every (actor, method, request) so far."""
        self.evicted: list[str] = []
        self._plan, self._answer, self._nodes, self._probe = plan, answer, list(nodes), probe
        self._residents: dict[str, Resident] = {}
        self._messages: deque[tuple[str, Any]] = deque()
        self.unplaceable = "no node is large enough"
        self.idle_waits = 0
        """How often the runner may still wait although no actor has anything to say."""

    def nodes(self) -> Sequence[Node]:
        return self._nodes

    def want(self, demands: Sequence[Demand]) -> None:
        pass

    def residents(self) -> Mapping[str, Resident]:
        return dict(self._residents)

    def start(self, start: Start, method: str = "", request: Any = None) -> None:
        known = self._residents.get(start.actor)
        placement = known.placement if known else start.placement
        self._residents[start.actor] = Resident(
            actor=start.actor, model=start.model, role=start.role, busy=True, prewarming=not method, placement=placement
        )
        self.requests.append((start.actor, method, request))
        of_engine = Opened(facts=ENGINE, probe=self._probe(start.model))
        usual = [] if known else [of_engine if start.role is Role.ABLATION else Opened()]
        own = list(self._answer(start.actor, start, request)) if self._answer else []
        answer = own or self._usual(start, method, request)
        self._messages.extend((start.actor, message) for message in [*usual, *answer])

    def _usual(self, start: Start, method: str, request: Any) -> Iterator[Any]:
        match method:
            case "reference":
                yield reference(start.model)
            case "profile":
                yield profiled(request)
            case "evaluate":
                yield from (scored(step, request) for step in request.interventions)
            case "match":
                yield matched(request)
        yield Finished()

    def wait(self, timeout: float) -> list[tuple[str, Any]]:
        if not self._messages:
            self.idle_waits -= 1
            assert self.idle_waits >= 0, "the runner waits although no actor has anything to say"
            return []
        actor, message = self._messages.popleft()
        if isinstance(message, Finished):
            self._residents[actor] = Resident(
                actor=actor,
                model=self._residents[actor].model,
                role=self._residents[actor].role,
                busy=False,
                placement=self._residents[actor].placement,
            )
        elif type(message).__name__ in ("ActorLost", "RequestFailed", "OutOfMemory"):
            del self._residents[actor]
        return [(actor, message)]

    def evict(self, actor: str) -> None:
        self.evicted.append(actor)
        del self._residents[actor]
        self._messages = deque(message for message in self._messages if message[0] != actor)

    def why_unplaceable(self, demand: Demand) -> str:
        return self.unplaceable


class FakePages:
    """The pages of a study, in memory."""

    def __init__(self) -> None:
        self.shown: dict[str, RunPage] = {}
        """{run: its page}."""
        self.note = ""
        self.samples: list[Mapping[str, float]] = []

    def show(self, key: RunKey, page: RunPage) -> None:
        self.shown[key.name] = page

    def describe(self, text: str) -> None:
        self.note = text

    def sample(self, metrics: Mapping[str, float]) -> None:
        self.samples.append(metrics)

    def view_address(self, view: str = "halfwave") -> str:
        return f"#/view/{view}"

    def run_address(self, key: RunKey, artifact: str = "") -> str:
        return f"#/runs/{key.name}/{artifact}"


class FakeRecord:
    """What was committed, in memory."""

    def __init__(self) -> None:
        self.steps: dict[str, Committed] = {}
        self.probes: dict[str, Committed] = {}
        """Comparisons of engines with Transformers."""
        self.finished: dict[str, str] = {}
        """{run: status}."""
        self.begun: set[str] = set()
        self.pages = FakePages()
        self.withdrawn: list[str] = []
        self.damaged: set[str] = set()
        self.unreadable: set[str] = set()
        """Documents that are damaged."""
        self.unreadable_tables: set[str] = set()
        """Steps whose tables are damaged, as a server lets it be seen only when they are read."""
        self.stays_damaged = False
        """Whether they are damaged again as soon as they are recorded."""
        self.away: list[Exception] = []
        """Errors that the next reads of tables raise, one each."""
        self._frames: dict[tuple[str, str], pd.DataFrame] = {}
        self._documents: dict[tuple[str, str], Any] = {}

    def known(self, step_ids: Sequence[str]) -> dict[str, Committed]:
        return {step: self.steps[step] for step in step_ids if step in self.steps}

    def verify(self, committed: Committed) -> bool:
        return committed.step_id not in self.damaged

    def adopt(self, key: RunKey, committed: Committed) -> Committed:
        return committed

    def commit(self, key: RunKey, step_id: str, step_name: str, *, metrics: Any, frames: Any, documents: Any,
               tags: Any = NOTHING, series: Any = NOTHING, files: Any = NOTHING) -> Committed:  # fmt: skip
        self._frames |= {(step_id, path): frame for path, frame in frames.items()}
        self._documents |= {(step_id, path): document for path, document in documents.items()}
        committed = Committed(
            step_id=step_id, step_name=step_name, experiment="e", run_id="r",
            artifacts=dict.fromkeys([*frames, *documents], "sha256"), metrics=metrics, tags=tags,
        )  # fmt: skip
        if not self.stays_damaged:
            self.unreadable_tables.discard(step_id)
        (self.probes if step_name == ENGINE_PROBE else self.steps)[step_id] = committed
        return committed

    def named(self, step_name: str) -> dict[str, Committed]:
        assert step_name == ENGINE_PROBE
        return dict(self.probes)

    def latest(self, study: str) -> dict[tuple[str, str, str], Committed]:
        of_study = [step for step in self.steps.values() if step.step_name == "report"]
        return dict.fromkeys([("", "", "report")], of_study[-1]) if of_study else {}

    def begin(self, key: RunKey) -> None:
        self.begun.add(key.name)

    def withdraw(self, committed: Committed) -> None:
        self.withdrawn.append(committed.step_id)

    def finish(self, key: RunKey, status: str) -> None:
        self.finished[key.name] = status

    def renew(self) -> None:
        pass

    def intact(self, step_ids: Sequence[str]) -> dict[str, Committed]:
        return {step: committed for step, committed in self.known(step_ids).items() if self.verify(committed)}

    def last(self, step_name: str, path: str) -> Any:
        """A document of the step of this name that was recorded last."""
        steps = [step for step, committed in self.steps.items() if committed.step_name == step_name]
        return self._documents[steps[-1], path]

    def replace_document(self, step_id: str, path: str, **changes: Any) -> None:
        """As if an earlier run had recorded a document with other values."""
        self._documents[step_id, path] |= changes

    def frame(self, committed: Committed, path: str) -> pd.DataFrame:
        if self.away:
            raise self.away.pop(0)
        if committed.step_id in self.unreadable_tables:
            raise DamagedArtifact(f"{path} is damaged", committed)
        return self._frames[committed.step_id, path]

    def document(self, committed: Committed, path: str) -> Any:
        if path in self.unreadable:
            raise DamagedArtifact(f"{path} is damaged", committed)
        return self._documents[committed.step_id, path]


class FakeContext:
    """What steps are made from, as a test sets it; whatever it leaves out must not be asked for."""

    def __init__(
        self, *, corpus: Corpus | None = None, benchmark: Benchmark | None = None, engine: EngineFacts = ENGINE,
        tables: Mapping[str, pd.DataFrame] = {}, neuron_sets: Mapping[str, NeuronSet] = {},
        metrics: Mapping[str, Mapping[str, float]] = {}, before: ModelSource | None = None,
        listed: NeuronSet | None = None, pack_size: int | None = None,
    ) -> None:  # fmt: skip
        self._corpus, self._benchmark, self._before, self._listed = corpus, benchmark, before, listed
        self._tables, self._neuron_sets, self._metrics, self._pack_size = tables, neuron_sets, metrics, pack_size
        self._engine = engine

    @property
    def corpus(self) -> Corpus:
        assert self._corpus is not None
        return self._corpus

    @property
    def perplexity(self) -> Benchmark:
        return self.benchmark("perplexity")

    def benchmark(self, name: str) -> Benchmark:
        assert self._benchmark is not None and self._benchmark.name == name
        return self._benchmark

    def neuron_table(self, step: str) -> pd.DataFrame:
        return self._tables[step]

    def neuron_set(self, step: str, path: str = NEURON_SET) -> NeuronSet:
        return self._neuron_sets[step if path == NEURON_SET else f"{step} {path}"]

    def windows(self, step: str, benchmark: str) -> pd.DataFrame:
        assert benchmark == self.perplexity.name
        return self._tables[step]

    def listed_neurons(self, step: Step) -> NeuronSet | None:
        return self._listed

    def metrics(self, step: str) -> Mapping[str, float]:
        return self._metrics[step]

    def previous_checkpoint(self, model: str) -> ModelSource:
        assert self._before is not None
        return self._before

    def pack_size(self, step: str) -> int | None:
        return self._pack_size

    def parts(self, steps: Iterable[str]) -> dict[str, Part]:
        return {}

    def engine(self, step: str) -> EngineFacts:
        return self._engine
