"""Mistakes that newcomers make, each with the line that is printed: where, what was found, what is allowed, the remedy.

A row changes one thing about `STUDY`, or calls another command; `{here}` stands for the current folder.
"""

from typing import NamedTuple

STUDY = """\
study: s
models:
  - ./a
profile: {corpus: embedded}
conditions:
  top: {select: top, fraction: 0.1, clamp: negative}
  random: {select: random, like: top, seeds: [0, 1, 2], clamp: negative}
evaluate:
  - perplexity: {corpus: embedded}
  - embedded_knowledge
claims: double_dissociation
"""


class Mistake(NamedTuple):
    """One mistake, and what is printed."""

    line: str
    """The end of the line, behind the file's name and `:`; for a command, the whole line."""
    before: str = ""
    after: str = ""
    """What is written in place of a part of `STUDY`."""
    options: tuple[str, ...] = ()
    """Behind `halfwave validate s.yaml`; a whole command where `verb` is given."""
    verb: str = ""


NUMBERS = {
    "percentage": Mistake(
        "6: conditions.top.fraction: must be a number; found '1%'; write 0.01", "fraction: 0.1", "fraction: 1%"
    ),
    "percentage as a number": Mistake(
        "6: conditions.top.fraction: must be below 1; found 1.5; for 1.5 % write 0.015",
        "fraction: 0.1", "fraction: 1.5",
    ),
    "one per cent as 1": Mistake(
        "6: conditions.top.fraction: must be below 1; found 1; for 1 % write 0.01", "fraction: 0.1", "fraction: 1"
    ),
    "nothing": Mistake("6: conditions.top.fraction: must be above 0; found 0", "fraction: 0.1", "fraction: 0"),
    "negative": Mistake(
        "6: conditions.top.fraction: must be above 0; found -0.1", "fraction: 0.1", "fraction: -0.1"
    ),
    "decimal comma": Mistake(
        "6: 0,1 is two values; write 0.1, with a point", "fraction: 0.1", "fraction: 0,1"
    ),
    "too small for the model": Mistake(
        "6: conditions.top.fraction: 0.01 selects no neuron: a layer of a has 16; take more than 0.031",
        "fraction: 0.1", "fraction: 0.01",
    ),
    "thousands as k": Mistake(
        "4: profile.tokens: must be a whole number; found '128k'; write 128000",
        "profile: {corpus: embedded}", "profile: {corpus: embedded, tokens: 128k}",
    ),
    "thousands with commas": Mistake(
        "4: profile.tokens: must be a whole number; found '131,072'; write 131072",
        "profile: {corpus: embedded}", "profile: {corpus: embedded, tokens: '131,072'}",
    ),
    "number of seeds": Mistake(
        "7: conditions.random.seeds: must be a list; found 3; write [3], or [0, 1, 2] for 3 seeds",
        "seeds: [0, 1, 2]", "seeds: 3",
    ),
}  # fmt: skip
WORDS = {
    "misspelt key": Mistake("8: evalute: unknown key; did you mean 'evaluate'?", "evaluate:", "evalute:"),
    "misspelt key inside": Mistake(
        "6: conditions.top.fracton: unknown key; did you mean 'fraction'?", "fraction:", "fracton:"
    ),
    "misspelt clamp": Mistake(
        "6: conditions.top.clamp: 'negativ' is not a clamp; did you mean 'negative'?",
        "fraction: 0.1, clamp: negative", "fraction: 0.1, clamp: negativ",
    ),
    "another word for top": Mistake(
        "6: conditions.top.select: 'highest' is not allowed; allowed: bottom, explicit, random, top",
        "select: top", "select: highest",
    ),
    "unknown condition": Mistake(
        "7: conditions.random.like: there is no condition 'tpo'; did you mean 'top'?", "like: top", "like: tpo"
    ),
    "no clamp": Mistake("6: conditions.top: the key 'clamp' is missing", "0.1, clamp: negative", "0.1"),
    "a space for an underscore": Mistake(
        "11: claims: there is no claim set 'double dissociation'; did you mean 'double_dissociation'?",
        "double_dissociation", "double dissociation",
    ),
    "misspelt benchmark": Mistake(
        "10: evaluate.1: 'embedded_knowlege' is not an evaluation; did you mean 'embedded_knowledge'?; a task of "
        "lm-eval is written lm_eval: {tasks: [embedded_knowlege]}",
        "embedded_knowledge", "embedded_knowlege",
    ),
    "a task of lm-eval": Mistake(
        "a task of lm-eval is written lm_eval: {tasks: [mmlu]}", "embedded_knowledge", "mmlu"
    ),
    "another name of a dtype": Mistake(
        "3: models.0.dtype: 'fp16' is not allowed; did you mean 'float16'?",
        "- ./a", "- {path: ./a, dtype: fp16}",
    ),
    "engine option": Mistake(
        "3: models.0.engine.gpu_memory: unknown key: the installed vLLM has no such engine option; did you mean "
        "'gpu_memory_utilization'?",
        "- ./a", "- {path: ./a, engine: {gpu_memory: 0.5}}",
    ),
    "code of the model": Mistake(
        "3: models.0.trust_remote_code: runs the Python of the model's repository; if you trust this study file with "
        "that, add --trust-study",
        "- ./a", "- {path: ./a, trust_remote_code: true}",
    ),
}  # fmt: skip
YAML = {
    "tab": Mistake("6: not valid YAML: found a tab; write spaces in its place", "  top:", "\ttop:"),
    "open bracket": Mistake(
        "7: not valid YAML: expected ',' or '}', but got ':'; close the bracket of line 6 with }",
        "clamp: negative}\n  random", "clamp: negative\n  random",
    ),
    "indentation": Mistake(
        "7: not valid YAML: the indentation does not fit the block that begins in line 6", "  random:", "   random:"
    ),
    "a colon in a text": Mistake(
        "1: not valid YAML: found a colon where no key is expected; quote a text that holds one, and indent keys "
        "alike",
        "study: s", "study: s: the first",
    ),
    "a key twice": Mistake(
        "12: the key 'study' occurs twice",
        "claims: double_dissociation", "claims: double_dissociation\nstudy: t",
    ),
    "a text for a list": Mistake(
        "2: models: must be a list; found './a'; write [./a]", "models:\n  - ./a", "models: ./a"
    ),
    "no models": Mistake("1: a study needs models, checkpoints or both", "models:\n  - ./a\n", ""),
    "a model twice": Mistake(
        "4: models.1: two models are shown as 'a'; give one of them a label", "  - ./a", "  - ./a\n  - ./a"
    ),
}  # fmt: skip
FILES = {
    "no such folder": Mistake(
        "3: models.0: there is no model folder {here}/smollm; model folders beside it: a, broken, family, pointer "
        "and 1 more",
        "./a", "./smollm",
    ),
    "an empty folder": Mistake(
        "3: models.0: {here}/empty has no config.json; a model folder holds it, tokenizer files and .safetensors "
        "weights",
        "./a", "./empty",
    ),
    "a GGUF file": Mistake(
        "3: models.0: {here}/packed has no config.json but model.gguf; python -m actors.gguf {here}/packed/model.gguf "
        "FOLDER makes a model folder of it",
        "./a", "./packed",
    ),
    "no weights": Mistake(
        "3: models.0: {here}/weightless holds no .safetensors weights; convert them, or, if they are pickled, write "
        "pickled_weights: true beside the model",
        "./a", "./weightless",
    ),
    "a pointer of Git LFS": Mistake(
        "3: models.0: {here}/pointer/model.safetensors is not a safetensors file: it is a pointer of Git LFS; run `git "
        "lfs pull` in its repository",
        "./a", "./pointer",
    ),
    "a broken config": Mistake("3: models.0: {here}/broken/config.json is not JSON: ", "./a", "./broken"),
    "another family": Mistake(
        "3: models.0: {here}/family/config.json: model family 'mixtral' is not in the site table; allowed: bloom, ",
        "./a", "./family",
    ),
    "no data folder": Mistake(
        "10: evaluate.1: tse has no copy on the hub: clone BeckyMarvin/LM_syneval and give --data-root, or data: "
        "{root: ...}, a folder with tse/ = its EMNLP2018/templates",
        "embedded_knowledge", "tse",
    ),
    "another data folder": Mistake(
        "10: evaluate.1: there is no folder empty/blimp, which should hold *.jsonl",
        "embedded_knowledge", "blimp", ("--data-root", "empty"),
    ),
    "pairs with other keys": Mistake(
        "10: evaluate.1: {here}/keys.jsonl:1: every line needs a non-empty text 'sentence_good'; it has none; its keys "
        'are "good", "bad"',
        "embedded_knowledge", "pairs: keys.jsonl",
    ),
    "pairs as CSV": Mistake(
        "10: evaluate.1: {here}/pairs.csv:1: not JSON (Expecting value); write one object a line: {...}",
        "embedded_knowledge", "pairs: pairs.csv",
    ),
    "a neuron that is not there": Mistake(
        "6: conditions.top.neurons: neurons.csv: a: layer 0 has neurons 0 to 15; found 999999",
        "select: top, fraction: 0.1", "select: explicit, neurons: neurons.csv",
    ),
    "no annotation": Mistake(
        "10: evaluate.1: embedded has no annotation: name a spaCy pipeline, tagger: en_core_web_sm, or give CoNLL-U",
        "embedded_knowledge", "surprisal: {corpus: embedded}",
    ),
}  # fmt: skip
COMMANDS = {
    "no such file": Mistake(
        "studie.yaml: the study file cannot be read: No such file or directory", options=("studie.yaml",),
        verb="validate",
    ),
    "a folder": Mistake(
        ".: a folder, not a study file; name one in it: s.yaml", options=(".",), verb="validate"
    ),
    "another file": Mistake(
        "notes.txt:1: a study file is a mapping of keys to values; found 'hello'", options=("notes.txt",),
        verb="validate",
    ),
    "an empty file": Mistake(
        "empty.yaml: the file is empty; a study needs at least study, models, conditions, evaluate",
        options=("empty.yaml",), verb="validate",
    ),
    "no file named": Mistake(
        "validate: missing argument 'study'; `halfwave validate --help` shows how it is called", verb="validate"
    ),
    "misspelt verb": Mistake("there is no verb 'repot'; did you mean 'report'?", verb="repot"),
    "unknown option": Mistake(
        "run: there is no option --gpus; `halfwave run --help` lists them", options=("s.yaml", "--gpus", "2"),
        verb="run",
    ),
    "misspelt option": Mistake(
        "run: there is no option --model-rot; did you mean '--model-root'?", options=("s.yaml", "--model-rot", "."),
        verb="run",
    ),
    "a word for a number": Mistake(
        "run: invalid value for '--silence': ",
        options=("s.yaml", "--silence", "long"), verb="run",
    ),
    "no such model root": Mistake(
        "--model-root: there is no folder nowhere", options=("s.yaml", "--model-root", "nowhere"), verb="validate"
    ),
    "no such data root": Mistake(
        "--data-root: there is no folder nowhere", options=("s.yaml", "--data-root", "nowhere"), verb="validate"
    ),
    "a file for a working folder": Mistake(
        "the working folder {here}/notes.txt cannot be created: File exists; choose one with --workdir",
        options=("s.yaml", "--workdir", "notes.txt"), verb="plan",
    ),
    "a server without http": Mistake(
        "localhost:5000 is no tracking URI; write http://HOST:PORT or sqlite:///PATH/mlflow.db",
        options=("s.yaml", "--tracking-uri", "localhost:5000"), verb="plan",
    ),
    "a folder for a store": Mistake(
        "mlruns is no tracking URI; write http://HOST:PORT or sqlite:///PATH/mlflow.db",
        options=("s.yaml", "--tracking-uri", "mlruns"), verb="plan",
    ),
    "a store that is none": Mistake(
        "the MLflow store {here}/old/mlflow.db is not a SQLite database; move it away, or name another store with "
        "--tracking-uri",
        options=("s.yaml", "--workdir", "old"), verb="plan",
    ),
    "a report before a run": Mistake(
        "s has no report yet: there is no MLflow store at {here}/.halfwave/mlflow.db; run the study first, or name its "
        "store with --workdir or --tracking-uri",
        options=("s.yaml",), verb="report",
    ),
    "a cluster of another form": Mistake(
        "--on: '4 x 8' is not a cluster; write NODESxGPUS or NODESxGPUS@GIB, as in 4x8 or 4x8@80",
        options=("s.yaml", "--on", "4 x 8"), verb="plan",
    ),
    "an age in words": Mistake(
        "--older-than: '7 days' is not an age; write days, hours and minutes: 7d, 12h or 1d12h30m",
        options=("--older-than", "7 days"), verb="gc",
    ),
    "no cluster": Mistake(
        "--address 127.0.0.1:9: nothing answers there (Connection refused); is the cluster up, and its port forwarded?",
        options=("s.yaml", "--address", "127.0.0.1:9"), verb="run",
    ),
}  # fmt: skip
IN_FILE = NUMBERS | WORDS | YAML | FILES
