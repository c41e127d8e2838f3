"""Plans and forecasts on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.planned_steps import PlannedStep
from orchestrator.planning.power import PlannedPower, power_lines
from orchestrator.scheduling.forecast import Forecast
from orchestrator.terminal.console import plain, show_line
from studies.claims.power import FACTOR
from studies.errors import printable
from studies.reporting.text import special_token_lines


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
