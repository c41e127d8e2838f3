"""The plain Transformers model of a source: what the score actor hooks, and the truth that reloads are held against."""

from actors.messages import ModelSource


def load_model(model: ModelSource, device_map: str | None = None):
    """Exactly what was resolved, safetensors only, on the CPU unless a device map says otherwise."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        model.path,
        revision=model.revision,
        dtype=getattr(torch, model.dtype),
        trust_remote_code=model.trust_remote_code,
        device_map=device_map,
        use_safetensors=True,
    ).eval()
