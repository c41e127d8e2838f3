"""The display of a running study: the live screen, and one plain line per event elsewhere."""

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from actors.messages.stream import Progress
from orchestrator.progress.run_progress import RunProgress
from orchestrator.progress.snapshot import Request
from orchestrator.steps.step import Role, State
from orchestrator.terminal import live as module
from orchestrator.terminal.live import Display, how_far, listed
from studies.claims.scorecard import Status, Unit, Verdict
from studies.statistics.intervals import Interval
from tests.watchers import Shown


def step(number: int, name: str = "", condition: str = "", model: str = "m") -> Any:
    name = name or f"evaluate.{number % 2}"
    title = " ".join(filter(None, (name, model, condition)))
    return SimpleNamespace(id=f"{number:08d}", name=name, title=title, model=model, condition=condition)


STEPS = [step(i) for i in range(6)]
CONTROL_CODES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")
"""What moves the cursor or colours the text of a terminal."""
VERDICT = Verdict(
    claim="syntax_loss/blimp", statement="It costs syntax.", model="m", status=Status.SUPPORTED,
    effect=Interval(-0.025, -0.04, -0.01), contrast=None, num_items=9, detail="", published="", unit=Unit.ACCURACY,
)  # fmt: skip


def report(done: int, total: int = 3) -> Progress:
    return Progress(step=STEPS[3].id, done=done, total=total, unit="packs")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def display(console: Console, steps: list[Any], clock: Clock | None = None) -> Display:
    return Shown(console, "a-study", RunProgress(steps, clock=clock or Clock()), {})


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width)


def written(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return [line for line in CONTROL_CODES.sub("", console.file.getvalue()).splitlines() if line.strip()]


def screen(shown: Display, width: int) -> list[str]:
    """The live screen as it stands, on a terminal of this width."""
    console = shown._console = terminal(width)
    console.print(shown._render())
    return written(console)


def test_the_screen_counts_every_transition_in_the_order_of_the_plan() -> None:
    console = terminal(100)
    with display(console, STEPS) as shown:
        for one in STEPS[:3]:
            shown.transition(one, State.CACHED, "")
        shown.transition(STEPS[3], State.RUNNING, "")
        shown.report(STEPS[3], report(1))
        shown.transition(STEPS[4], State.RUNNING, "")
        shown.transition(STEPS[4], State.PENDING, "actor lost")
        shown.transition(STEPS[5], State.FAILED, "no memory")
        lines = screen(shown, 100)
    counts = {name: cells for name, *cells in map(str.split, lines) if len(cells) == len(State) and name != "step"}
    order = list(State)
    assert list(counts) == ["evaluate.0", "evaluate.1"]
    assert counts["evaluate.0"][order.index(State.CACHED)] == "2"
    assert counts["evaluate.0"][order.index(State.PENDING)] == "1"
    assert counts["evaluate.1"][order.index(State.FAILED)] == "1"
    assert counts["evaluate.1"][order.index(State.RUNNING)] == "1"
    assert "a-study" in lines[0] and "4 of 6 steps" in lines[0]
    assert any("FAIL  00000005  evaluate.1 m (no memory)" in line for line in written(console))


def test_a_request_is_one_line_with_its_conditions() -> None:
    clock, names = Clock(), ("baseline", "wasserstein", "random/seed=0", "random/seed=1")
    steps = [step(i, "evaluate.blimp", name, "HuggingFaceTB/SmolLM2-135M-Instruct") for i, name in enumerate(names)]
    shown = display(terminal(120), steps, clock)
    for one in steps:
        shown.transition(one, State.RUNNING, "")
    shown.report(steps[0], Progress(step=steps[0].id, done=100, total=780, unit="packs"))
    clock.now += 10
    shown.report(steps[0], Progress(step=steps[0].id, done=126, total=780, unit="packs"))
    (wide,) = (line for line in screen(shown, 160) if "packs" in line)
    assert wide.split("  ")[:2] == ["evaluate.blimp HuggingFaceTB/SmolLM2-135M-Instruct", ", ".join(names)]
    assert wide.endswith("126/780 packs  2.6/s  about 4 min left")
    (narrow,) = (line for line in screen(shown, 80) if "packs" in line)
    assert cell_len(narrow) <= 80 and "+" in narrow and "…" in narrow and narrow.endswith("126/780 packs  4 min left")


def test_the_rate_does_not_fall_while_the_next_report_is_awaited() -> None:
    clock, one = Clock(), step(3, "evaluate.blimp", "baseline")
    shown = display(terminal(120), [one], clock)
    shown.transition(one, State.RUNNING, "")
    for done in (0, 50):
        shown.report(one, Progress(step=one.id, done=done, total=100, unit="packs"))
        clock.now += 10
    rates = []
    for _ in range(2):
        rates += [line.split("packs")[1].split()[0] for line in screen(shown, 160) if "packs" in line]
        clock.now += 30
    assert rates == ["5/s", "5/s"]


def test_an_engine_that_opens_is_shown_until_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    shown = display(terminal(100), STEPS, clock)
    shown.opening("m ablation 0", "org/m", Role.ABLATION)
    clock.now += 23
    assert screen(shown, 100)[-1].strip() == "opening engine for org/m, 23 s"
    shown.opened("m ablation 0")
    assert not any("opening" in line for line in screen(shown, 100))


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_nothing_is_wider_than_the_terminal_and_no_two_names_are_equal(width: int) -> None:
    models = [
        f"HuggingFaceTB/SmolLM2-{size}-Instruct-{kind}-of-a-long-name" for size in ("135M", "360M") for kind in "ab"
    ]
    steps = [step(i, "evaluate.arc_challenge", f"wasserstein/layers={i}", model) for i, model in enumerate(models)]
    clock = Clock()
    shown = display(terminal(width), steps, clock)
    for one in steps:
        shown.transition(one, State.RUNNING, "")
        shown.report(one, Progress(step=one.id, done=1, total=300, unit="packs"))
        shown.opening(one.model, one.model, Role.SCORE)
    lines = screen(shown, width)
    assert all(cell_len(line.rstrip()) <= width for line in lines), lines
    for word in ("packs", "opening"):
        assert len({line for line in lines if word in line}) == len(models), lines


def test_a_verdict_is_printed_as_soon_as_it_is_known() -> None:
    console = Console(file=io.StringIO(), width=100)
    display(console, STEPS).decided(VERDICT)
    assert written(console) == ["SUPPORTED      syntax_loss/blimp: −2.5 pp [−4.0, −1.0] (m)"]


def test_without_a_terminal_every_event_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLAIN_SECONDS", -1.0)
    console = Console(file=io.StringIO(), width=100)
    with display(console, STEPS) as shown:
        shown.transition(STEPS[0], State.CACHED, "")
        shown.opening("m score 0", "m", Role.SCORE)
        shown.transition(STEPS[3], State.RUNNING, "[markup] of its own")
        shown.report(STEPS[3], report(1))
        shown.transition(STEPS[3], State.FAILED, "no memory")
    assert written(console) == [
        "HIT   00000000  evaluate.0 m",
        "OPEN  model in Transformers for m",
        "RUN   00000003  evaluate.1 m ([markup] of its own)",
        "      evaluate.1 m: 1/3 packs",
        "FAIL  00000003  evaluate.1 m (no memory)",
    ]


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (100, "baseline, random/seed=0, top"),
        (27, "baseline, random/seed=0 +1"),
        (12, "baseline +2"),
        (5, "+3"),
        (1, ""),
    ],
)
def test_as_many_conditions_as_fit(width: int, expected: str) -> None:
    assert listed(("baseline", "random/seed=0", "top"), 0, width) == expected


def test_how_far_a_request_is() -> None:
    def request(**known: Any) -> Request:
        return Request(name="evaluate.b", model="m", conditions=("a",), since=0.0, total=780, unit="packs", **known)

    assert how_far(request(done=10)) == "10/780 packs"
    assert how_far(request(done=30, rate=2.0, seconds_left=375.0)) == "30/780 packs  2/s  about 6 min left"
    assert how_far(request(done=30, rate=2.0, seconds_left=375.0), short=True) == "30/780 packs  6 min left"
