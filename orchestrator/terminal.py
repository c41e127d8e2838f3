"""Plans, forecasts and reports on the terminal, through rich.

Owns their layout. The wording of a report belongs to `studies.reporting.text`, so that the terminal, MLflow and
notebooks never disagree; `live_display` shows a running study.
Invariant: names, notes, data and errors are shown as text, through `plain`.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.planned_steps import PlannedStep
from orchestrator.planning.power import PlannedPower, power_lines
from orchestrator.scheduling.forecast import Forecast
from orchestrator.study import Result
from studies.claims.power import FACTOR
from studies.errors import StudyError, printable
from studies.reporting.records import completed
from studies.reporting.text import (
    across_models_lines,
    benchmark_cell,
    finding_lines,
    margin_lines,
    scorecard_table,
    series_lines,
    special_token_lines,
    verdict_note,
)

STATUS_COLOURS = {
    "supported": "green",
    "contradicted": "red",
    "absent": "cyan",
    "undecided": "yellow",
    "not applicable": "dim",
    "holds": "green",
    "does not hold": "yellow",
    "not decidable": "yellow",
}
"""The last three: of reports before version 8. Red is what the evidence is against, never what it cannot tell."""


UNBOUNDED = 100_000
"""Columns where there is no terminal: more than any table or line needs."""
MIN_NAME = 12
"""Columns that the names of rows get at least, even if they are more than half of the terminal."""


def make_console() -> Console:
    """A console on stdout, as wide as the terminal; elsewhere as wide as anything needs, so that nothing is wrapped."""
    if sys.stdout is not None and sys.stdout.isatty():
        return Console()
    return Console(width=UNBOUNDED)


def plain(text: str, style: str = "") -> Text:
    """A text as it is: nothing in it is markup, the name of an emoji, a control character or a line end."""
    return Text(printable(text), style=style)


def show_line(console: Console, text: str) -> None:
    """Print one line of text, which is not wrapped."""
    console.print(plain(text), soft_wrap=True)


def show_plan(
    console: Console,
    planned: Sequence[PlannedStep],
    special_tokens: Mapping[str, Mapping[str, Any] | None],
    forecast: Forecast,
    power: Sequence[PlannedPower] = (),
) -> None:
    """Print every step with its id, its work, and why it is not cached; special tokens; power; then the forecast.

    special_tokens: {model: {texts: their record}}, None where they are not known yet.
    """
    widest = max((len(printable(entry.step.title)) for entry in planned), default=0)
    lines = Text()  # one text: a table of 10,000 rows takes rich longer than the rest of a plan
    for entry in planned:
        work = f"{entry.flops / 1e12:,.1f} TFLOP" if entry.flops else ""
        lines.append(f"{entry.step.id[:8]}  {printable(entry.step.title):{widest}}  {work:>14}  ")
        reason = "cached" if entry.cached else printable(entry.reason)
        lines.append(f"{reason}\n", style="cyan" if entry.cached else None)
    console.print(lines, soft_wrap=True, end="")
    left = [entry for entry in planned if not entry.cached and not entry.idle]
    num_cached, num_idle = sum(entry.cached for entry in planned), sum(entry.idle for entry in planned)
    not_applicable = f", {num_idle} not applicable" if num_idle else ""
    total = sum(entry.flops for entry in left) / 1e12
    console.print(
        f"{len(planned)} steps, {num_cached} cached{not_applicable}, {len(left)} to run: about {total:,.0f} TFLOP"
    )
    if again := [entry for entry in left if entry.again]:
        cost = sum(entry.flops for entry in again) / 1e12
        console.print(
            f"{len(again)} of them are cached, and evaluated again to be compared with the others, by the versions "
            f"installed here: about {cost:,.1f} TFLOP; --keep-versions leaves them as they are",
            highlight=False,
            soft_wrap=True,
        )
    for model, by_texts in special_tokens.items():
        unknown = ["special tokens: checked when the model is loaded"]
        for line in unknown if by_texts is None else special_token_lines(by_texts):
            show_line(console, f"{model}: {line}")
    _show_power(console, power)
    _show_forecast(console, forecast)


def _show_power(console: Console, power: Sequence[PlannedPower]) -> None:
    rows = [[printable(cell) for cell in row] for row in power_lines(power)]
    if rows:
        show_line(console, f"power of the claims (effects: {FACTOR:g} times what is too small to matter):")
    claims, numbers = (max((cell_len(row[i]) for row in rows), default=0) for i in (0, 1))
    for claim, number, about in rows:
        show_line(console, f"  {claim:{claims}}  {number:>{numbers}}  {about}")


def _show_forecast(console: Console, forecast: Forecast) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("model", "dtype", "per actor", "actors", "memory", "", "from", "to", f"{forecast.device}-hours"):
        left = heading in ("model", "dtype", "per actor", "")
        # the names of models are folded where the terminal is narrow, before anything else
        table.add_column(heading, justify="left" if left else "right", overflow="fold", no_wrap=heading != "model")
    for model in forecast.models:
        verdict = Text("fits") if model.fits else Text("does not fit", style="red")
        available = f" of {model.available / 2**30:.1f}" if model.available else ""
        memory = f"{model.need / 2**30:.1f}{available} GiB"
        times = (f"{seconds / 3600:.2f} h" for seconds in (model.begins, model.ends))
        table.add_row(
            *map(plain, (model.model, model.dtype, model.demand, str(model.actors), memory)),
            verdict,
            *times,
            f"{model.device_hours:.2f}",
        )
    console.print(table)
    hours = f"{forecast.device_hours:.2f} {forecast.device}-hours, {forecast.makespan / 3600:.2f} h from start to end"
    bound = f"no schedule takes less than {forecast.bound / 3600:.2f} h"
    console.print(plain(f"On {forecast.where}: about {hours} ({bound})"))
    if slow := forecast.in_float32:
        show_line(
            console,
            f"float32 takes about {forecast.float32_factor:.0f} times as long as 16 bits on a GPU: {', '.join(slow)}; "
            "`dtype: bfloat16` beside a model changes that, and its numbers",
        )


def show_report(console: Console, report: Mapping[str, Any]) -> None:
    """Print the table and the verdicts of each model, then of each series of checkpoints, then the scorecard.

    Raises StudyError for a report of another shape: others may have recorded it."""
    try:
        _show_report(console, completed(report))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise StudyError(f"the recorded report cannot be shown ({cause}); run the study again") from error


def _show_report(console: Console, report: Mapping[str, Any]) -> None:
    for model in report["models"]:
        _show_model(console, model)
    for series in report.get("series", ()):
        console.print()
        console.print(plain(f"Training of {series['label']}"), style="italic")
        for line in series_lines(series):
            console.print(plain(line))
        _show_verdicts(console, series["verdicts"])
    for line in margin_lines(report):
        console.print(plain(line))
    if scorecard := scorecard_table(report["models"]):
        heading, *rows = scorecard
        _print_table(console, "Scorecard", heading, rows)
    for line in across_models_lines(report):
        console.print(plain(line))
    for entry in report["unfinished"]:
        console.print(Text("not finished", style="red").append(f" {printable(entry)}", style="default"))


def _show_model(console: Console, model: Mapping[str, Any]) -> None:
    rows, remarks = [], []
    for row in model["rows"]:
        cells = [benchmark_cell(benchmark, row) for benchmark in model["benchmarks"]]
        rows.append([row["condition"], row["neurons"], *cells])
        if row["remark"] and row["condition"] not in model.get("unmatched", {}):  # a finding says more
            remarks.append(f"{row['condition']}: {row['remark']}")
    heading = ["condition", "neurons", *(benchmark["label"] for benchmark in model["benchmarks"])]
    _print_table(console, model["display"], heading, rows)
    for remark in remarks:
        console.print(plain(remark))
    console.print(plain(f"95 % bootstrap intervals over items. {model['noise']}".rstrip()), style="dim")
    for line in finding_lines(model):
        console.print(plain(line))
    _show_verdicts(console, model["verdicts"])


def _show_verdicts(console: Console, verdicts: Iterable[Mapping[str, Any]]) -> None:
    for verdict in verdicts:
        line = Text(f"{verdict['status'].upper():<14} ", style=STATUS_COLOURS[verdict["status"]])
        line.append(f"{printable(verdict['claim'])}: ", style="bold")
        line.append(printable("; ".join(filter(None, (verdict["detail"], verdict_note(verdict))))), style="default")
        console.print(line)


def _print_table(console: Console, title: str, heading: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; where the terminal is too narrow for it, in parts of some columns, each with the rows' names."""
    cells = [[printable(cell) for cell in row] for row in (heading, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    name = min(widths[0], max(console.width // 2, MIN_NAME))
    for number, part in enumerate(_parts(widths[1:], console.width - name - _frame(1))):
        table = Table(title=None if number else plain(title), title_justify="left", header_style="dim")
        table.add_column(Text(cells[0][0]), width=name, overflow="fold")
        for column in part:
            table.add_column(Text(cells[0][column + 1]), overflow="fold")
        for row in cells[1:]:
            table.add_row(*(Text(row[i]) for i in (0, *(column + 1 for column in part))))
        console.print(table)


def _parts(widths: Sequence[int], room: int) -> list[list[int]]:
    """Columns, in their order, in groups of which each fits into `room`, or is a single column."""
    parts: list[list[int]] = [[]]
    for column, width in enumerate(widths):
        used = sum(widths[other] + _frame(1) - 1 for other in parts[-1])
        if parts[-1] and used + width + _frame(1) - 1 > room:
            parts.append([])
        parts[-1].append(column)
    return parts


def _frame(num_columns: int) -> int:
    """Columns of the terminal that the frame of a table takes: a line and two spaces each, and the last line."""
    return 3 * num_columns + 1


def show_result(console: Console, result: Result, seconds: float) -> None:
    """Print the report and the closing lines of `run`; `seconds`: how long it took."""
    _show_report(console, completed(result.report))
    console.print(f"\n{result.computed} steps computed, {result.cached} cached, in {seconds:.0f} s", highlight=False)
    if result.unsent:
        console.print(
            Text(f"{result.unsent} steps wait {result.why_unsent}; the next run sends them", style="yellow"),
            soft_wrap=True,
        )
    show_line(console, f"Open the record:  {result.ui_command}")
    show_line(console, f"then              {result.ui_link}")
    show_line(console, f"Read the page:    {result.page}")
