"""The installed vLLM is as the product relies on it, and one that is not is told apart."""

import shutil
from pathlib import Path

import pytest

from tests.vllm_conformance import RULES, installed, problems


def test_the_installed_vllm_is_as_relied_on() -> None:
    assert {rule.what: problem for rule, problem in problems(installed()) if problem} == {}


@pytest.mark.parametrize(
    ("path", "old", "new", "problem"),
    [
        (
            "v1/attention/backends/flash_attn.py",
            "        kv_cache: torch.Tensor,\n        attn_metadata: FlashAttentionMetadata,\n        output",
            "        attn_metadata: FlashAttentionMetadata,\n        kv_cache: torch.Tensor,\n        output",
            "FlashAttentionImpl.forward takes self, layer, query, key, value, attn_metadata, kv_cache, output",
        ),
        (
            "model_executor/layers/attention/attention.py",
            "    self.impl.forward(\n",
            "    self.impl.run(\n",
            "unified_attention_with_output does not say 'self.impl.forward(self, query, key, value",
        ),
        ("v1/worker/utils.py", "def request_memory(", "def ask_memory(", "no request_memory in v1/worker/utils.py"),
        ("engine/arg_utils.py", "    kv_cache_memory_bytes:", "    kv_bytes:", "kv_cache_memory_bytes"),
        ("envs.py", '"VLLM_USE_RAY_V2_EXECUTOR_BACKEND", "1"', '"VLLM_USE_RAY_V2_EXECUTOR_BACKEND", "0"', "envs.py"),
    ],
    ids=["another order", "another call", "another name", "no such option", "another default"],
)  # fmt: skip
def test_what_differs_is_named(path: str, old: str, new: str, problem: str, tmp_path: Path) -> None:
    for name in {rule.path for rule in RULES}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(installed() / name, tmp_path / name)
    source = (tmp_path / path).read_text(encoding="utf-8")
    assert old in source
    (tmp_path / path).write_text(source.replace(old, new), encoding="utf-8")
    found = [text for _, text in problems(tmp_path) if text]
    assert len(found) == 1 and found[0].startswith(problem)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    found = [text for _, text in problems(tmp_path)]
    assert found[0] == "no file v1/attention/backends/flash_attn.py" and all(found)
