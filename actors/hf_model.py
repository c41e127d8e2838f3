"""The plain Transformers model of a source: what the score actor hooks, and the truth that reloads are held against.

Owns how far a source is trusted: code of its repository runs only where the study file says so, and weights are
safetensors unless it resolved to pickles, which are read without the code that a pickle may carry.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError

from actors.messages import ModelSource
from studies.errors import StudyError


def load_model(model: ModelSource, device_map: str | None = None):
    """Exactly what was resolved, on the CPU unless a device map says otherwise."""
    import torch
    from transformers import AutoModelForCausalLM

    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"  # of pickles Transformers asks a service of the hub for a copy
    with trusted_alone(model):
        return AutoModelForCausalLM.from_pretrained(
            model.path,
            revision=model.revision,
            dtype=getattr(torch, model.dtype),
            trust_remote_code=model.trust_remote_code,
            device_map=device_map,
            use_safetensors=not model.pickled,
            weights_only=True,
        ).eval()


@contextmanager
def trusted_alone(model: ModelSource) -> Iterator[None]:
    """Around a loader: what it refuses to trust becomes one line, in the study file's words."""
    try:
        yield
    except UnpicklingError as error:
        raise StudyError(
            f"{model.label}: its pickled weights hold more than tensors and are not loaded; where you trust "
            "them, convert them to safetensors yourself"
        ) from error
    except ValueError as error:
        if model.trust_remote_code or "trust_remote_code" not in str(error):
            raise
        raise StudyError(
            f"{model.label} cannot be loaded without running code of its repository; read it, and write "
            "trust_remote_code: true beside the model if you trust it"
        ) from error
