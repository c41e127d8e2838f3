"""What a benchmark is."""

from studies.benchmarks import choices, minimal_pairs
from studies.benchmarks.lm_eval import TaskBenchmark
from studies.benchmarks.perplexity import PerplexityBenchmark
from studies.benchmarks.surprisal import SurprisalBenchmark

Benchmark = (
    PerplexityBenchmark | minimal_pairs.PairBenchmark | choices.ChoiceBenchmark | TaskBenchmark | SurprisalBenchmark
)
