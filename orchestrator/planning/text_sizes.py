"""Whether texts fill the windows that a study file asks for, and windows the models.

Owns two judgements. An error: a text with fewer tokens than one window. A warning: a window longer than a model's
positions, because it is cut to these; and more tokens than a text has, because the file's number is a limit, every text
has another number of tokens under another tokenizer, and what was scored is recorded. Texts are counted only where it
may matter, with the tokenizers that lie on this machine; what no tokenizer here can count is not guessed.
"""

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.tokenizer_files import num_tokens
from orchestrator.study_file.located import KeyPath, Located, Problem
from studies.benchmarks.texts import Documents, TextRequest, Windows

MANY_CHARACTERS = 10
"""Characters per token that no tokenizer needs on average: a text of ten times as many has the tokens."""
SPECIAL_TOKENS = 4
"""More of them than any tokenizer adds to a text."""
NAMED_MODELS = 3


def shorter_than_a_window(request: Windows, models: Sequence[ResolvedModel]) -> str:
    """Why a text does not fill one window of some model; empty where it fills one of each, or none can tell."""
    for model in models:
        window = min(request.window, model.architecture.context)
        if request.num_tokens is not None and request.num_tokens < window:
            return (
                f"{request.num_tokens} tokens are fewer than one window of {window}; ask for more, or a shorter window"
            )
        counted = _count(request.text, window, model)
        if counted is not None and counted + SPECIAL_TOKENS < window:
            return f"the text has {counted} tokens for {model.label}, fewer than one window of {window}"
    return ""


def surprises(
    texts: Mapping[str, tuple[KeyPath, TextRequest]], models: Sequence[ResolvedModel], located: Located
) -> Iterator[Problem]:
    """The warnings of a study; texts: {name: (place in the file, texts)}."""
    for place, request in texts.values():
        if isinstance(request, Windows | Documents) and (text := _cut_windows(request.window, models)):
            yield located.problem(_option(place, "window", located), text)
        if isinstance(request, Windows) and (text := _too_many_tokens(request, models)):
            tokens = _option(place, "tokens", located)
            if tokens[-1] == "tokens":  # else it is a default, meant as a limit
                yield located.problem(tokens, text)


def _option(place: KeyPath, name: str, located: Located) -> KeyPath:
    """The path of an option in the file; the path of its block where the file does not say it."""
    block = located.data.get(place[0])
    if len(place) == 1:
        return (*place, name) if isinstance(block, dict) and name in block else place
    entry = block[int(place[1])] if isinstance(block, list) else None
    for word, options in entry.items() if isinstance(entry, dict) else ():
        if isinstance(options, dict) and name in options:
            return (*place, word, name)
    return place


def _cut_windows(window: int, models: Sequence[ResolvedModel]) -> str:
    shorter: dict[int, list[str]] = {}
    for model in models:
        if model.architecture.context < window:
            shorter.setdefault(model.architecture.context, []).append(model.label)
    used = "; ".join(f"windows of {context} tokens for {_listed(labels)}" for context, labels in shorter.items())
    return used and f"windows of {window} tokens are longer than the model's positions, which leaves {used}"


def _too_many_tokens(request: Windows, models: Sequence[ResolvedModel]) -> str:
    if request.num_tokens is None:
        return ""
    fewer: dict[int, list[str]] = {}
    for model in models:
        counted = _count(request.text, request.num_tokens, model)
        if counted is not None and counted + SPECIAL_TOKENS < request.num_tokens:
            fewer.setdefault(counted, []).append(model.label)
    has = "; ".join(f"{counted} for {_listed(labels)}" for counted, labels in fewer.items())
    return has and f"{request.num_tokens} tokens are more than the text has, which is all used: {has}"


def _count(text: str, enough: int, model: ResolvedModel) -> int | None:
    """How many tokens the text has for a model; None where it has `enough` for sure, or its tokenizer is not here."""
    if len(text) >= MANY_CHARACTERS * enough:
        return None
    return num_tokens(model, text)


def _listed(labels: Sequence[str]) -> str:
    others = len(labels) - NAMED_MODELS
    return ", ".join(labels[:NAMED_MODELS]) + (f" and {others} more" if others > 0 else "")
