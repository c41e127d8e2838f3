"""The verdicts on one model: all its claims on one scorecard."""

from orchestrator.planning.models import ResolvedModel
from orchestrator.review.claims.curve_evidence import CURVE_CLAIMS, curve_drafts
from orchestrator.review.claims.evidence import claims_evidence
from orchestrator.review.findings import Findings
from studies.claims.paper import DRAFTS, is_among
from studies.claims.scorecard import Draft, Verdict, verdicts
from studies.claims.wording import CLAIMS


def model_verdicts(findings: Findings, model: ResolvedModel) -> list[Verdict]:
    """The claims of the study's set that it asks for, and those on its curves; empty where it has no claims."""
    claims = findings.plan.study.spec.claims
    if claims is None:
        return []
    drafts: list[Draft] = []
    if claims in DRAFTS and (evidence := claims_evidence(findings, model)):
        asked = findings.plan.study.spec.only_claims
        drafts += [draft for draft in DRAFTS[claims](evidence) if is_among(draft.claim, asked)]
    drafts += curve_drafts(findings, model)
    return verdicts(model.label, {**CLAIMS, **CURVE_CLAIMS}, drafts)
