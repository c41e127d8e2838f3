"""What all verbs have in common: a STUDY may be a name of the catalog, and with `--json` mistakes are JSON, too.

Invariant: with `--json`, whatever a user can fix is one JSON object on standard output with the key `mistakes`, besides
the lines on standard error; exit code 2 stays.
"""

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.redaction import redacted
from orchestrator.study_file.catalog import found_study
from studies.errors import StudyError


def answering(verb: Callable[..., None], mistaken: Mapping[str, Any] | None = None) -> Callable[..., None]:
    """The verb with a `study` that is found, and its mistakes as JSON with `as_json`.

    mistaken: what else the JSON of a mistake says."""

    @functools.wraps(verb)
    def answered(**options: Any) -> None:
        try:
            if isinstance(study := options.get("study"), Path):
                options["study"] = found_study(study)
            verb(**options)
        except StudyError as error:
            if options.get("as_json"):
                found = {**(mistaken or {}), "mistakes": redacted(str(error)).split("\n")}
                print(json.dumps(found, indent=2))
            raise

    return answered
