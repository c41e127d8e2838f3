"""Which models count in a summary over models, and to which family each belongs."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.review.claims.across_models import family, record_across_models
from tests.plans import checkpoint, model


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("EleutherAI/pythia-70m", "pythia"),
        ("EleutherAI/pythia-1.4b-deduped", "pythia"),
        ("meta-llama/Llama-3.1-8B", "llama"),
        ("meta-llama/Llama-2-7b-hf", "llama"),
        ("mistralai/Mistral-7B-v0.3", "mistral"),
        ("Qwen/Qwen3-8B", "qwen"),
        ("Qwen/Qwen2.5-0.5B-Instruct", "qwen"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm"),
        ("openai-community/gpt2", "gpt"),
        ("openai-community/gpt2-xl", "gpt"),
        ("EleutherAI/gpt-neox-20b", "gpt-neox"),
        ("EleutherAI/gpt-neo-125m", "gpt-neo"),
        ("gpt-neox-mini/step5193", "gpt-neox"),
        ("facebook/opt-6.7b", "opt"),
        ("org/3b", "3b"),
        ("org/base", "base"),
    ],
)
def test_the_family_of_a_name(name: str, expected: str) -> None:
    named = model()
    assert family(replace(named, spec=named.spec.model_copy(update={"name": name}))) == expected


def test_the_family_of_a_folder() -> None:
    named = model(path="/models/SmolLM2-135M-Instruct")
    of_path = named.spec.model_copy(update={"name": None, "path": named.path})
    assert family(replace(named, spec=of_path)) == "smollm"


def part(label: str, *verdicts: dict[str, Any]) -> dict[str, Any]:
    return {"label": label, "verdicts": list(verdicts)}


def verdict(
    status: str = "supported", value: float | None = 0.1, error: float | None = 0.02, df: float | None = 20.0
) -> dict[str, Any]:
    effect = None if value is None else {"estimate": value, "low": value - 0.04, "high": value + 0.04}
    return {"claim": "c", "status": status, "effect": effect, "standard_error": error, "df": df}


def test_two_models_are_a_list_and_five_have_a_summary() -> None:
    models = [model(label) for label in "abcdef"]
    (two,) = record_across_models(models, [part("a", verdict()), part("b", verdict("absent"))])
    assert two["num_models"] == 2 and two["summary"] is None
    parts = [part(label, verdict(value=0.1 * i, df=None)) for i, label in enumerate("abcde")]
    (five,) = record_across_models(models, [*parts, part("f", verdict("not applicable"))])
    assert five["summary"]["num_models"] == 5 == five["num_models"] and five["not_applicable"] == ["f"]
    assert [entry["family"] for entry in five["summary"]["families"]] == list("abcde")
    assert five["summary"]["estimate"] == pytest.approx(0.2)


def test_an_effect_without_a_standard_error_is_not_added() -> None:
    """The bracket of a search, and a variance that nobody can estimate."""
    models = [model(label) for label in "abcdef"]
    odd = [part("a", verdict(error=None)), part("b", verdict(error=0.0)), part("c", verdict("undecided", None, None))]
    (entry,) = record_across_models(models, [*odd, *(part(label, verdict()) for label in "def")])
    assert entry["summary"] is None and entry["without_effect"] == ["a", "b", "c"] and entry["num_models"] == 6


def test_a_single_model_has_none_and_checkpoints_are_one() -> None:
    assert record_across_models([model("a")], [part("a", verdict())]) == []
    assert record_across_models([model("a"), model("b")], [part("a"), part("b")]) == []
    series = [checkpoint(0, None), checkpoint(10, 0), checkpoint(50, 10)]
    parts = [part(one.label, verdict()) for one in series]
    assert record_across_models(series, parts) == []
    (entry,) = record_across_models([*series, model("a")], [*parts, part("a", verdict())])
    assert entry["by_status"] == {"supported": ["m@step10", "a"]}
