"""Loads the plain Transformers model of a source, for the score actor and as the reference for reloaded engines.

Owns how far a source is trusted. Code from its repository runs only where the study file allows it. Weights are read
from safetensors unless the source resolved to pickles, and then without running the code that a pickle may carry.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from actors.messages.model import ModelSource
from actors.messages.stream import EngineDied
from studies.errors import StudyError

if TYPE_CHECKING:  # torch and Transformers take seconds to import
    from transformers import PreTrainedModel


OTHERS_SHARE = 0.05
"""Of a GPU's memory: more than what CUDA itself takes in this process."""


def load_model(model: ModelSource, device_map: str | None = None) -> "PreTrainedModel":
    """The model in evaluation mode, on the CPU unless `device_map` (Transformers' argument) says otherwise.

    Raises StudyError where the source would have to be trusted further than it may be, EngineDied where it does not fit
    because other processes hold memory of a GPU.
    """
    import torch
    from transformers import AutoModelForCausalLM

    is_shared = device_map is not None and _others_hold_memory()
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"  # Transformers asks a hub service to convert pickles
    try:
        with refusing_untrusted(model):
            loaded = AutoModelForCausalLM.from_pretrained(
                model.path,
                revision=model.revision,
                dtype=getattr(torch, model.dtype),
                trust_remote_code=model.trust_remote_code,
                device_map=device_map,
                use_safetensors=not model.pickled,
                weights_only=True,
            )
    except torch.OutOfMemoryError as error:
        if is_shared:
            raise EngineDied(f"{model.label}: other processes hold memory of the GPU: {error}") from error
        raise
    for tensor in (*loaded.parameters(), *loaded.buffers()):
        if tensor.device.type == "cpu":  # still pages of the file: whoever rewrites it would change the weights in use
            tensor.data = tensor.data.clone()
    return loaded.eval()


def _others_hold_memory() -> bool:
    """Whether other processes hold much of a GPU that this one sees, as one that has just ended does for a moment."""
    import torch

    memory = [torch.cuda.mem_get_info(i) for i in range(torch.cuda.device_count())]
    return any(total - free > OTHERS_SHARE * total for free, total in memory)


@contextmanager
def refusing_untrusted(model: ModelSource) -> Iterator[None]:
    """Turn a loader's refusal to run code or to unpickle into a StudyError that names the remedy in the study file."""
    try:
        yield
    except UnpicklingError as error:
        raise StudyError(
            f"{model.label}: its pickled weights hold more than tensors and are not loaded; if you trust "
            "them, convert them to safetensors yourself"
        ) from error
    except ValueError as error:
        if model.trust_remote_code or "trust_remote_code" not in str(error):
            raise
        raise StudyError(
            f"{model.label} cannot be loaded without running code from its repository; read it, and if you trust "
            "it write trust_remote_code: true beside the model and run with --trust-study"
        ) from error
