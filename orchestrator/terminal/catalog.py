"""The list of the catalog on the terminal."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console

from orchestrator.study_file.catalog_list import Listed
from orchestrator.terminal.console import print_table, show_line

OTHER_COLUMNS = 80
"""What all columns but the last take at most, with their frame."""


def show_catalog(console: Console, studies: Sequence[Listed]) -> None:
    """Print one line for each study, with what it asks where the terminal is wide enough, and how to go on."""
    heading = ["study", "models", "conditions", "needs", "asks"]
    rows = [
        [study.name, str(len(study.models)), str(len(study.conditions)), ", ".join(study.needs), study.about]
        for study in studies
    ]
    longest = max((cell_len(study.about) for study in studies), default=0)
    shown = len(heading) if console.width >= OTHER_COLUMNS + longest else len(heading) - 1
    print_table(console, "", heading[:shown], [row[:shown] for row in rows])
    show_line(console, "needs: weights = --model-root, hub = downloads, data = --data-root")
    show_line(console, "`halfwave catalog NAME` prints a study, with --copy into a file here")
