"""The special tokens of a model's tokenizer, and its tokens in a text, from the files of it that are on this machine.

Reads `tokenizer.json` as Transformers does, with the package `tokenizers`, and loads no model. What the files leave
open is not guessed: actors decide again, from the tokenizer itself.
"""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.planning.models import ResolvedModel
from studies.benchmarks.special_tokens import Token, TokenizerMarks, marks_around
from studies.files import MAX_SMALL, read_text


def local_marks(model: ResolvedModel) -> TokenizerMarks | None:
    """The special tokens of a model's tokenizer; None where only loading it tells.

    That is so where the model is on the hub and not in the local cache, where it has no readable `tokenizer.json` and
    `tokenizer_config.json`, and where its repository brings code of its own.
    """
    files = [_file(model, name) for name in ("tokenizer.json", "tokenizer_config.json")]
    if model.spec.trust_remote_code or None in files:
        return None
    try:
        return _marks(*(read_text(Path(str(file)), most=MAX_SMALL) for file in files))
    except Exception:  # of any kind, `tokenizers` has one class for all: loading the model will say what is wrong
        return None


@functools.lru_cache(maxsize=2)
def _marks(tokenizer_json: str, config_json: str) -> TokenizerMarks | None:
    """From the contents of the two files, which all checkpoints of a series share."""
    from tokenizers import Tokenizer

    tokenizer, config = Tokenizer.from_str(tokenizer_json), json.loads(config_json)
    if not {"bos_token", "eos_token"} <= config.keys():
        return None  # the tokenizer's class has defaults of its own

    def tokens(ids: Sequence[int]) -> tuple[Token, ...]:
        return tuple(Token(i, str(tokenizer.id_to_token(i))) for i in ids)

    def named(name: str) -> Token | None:
        value: Any = config[name]
        text = value["content"] if isinstance(value, dict) else value
        i = None if text is None else tokenizer.token_to_id(text)
        return None if i is None else Token(i, text)

    before, after = marks_around(*(tokenizer.encode("a", add_special_tokens=special).ids for special in (True, False)))
    return TokenizerMarks(before=tokens(before), after=tokens(after), bos=named("bos_token"), eos=named("eos_token"))


def num_tokens(model: ResolvedModel, text: str) -> int | None:
    """The number of tokens of a text without special tokens; None where the files on this machine do not say."""
    file = _file(model, "tokenizer.json")
    if model.spec.trust_remote_code or file is None:
        return None
    try:
        return _num_tokens(read_text(file, most=MAX_SMALL), text)
    except Exception:  # as above
        return None


@functools.lru_cache(maxsize=16)
def _num_tokens(tokenizer_json: str, text: str) -> int:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_truncation()
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


def _file(model: ResolvedModel, name: str) -> Path | None:
    """A file of the model's folder, or of its commit in the hub's local cache; None where it is not on this machine."""
    if model.revision is None:
        path = Path(model.path) / name
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(model.path, name, revision=model.revision)
    return Path(cached) if isinstance(cached, str) else None
