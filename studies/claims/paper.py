"""The paper's claims on one model: what each says, and how its items decide it.

Owns the claims' words and the effects and contrasts of each; `scorecard` has the rules, `evidence` the items and
whether they suffice, `matched` the control at equal perplexity. Callers rely on: no claim is ever left out (those on
syntax have one verdict per syntactic benchmark, those on surprisal one per surprisal benchmark), and conditions with
different item sets raise ValueError. Callers leave out results that were computed differently.
"""

from collections.abc import Callable, Mapping, Sequence

from studies.claims.dissociation import difficulty_agrees, dissociation_drafts, perplexity_cost
from studies.claims.evidence import Evidence, sample
from studies.claims.scorecard import (
    Denial,
    Draft,
    Part,
    format_interval,
    judged,
    not_applicable,
    undecided,
)
from studies.claims.surprisal import surprisal_drafts
from studies.claims.wording import shown
from studies.statistics.effects import effect, mean_effect

CONFOUNDED = (
    "the share of the distance below raw zero follows from the neuron's mean and standard deviation alone, so it is no"
    " evidence of where the odd mass sits"
)


def paper_drafts(evidence: Evidence) -> list[Draft]:
    """`dissociation_drafts`, then negative_mass, difficulty_agrees, sign_not_magnitude; scaffolding and content_spared
    (both per surprisal benchmark)."""
    if evidence.relu:
        others = not_applicable(("difficulty_agrees", "sign_not_magnitude"))
    else:
        others = [difficulty_agrees(evidence), _sign_not_magnitude(evidence)]
    return [*dissociation_drafts(evidence), _negative_mass(evidence), *others, *surprisal_drafts(evidence)]


def token_surprisal_drafts(evidence: Evidence) -> list[Draft]:
    """perplexity_cost, and scaffolding and content_spared (per surprisal benchmark)."""
    first = not_applicable(("perplexity_cost",)) if evidence.relu else [perplexity_cost(evidence)]
    return [*first, *surprisal_drafts(evidence)]


_DISSOCIATION = (
    "perplexity_cost",
    "matched_cost",
    "syntax_loss",
    "syntax_spared",
    "knowledge_loss",
    "knowledge_spared",
    "double_dissociation",
)
_SURPRISAL = ("scaffolding", "content_spared")
NAMES: Mapping[str, tuple[str, ...]] = {
    "double_dissociation": _DISSOCIATION,
    "paper": (*_DISSOCIATION, "negative_mass", "difficulty_agrees", "sign_not_magnitude", *_SURPRISAL),
    "token_surprisal": ("perplexity_cost", *_SURPRISAL),
}
"""{word of a study file: its claims}; on a scorecard, those on syntax and surprisal have one verdict per benchmark."""


def is_among(claim: str, names: Sequence[str] | None) -> bool:
    """Whether a claim of a scorecard, `syntax_loss/blimp`, is one of these; None = all."""
    return names is None or claim.partition("/")[0] in names


DRAFTS: Mapping[str, Callable[[Evidence], list[Draft]]] = {
    "double_dissociation": dissociation_drafts,
    "paper": paper_drafts,
    "token_surprisal": token_surprisal_drafts,
}
"""{word of a study file: the drafts of its claims on one model}."""


def _negative_mass(evidence: Evidence) -> Draft:
    """No verdict until a measure that is not confounded with the mean replaces this one; the shares are described."""
    (draft,) = not_applicable(("negative_mass",), f"the measure is confounded with the mean: {CONFOUNDED}")
    share = evidence.negative_share
    if share is None:
        return draft
    described = (
        f"; for description, {format_interval(share.top)} of the {share.num_top} most entangled neurons,"
        f" {format_interval(share.rest)} of the other {share.num_rest}"
    )
    return draft._replace(detail=draft.detail + described)


def _sign_not_magnitude(evidence: Evidence) -> Draft:
    claim, benchmarks = "sign_not_magnitude", evidence.syntactic
    signflip, posrelu = evidence.signflip, evidence.posrelu
    compared = sample({"baseline": evidence.baseline, "signflip": signflip, "posrelu": posrelu}, benchmarks)
    if compared.problem is not None or signflip is None or posrelu is None:
        return undecided(claim, compared.problem or "", compared.num_items)
    flipped, linear = (
        mean_effect([effect(items[name], evidence.baseline[name]) for name in benchmarks])
        for items in (signflip, posrelu)
    )
    part = Part("accuracy without the sign (signflip) over baseline", flipped, -1)
    denial = Denial("accuracy with linear positive values (posrelu) over baseline", linear)
    detail = f"{shown(part)}; {shown(denial)}"
    return judged(
        claim, [part], [denial], margin=evidence.margins.accuracy, detail=detail, num_items=compared.num_items
    )
