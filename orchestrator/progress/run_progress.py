"""How far a run is, from the transitions of its steps and the reports of its actors.

Owns the counts by state, what is computed now, the failures, and the estimates of the time left. Pure: the clock is
passed in, and nothing is printed or stored.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from actors.messages.stream import Progress
from orchestrator.progress.snapshot import RUNNING, Failure, Opening, Request, Snapshot
from orchestrator.progress.watcher import Watcher
from orchestrator.steps.step import TERMINAL, Role, State, Step


@dataclass(slots=True, kw_only=True)
class _Sent:
    """Steps that began to run one directly after the other: the request of an actor, as far as a listener can tell."""

    name: str
    model: str
    since: float
    steps: dict[str, str]
    """{step id: condition}."""
    first: Progress | None = None
    """The first report. Before it the model loads, which says nothing about the rate."""
    first_at: float = 0.0
    last: Progress | None = None
    last_at: float = 0.0


class RunProgress(Watcher):
    """One run of a plan.

    >>> progress = RunProgress(plan.steps.values())
    >>> progress.transition(step, State.RUNNING)
    >>> progress.report(step, Progress(step=step.id, done=312, total=780, unit="packs"))
    >>> progress.snapshot().requests[0].seconds_left
    """

    def __init__(
        self,
        steps: Iterable[Step],
        *,
        work: Mapping[str, float] | None = None,
        host: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """work: {step id: estimated work, in any unit}; by default every step is as much as any other. clock: seconds
        since 1970."""
        self._clock, self._host = clock, host
        self._began = clock()
        self._states: dict[str, State] = {}
        self._counts: dict[str, Counter[State]] = {}
        self._work: dict[str, float] = {}
        self._work_in = dict.fromkeys(State, 0.0)
        """{state: work of the steps in it}. Kept up to date like the counts: adding up thousands of steps at every turn
        would take longer than the turn."""
        for step in steps:
            self._states[step.id] = State.PENDING
            self._counts.setdefault(step.name, Counter())[State.PENDING] += 1
            self._work[step.id] = 1.0 if work is None else work[step.id]
            self._work_in[State.PENDING] += self._work[step.id]
        self._sent: dict[str, _Sent] = {}
        """{running step: the request that it is part of}."""
        self._last_sent: _Sent | None = None
        """The request that the next step that runs may be part of."""
        self._opening: dict[str, Opening] = {}
        """{actor: what it opens}."""
        self._computing_since: float | None = None
        self._failures: dict[str, Failure] = {}
        self.error = ""
        """What ended the run as a whole."""

    def transition(self, step: Step, state: State, remark: str = "") -> None:
        """Note that a step changed its state."""
        before = self._states[step.id]
        self._states[step.id] = state
        self._counts[step.name][before] -= 1
        self._counts[step.name][state] += 1
        self._work_in[before] -= self._work[step.id]
        self._work_in[state] += self._work[step.id]
        self._failures.pop(step.id, None)
        if state is State.FAILED:
            self._failures[step.id] = Failure(step.title, remark)
        if (ended := self._sent.pop(step.id, None)) is not None:
            ended.steps.pop(step.id)
        if state is State.RUNNING:
            self._begin(step)
        else:
            self._last_sent = None

    def _begin(self, step: Step) -> None:
        now = self._clock()
        if self._computing_since is None:
            self._computing_since = now
        sent = self._last_sent
        if sent is None or sent.last is not None or (sent.name, sent.model) != (step.name, step.model):
            sent = self._last_sent = _Sent(name=step.name, model=step.model, since=now, steps={})
        sent.steps[step.id] = step.condition
        self._sent[step.id] = sent

    def report(self, step: Step, progress: Progress) -> None:
        """Note how far the request of a running step is."""
        sent = self._sent.get(step.id)
        if sent is None:  # its step has ended meanwhile
            return
        if sent.first is None or sent.first.total != progress.total:
            sent.first, sent.first_at = progress, self._clock()
        sent.last, sent.last_at = progress, self._clock()

    def opening(self, actor: str, model: str, role: Role) -> None:
        """Note that an actor begins to load a model."""
        self._opening[actor] = Opening(role=role, model=model, since=self._clock())

    def opened(self, actor: str) -> None:
        """Note that it has, or is gone."""
        self._opening.pop(actor, None)

    def snapshot(self, status: str = RUNNING) -> Snapshot:
        """How far the run is now. status: one of `snapshot`'s."""
        requests = {id(sent): sent for sent in list(self._sent.values())}
        return Snapshot(
            status=status,
            began=self._began,
            taken=self._clock(),
            host=self._host,
            counts={
                name: {state: of_name[state] for state in State if of_name[state]}
                for name, of_name in self._counts.items()
            },
            openings=tuple(list(self._opening.values())),
            requests=tuple(self._request(sent) for sent in requests.values()),
            failures=tuple(self._failures.values()),
            error=self.error,
            seconds_left=self.seconds_left,
        )

    @property
    def seconds_left(self) -> float | None:
        """What is left, if it goes on as fast as since the first step was computed; None before any is done.

        What was cached, failed or does not apply counts neither as done nor as left."""
        if all(state in TERMINAL for state in self._states_left()):
            return 0.0
        partly = sum(self._share(sent) * self._work[step] for step, sent in list(self._sent.items()))
        done = self._work_in[State.DONE] + partly
        if done <= 0 or self._computing_since is None:
            return None
        left = self._work_in[State.PENDING] + self._work_in[State.RUNNING] - partly
        return max(0.0, left) * (self._clock() - self._computing_since) / done

    def _states_left(self) -> set[State]:
        return {state for of_name in self._counts.values() for state, count in of_name.items() if count}

    def _request(self, sent: _Sent) -> Request:
        last = sent.last
        return Request(
            name=sent.name,
            model=sent.model,
            conditions=tuple(sent.steps.values()),
            since=sent.since,
            done=last.done if last else 0,
            total=last.total if last else 0,
            unit=last.unit if last else "",
            rate=self._rate(sent),
            seconds_left=self._seconds_left_of(sent),
        )

    def _rate(self, sent: _Sent) -> float | None:
        """Units a second from the first report to the last; it does not fall while the next one is awaited."""
        if sent.first is None or sent.last is None or sent.last.done <= sent.first.done:
            return None
        return (sent.last.done - sent.first.done) / max(sent.last_at - sent.first_at, 1e-9)

    def _seconds_left_of(self, sent: _Sent) -> float | None:
        rate = self._rate(sent)
        if rate is None or sent.last is None:
            return None
        return max(0.0, (sent.last.total - sent.last.done) / rate - (self._clock() - sent.last_at))

    def _share(self, sent: _Sent) -> float:
        """Of a running request, how much is done."""
        return sent.last.done / sent.last.total if sent.last and sent.last.total else 0.0
