"""The words of the claims on one model, and of the numbers behind a verdict.

Knows nothing of how a claim is judged.
"""

from collections.abc import Mapping

from studies.claims.scorecard import Claim, Denial, Part, Unit, format_interval
from studies.statistics.effects import Effect

CLAIMS: Mapping[str, Claim] = {
    "perplexity_cost": Claim(
        "The negative clamp of the top neurons raises perplexity, and more than that of as many random neurons.",
        "A top-1 % negative clamp raises perplexity far more than a random 1 %; perplexity doubles at about 2 % clamped"
        " in Llama 3.1 8B and Mistral 7B, about 5 % in Qwen3 8B.",
        Unit.LOG_PERPLEXITY,
    ),
    "matched_cost": Claim(
        "More low-score neurons than top neurons must be clamped to reach the same perplexity.",
        "To match the top-1 % perplexity 35 % (Llama), 50 % (Mistral), 20 % (Qwen) of low-score neurons are needed.",
        Unit.FRACTION,
    ),
    "syntax_loss": Claim(
        "At matched perplexity accuracy on {benchmark} drops under the clamp of the top neurons, and more than under"
        " the matched control.",
        "At matched perplexity BLiMP and TSE drop sharply for the top neurons and hardly for the matched control.",
        Unit.ACCURACY,
    ),
    "syntax_spared": Claim(
        "At matched perplexity accuracy on {benchmark} does not change under the matched control by as much as the"
        " margin.",
        "At matched perplexity BLiMP and TSE drop sharply for the top neurons and hardly for the matched control.",
        Unit.ACCURACY,
    ),
    "knowledge_loss": Claim(
        "At matched perplexity non-syntactic accuracy drops under the matched control, and more than under the clamp"
        " of the top neurons.",
        "Non-syntactic error: about +4 % for the top neurons, about +11 % for the matched control.",
        Unit.ACCURACY,
    ),
    "knowledge_spared": Claim(
        "Non-syntactic accuracy does not change under the clamp of the top neurons by as much as the margin.",
        "Non-syntactic error: about +4 % for the top neurons, about +11 % for the matched control.",
        Unit.ACCURACY,
    ),
    "double_dissociation": Claim(
        "At matched perplexity the clamp of the top neurons costs more syntactic accuracy than the matched control, the"
        " matched control more non-syntactic accuracy than the top neurons, and the two differences differ.",
        "Clamping the top 1 % hurts grammar badly and other skills little; a perplexity-matched clamp of many ordinary"
        " neurons does the opposite.",
        Unit.ACCURACY,
    ),
    "negative_mass": Claim(
        "The most entangled neurons' distance to N(0, 1) lies below zero.",
        "The odd mass sits in the negative half; ReLU models (OPT) show a much weaker negative structure.",
        Unit.NUMBER,
    ),
    "difficulty_agrees": Claim(
        "The negative clamp of the top neurons by mapping difficulty raises perplexity, and more than that of as many"
        " random neurons.",
        "Selecting by mapping difficulty gives the same picture: the two scores correlate.",
        Unit.LOG_PERPLEXITY,
    ),
    "scaffolding": Claim(
        "The negative clamp of the top neurons adds more surprisal to determiners, punctuation, auxiliaries and"
        " particles than to nouns, verbs, adjectives and adverbs, also over as many random neurons and over the matched"
        " control.",
        "Excess surprisal sits on determiners, punctuation, auxiliaries and particles; on nouns, verbs, adjectives and"
        " adverbs it is near zero.",
        Unit.SURPRISAL,
    ),
    "content_spared": Claim(
        "The negative clamp of the top neurons does not change the surprisal of nouns, verbs, adjectives and adverbs"
        " by as much as the margin.",
        "Excess surprisal sits on determiners, punctuation, auxiliaries and particles; on nouns, verbs, adjectives and"
        " adverbs it is near zero.",
        Unit.SURPRISAL,
    ),
    "sign_not_magnitude": Claim(
        "Syntactic accuracy drops where the top neurons' activations lose their sign (signflip), and does not change by"
        " as much as the margin where only their positive values change (posrelu).",
        "It is the sign that matters, not the magnitude.",
        Unit.ACCURACY,
    ),
}


LARGE_DF = 1e6
"""An interval of so many degrees of freedom is an exact bound."""


def random_sets(randoms: Mapping[str, object]) -> str:
    return f"the mean of {len(randoms)} random controls" if len(randoms) > 1 else "the random control"


def shown(part: Part | Denial) -> str:
    """`accuracy over baseline -0.0200 [-0.0300, -0.0100] (67 paradigms, 11 df)`."""
    found = part.effect
    about = found.basis if found.df > LARGE_DF else f"{found.basis}, {found.degrees} df"
    rank = [f"rank p = {part.rank_p_value:.2g}"] if isinstance(part, Part) and part.rank_p_value is not None else []
    return f"{part.label} {format_interval(found.interval())} ({'; '.join([about, *rank, *found.notes])})"


def error_increase(change: Effect, accuracy: float) -> str:
    """`error +0.0200, which is +8.0 % of the baseline's 0.2500`."""
    error = 1 - accuracy
    relative = (
        f", which is {100 * (0.0 - change.value) / error:+.1f} % of the baseline's {error:.4f}" if error > 0 else ""
    )
    return f"error {0.0 - change.value:+.4f}{relative}"
