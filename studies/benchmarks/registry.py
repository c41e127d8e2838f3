"""The benchmarks that a study file can ask for: one line for each word.

Looked up when a study file is read, so that a word may be added at any time before. A benchmark's own module has the
rest: options, loading, texts, results, metrics.
"""

from studies.benchmarks.choices import EmbeddedKnowledgeOptions, UserChoicesOptions
from studies.benchmarks.harness.lm_eval import LmEvalOptions
from studies.benchmarks.minimal_pairs import BlimpOptions, EmbeddedPairsOptions, TseOptions, UserPairsOptions
from studies.benchmarks.multiple_choice import TASKS, MultipleChoiceOptions
from studies.benchmarks.options import Options
from studies.benchmarks.perplexity import PerplexityOptions
from studies.benchmarks.surprisal import SurprisalOptions

BENCHMARKS: dict[str, type[Options]] = {
    "perplexity": PerplexityOptions,
    "blimp": BlimpOptions,
    "tse": TseOptions,
    "embedded_pairs": EmbeddedPairsOptions,
    "embedded_knowledge": EmbeddedKnowledgeOptions,
    **dict.fromkeys(TASKS, MultipleChoiceOptions),
    "lm_eval": LmEvalOptions,
    "surprisal": SurprisalOptions,
    "pairs": UserPairsOptions,
    "choices": UserChoicesOptions,
}
"""{word in a study file: its options}; messages list the words in this order."""
