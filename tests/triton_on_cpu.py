"""vLLM's V2 model runner, and its Triton attention, on a CPU: through Triton's interpreter.

GPUs run nothing else; of the code that they share with a CPU, only the kernels' speed is not tried here.
"""

import os
import sys
from types import SimpleNamespace
from typing import Any


def prepare(*, triton_attention: bool) -> list[str]:
    """Have this process run vLLM so; returns the attention backends that were chosen instead of a CPU's, as they are.

    To be called before vllm is imported, where TRITON_INTERPRET was 1 before Triton was imported, by torch too."""
    assert "vllm" not in sys.modules and os.environ["TRITON_INTERPRET"] == "1"
    os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "1"
    from triton.backends import backends

    # vLLM's CPU build wants a Triton with a backend for CPUs; the interpreter needs none
    backends["cpu"] = SimpleNamespace(driver=SimpleNamespace(is_active=lambda: True))  # type: ignore[assignment]
    try:
        import vllm.triton_utils

        assert vllm.triton_utils.HAS_TRITON
    finally:
        del backends["cpu"]
    used: list[str] = []
    if triton_attention:
        import torch
        from vllm.platforms.cpu import CpuPlatform
        from vllm.v1.attention.backends.registry import AttentionBackendEnum

        def chosen(*_: Any, **__: Any) -> str:
            used.append(AttentionBackendEnum.TRITON_ATTN.get_path())
            return used[-1]

        CpuPlatform.get_attn_backend_cls = chosen  # type: ignore[method-assign, assignment]
        torch.cuda.get_device_capability = lambda *_: (9, 0)
    return used
