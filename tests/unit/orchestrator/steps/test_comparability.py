"""The comparability key: its stored text, and what is read from it."""

from dataclasses import replace

import pytest

from orchestrator.steps.comparability import Key, difference, key_of, recorded_key
from tests.fakes import ENGINE, scored

TEXT = "tree 0123456789abcdef float32 cpu torch-2.13.0+cpu vllm-0.32.0"
KEY = Key("tree", "0123456789abcdef", "float32", "cpu", (("torch", "2.13.0+cpu"), ("vllm", "0.32.0")))


def test_the_text_of_a_key_is_stored_as_ever() -> None:
    engine = replace(ENGINE, versions={"vllm": "0.32.0", "torch": "2.13.0+cpu"})
    request = type("Request", (), {"texts": None})
    answer = scored("s", request, pack_plan="0123456789abcdef" * 4)
    assert key_of(engine, answer) == KEY and KEY.text == TEXT


def test_a_stored_key_is_read_back() -> None:
    assert recorded_key("evaluate.blimp", {"comparability.evaluate.blimp": TEXT}) == KEY
    assert recorded_key("evaluate.tse", {"comparability.evaluate.blimp": TEXT}) is None
    without_versions = KEY._replace(versions=())
    assert recorded_key("e", {"comparability.e": without_versions.text}) == without_versions
    assert recorded_key("e", {"comparability.e": "odd"}) == Key("odd", "", "", "", ())


def test_keys_agree_on_whatever_packs_where_these_do_not_matter() -> None:
    other_packs = KEY._replace(pack_plan="f" * 16)
    assert KEY.agrees(KEY) and not KEY.agrees(other_packs)
    assert KEY.agrees(other_packs.engine) and KEY.engine.agrees(other_packs)
    assert not KEY.engine.agrees(other_packs._replace(device="cuda"))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (KEY.with_versions({"torch": "2.14.0", "numpy": "2"}), ("torch 2.13.0+cpu", "torch 2.14.0")),
        (KEY.with_versions({"torch": "3", "vllm": "1"}), ("torch 2.13.0+cpu, vllm 0.32.0", "torch 3, vllm 1")),
        (KEY._replace(device="cuda", dtype="bfloat16"), ("device cpu, dtype float32", "device cuda, dtype bfloat16")),
        (KEY._replace(route="flat"), ("route tree", "route flat")),
        (KEY._replace(pack_plan="f" * 16), ("pack plan 01234567", "pack plan ffffffff")),
        (KEY._replace(versions=KEY.versions[:1]), ("vllm 0.32.0", "nothing else")),
    ],
)
def test_a_difference_is_named_in_words(other: Key, words: tuple[str, str]) -> None:
    assert difference(KEY, other) == words
