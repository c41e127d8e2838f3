"""The end of `run`: the report, the counts, and where to read on."""

from rich.console import Console
from rich.text import Text

from orchestrator.study import Result
from orchestrator.terminal.console import show_line
from orchestrator.terminal.report import show_completed
from studies.reporting.records import completed


def show_result(console: Console, result: Result, seconds: float) -> None:
    """Print the report and the closing lines of `run`; `seconds`: how long it took."""
    show_completed(console, completed(result.report))
    console.print(f"\n{result.computed} steps computed, {result.cached} cached, in {seconds:.0f} s", highlight=False)
    if result.unsent:
        console.print(
            Text(f"{result.unsent} steps wait {result.why_unsent}; the next run sends them", style="yellow"),
            soft_wrap=True,
        )
    show_line(console, f"Open the record:  {result.ui_command}")
    show_line(console, f"then              {result.ui_link}")
    show_line(console, f"Read the page:    {result.page}")
