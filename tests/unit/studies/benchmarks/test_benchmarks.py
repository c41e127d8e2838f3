"""Benchmarks and corpora: what counts as correct, and what is read from local files (or refused, by file and line)."""

import json
import math
import pickle
import random
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from studies.benchmarks import choices, minimal_pairs
from studies.benchmarks.choices import ChoiceBenchmark, Item, embedded_knowledge, user_choices
from studies.benchmarks.corpora import Corpus, hub_rows, load_corpus
from studies.benchmarks.minimal_pairs import Pair, PairBenchmark, blimp, embedded_pairs, read_jsonl, tse, user_pairs
from studies.benchmarks.multiple_choice import multiple_choice
from studies.benchmarks.perplexity import PerplexityBenchmark
from studies.errors import StudyError


def write(path: Path, *rows) -> Path:
    """A jsonl file; rows that are text are written as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def refusal(function, *arguments) -> str:
    with pytest.raises(StudyError) as caught:
        function(*arguments)
    assert str(caught.value).splitlines() == [str(caught.value)]
    return str(caught.value)


# -- pairs -----------------------------------------------------------------------------------------------------------

PAIRS = (
    Pair("short:a", "agreement", "0", "good one", "bad one"),
    Pair("short:a", "agreement", "1", "good two", "bad two"),
    Pair("long:b", "npi", "0", "good three", "bad three"),
)
SUMS, COUNTS = np.array([-6.0, -5.0, -4.0, -4.0, -9.0, -8.0]), np.array([3, 2, 2, 2, 3, 2])


def pair_benchmark(**fields) -> PairBenchmark:
    return PairBenchmark(**{"name": "pairs", "label": "pairs", "pairs": PAIRS, **fields})


def test_pairs_are_compared_by_sums_or_by_means_per_token():
    sums = pair_benchmark().results(SUMS, COUNTS)
    assert sums["logprob_good"].tolist() == [-6, -4, -9] and sums["logprob_bad"].tolist() == [-5, -4, -8]
    assert sums["correct"].tolist() == [0.0, 0.5, 0.0]
    means = pair_benchmark(per_token=True).results(SUMS, COUNTS)
    assert means["logprob_good"].tolist() == [-2, -2, -3] and means["logprob_bad"].tolist() == [-2.5, -2, -4]
    assert means["correct"].tolist() == [1.0, 0.5, 1.0]
    assert sums[["uid", "phenomenon", "pair"]].to_numpy().tolist() == [list(pair[:3]) for pair in PAIRS]


def test_ties_are_half_or_wrong():
    assert pair_benchmark(half_ties=False).results(SUMS, COUNTS)["correct"].tolist() == [0.0, 0.0, 0.0]
    assert pair_benchmark(half_ties=True).results(SUMS, COUNTS)["correct"].tolist() == [0.0, 0.5, 0.0]


def test_pair_metrics_pool_over_pairs():
    items = pair_benchmark().results(np.array([2.0, 1.0, 2.0, 1.0, 0.0, 1.0]), COUNTS)
    assert pair_benchmark().metrics(items) == {"pairs/accuracy": 2 / 3, "pairs/agreement": 1.0, "pairs/npi": 0.0}
    found = pair_benchmark(name="tse").metrics(items)
    assert found == {
        "tse/accuracy": 2 / 3, "tse/agreement": 1.0, "tse/npi": 0.0, "tse/short": 1.0, "tse/long": 0.0,
    }  # fmt: skip


def test_texts_alternate_good_and_bad():
    assert pair_benchmark().texts == ("good one", "bad one", "good two", "bad two", "good three", "bad three")


def test_the_digest_covers_the_sentences_and_how_they_are_compared():
    variants = [
        pair_benchmark(),
        pair_benchmark(per_token=True),
        pair_benchmark(half_ties=False),
        pair_benchmark(pairs=PAIRS[::-1]),
        pair_benchmark(pairs=(*PAIRS[:2], PAIRS[2]._replace(bad="bad  three"))),
        pair_benchmark(pairs=(*PAIRS[:2], PAIRS[2]._replace(uid="long:c"))),
    ]
    assert len({variant.digest for variant in variants}) == len(variants)
    assert pair_benchmark(name="other", label="other").digest == variants[0].digest


# -- choices and perplexity ------------------------------------------------------------------------------------------


def test_choices_by_sum_and_by_sum_per_character():
    """The second item: the longer choice has the lower sum but the higher one per character."""
    items = (Item("a", "c", ("xx", "y"), 0), Item("b", "c", ("x", "yyyy"), 1))
    benchmark = ChoiceBenchmark(name="know", label="know", items=items)
    assert benchmark.contexts == ("c",) * 4 and benchmark.continuations == (" xx", " y", " x", " yyyy")
    found = benchmark.results(np.array([-1.0, -2.0, -3.0, -4.0]), np.array([1, 1, 1, 1]))
    assert found["predicted"].tolist() == [0, 0] and found["gold"].tolist() == [0, 1]
    assert found["correct"].tolist() == [1.0, 0.0] and found["correct_norm"].tolist() == [1.0, 1.0]
    assert found["logprobs"].tolist() == [[-1.0, -2.0], [-3.0, -4.0]] and found["id"].tolist() == ["a", "b"]
    assert benchmark.metrics(found) == {"know/accuracy": 0.5, "know/accuracy_norm": 1.0}


def test_items_of_different_sizes_keep_to_their_own_choices():
    items = (Item("a", "c", ("p", "q"), 1), Item("b", "c", ("p", "q", "r"), 2), Item("d", "c", ("p", "q"), 0))
    benchmark = ChoiceBenchmark(name="know", label="know", items=items)
    sums = np.array([-9.0, -1.0, -9.0, -8.0, -1.0, -1.0, -9.0])
    found = benchmark.results(sums, np.ones(7))
    assert found["correct"].tolist() == [1.0, 1.0, 1.0] and [len(row) for row in found["logprobs"]] == [2, 3, 2]


def test_a_tie_of_choices_goes_to_the_first():
    benchmark = ChoiceBenchmark(name="know", label="know", items=(Item("a", "c", ("p", "q"), 1),))
    assert benchmark.results(np.array([-1.0, -1.0]), np.ones(2))["predicted"].tolist() == [0]


def test_choices_may_have_contexts_of_their_own():
    shared, own = Item("a", "c", ("p", "q"), 1), Item("b", "", ("r", "r"), 0, ("c1", "c2"))
    benchmark = ChoiceBenchmark(name="know", label="know", items=(shared, own))
    assert benchmark.contexts == ("c", "c", "c1", "c2") and benchmark.continuations == (" p", " q", " r", " r")
    assert (
        len({ChoiceBenchmark(name="n", label="n", items=(item,)).digest for item in (own, own._replace(contexts=()))})
        == 2
    )


def write_rows(tmp_path, name: str, *rows: dict) -> Path:
    (tmp_path / "mc").mkdir(exist_ok=True)
    (tmp_path / "mc" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_boolq_asks_no_first_and_sciq_puts_the_support_in_front(tmp_path):
    row = {"id": "0", "context": "P\nQuestion: q?\nAnswer:", "choices": ["yes", "no"], "gold": 0, "raw": {}}
    (item,) = multiple_choice("boolq", write_rows(tmp_path, "boolq", row), None).items
    assert item.choices == ("no", "yes") and item.gold == 1
    row = {"id": "0", "context": "Question: q\nAnswer:", "raw": {"support": " A text."}}
    rows = [row | {"choices": ["g", "x", "y", "z"], "gold": 0}, row | {"choices": ["x", "y", "z", "g"], "gold": 3}]
    for item in multiple_choice("sciq", write_rows(tmp_path, "sciq", *rows), None).items:
        assert item.context == "A text.\nQuestion: q\nAnswer:"
        assert item.choices == ("x", "y", "z", "g") and item.gold == 3
    swapped = write_rows(tmp_path, "sciq", rows[1])
    assert refusal(lambda root: multiple_choice("sciq", root, None), swapped).endswith(
        "mc/sciq.jsonl:1: no row of SciQ: its choices are not rotated by its place in the file"
    )


def test_winogrande_is_scored_partially(tmp_path):
    raw = {"sentence": "Ann saw Eve so _ left early.", "option1": "Ann", "option2": "Eve", "answer": "2"}
    row = {
        "id": "0",
        "context": "Ann saw Eve so",
        "choices": ["Ann left early.", "Eve left early."],
        "gold": 1,
        "raw": raw,
    }
    benchmark = multiple_choice("winogrande", write_rows(tmp_path, "winogrande", row), None)
    assert benchmark.contexts == ("Ann saw Eve so Ann", "Ann saw Eve so Eve")
    assert benchmark.continuations == (" left early.",) * 2 and benchmark.items[0].gold == 1


def test_items_are_taken_evenly_and_bad_rows_are_named(tmp_path):
    rows = [{"id": str(i), "context": "c", "choices": ["a", "b"], "gold": 0, "raw": {}} for i in range(10)]
    root = write_rows(tmp_path, "piqa", *rows)
    assert [item.id for item in multiple_choice("piqa", root, 4).items] == ["0", "2", "5", "7"]
    assert "holds 10 items; 11 were asked for" in refusal(lambda root: multiple_choice("piqa", root, 11), root)
    assert "needs local rows: point data" in refusal(lambda root: multiple_choice("piqa", root, 1), None)
    write_rows(tmp_path, "piqa", rows[0], {"id": "1", "context": "c", "gold": 0})
    assert "piqa.jsonl:2: no row of PIQA: the field 'choices' is missing" in refusal(
        lambda root: multiple_choice("piqa", root, None), root
    )


def test_perplexity_is_the_exponential_of_the_mean_of_window_means():
    benchmark = PerplexityBenchmark(corpus=Corpus(label="c", text="t", source="s"), window=4, num_tokens=None)
    items = benchmark.results(np.array([-6.0, -4.0]), np.array([3, 1]))
    assert items["nll"].tolist() == [2.0, 4.0] and items["window"].tolist() == [0, 1]
    assert benchmark.metrics(items) == {"perplexity": pytest.approx(math.exp(3.0))}  # not exp(10 / 4)
    assert benchmark.digest == benchmark.corpus.digest


# -- a user's jsonl --------------------------------------------------------------------------------------------------

GOOD = {"sentence_good": "She runs.", "sentence_bad": "She run."}
QUESTION = {"context": "The sky is", "choices": ["blue", "square"], "gold": 0}


def test_user_pairs(tmp_path):
    path = write(tmp_path / "mine.jsonl", GOOD, "", GOOD | {"uid": "u", "phenomenon": "p"}, GOOD | {"uid": "v"})
    found = user_pairs(path, True)
    assert found.name == found.label == "mine" and not found.per_token and found.half_ties
    assert [pair[:3] for pair in found.pairs] == [("mine", "mine", "0"), ("u", "p", "1"), ("v", "v", "2")]
    assert not user_pairs(path, False).half_ties


def test_user_choices(tmp_path):
    path = write(tmp_path / "mine.jsonl", QUESTION, QUESTION | {"id": "q7", "gold": 1})
    found = user_choices(path)
    assert found.name == "mine" and [item.id for item in found.items] == ["0", "q7"]
    assert found.items[1] == Item("q7", "The sky is", ("blue", "square"), 1)


NOT_JSON = {
    "not JSON": ("{", "not JSON (Expecting property name"),
    "a number of 5000 digits": ('{"x": 9' + "0" * 5000 + "}", "not JSON (Exceeds the limit"),
    "too deep": ("[" * 100_000, "not JSON (maximum recursion depth"),
    "a list": ("[1]", "every line must be a JSON object, found list"),
}


@pytest.mark.parametrize(("line", "expected"), NOT_JSON.values(), ids=NOT_JSON)
@pytest.mark.parametrize(("function", "row"), [(user_choices, QUESTION), (lambda path: user_pairs(path, True), GOOD)])
def test_bad_lines_are_named_by_file_and_line(tmp_path, function, row, line, expected):
    """The second object stands on line 4: blank lines count."""
    path = write(tmp_path / "mine.jsonl", row, "", "  ", line)
    assert refusal(function, path).startswith(f"{path}:4: {expected}")


BAD_PAIRS = {
    "missing": ({"sentence_good": "x"}, "every line needs a non-empty text 'sentence_bad'; found None"),
    "empty": (GOOD | {"sentence_good": " "}, "every line needs a non-empty text 'sentence_good'; found ' '"),
    "no text": (GOOD | {"sentence_bad": 3}, "every line needs a non-empty text 'sentence_bad'; found 3"),
    "no metric name": (GOOD | {"phenomenon": "a/b"}, "the phenomenon (or uid) 'a/b' names a metric: use letters"),
    "two lines": (GOOD | {"uid": "a\nb"}, "the phenomenon (or uid) 'a\\nb' names a metric"),
    "taken": (GOOD | {"phenomenon": "accuracy"}, "the phenomenon (or uid) 'accuracy' names a metric"),
}


@pytest.mark.parametrize(("row", "expected"), BAD_PAIRS.values(), ids=BAD_PAIRS)
def test_bad_pairs_are_named_by_file_and_line(tmp_path, row, expected):
    path = write(tmp_path / "mine.jsonl", GOOD, "", row)
    assert refusal(user_pairs, path, True).startswith(f"{path}:3: {expected}")


BAD_CHOICES = {
    "no context": ({"choices": ["a", "b"], "gold": 0}, "'context' must be a non-empty text; found None"),
    "empty context": (QUESTION | {"context": " "}, "'context' must be a non-empty text; found ' '"),
    "one choice": (QUESTION | {"choices": ["a"]}, "'choices' must be a list of at least 2 non-empty texts"),
    "empty choice": (QUESTION | {"choices": ["a", ""]}, "'choices' must be a list of at least 2 non-empty texts"),
    "no list": (QUESTION | {"choices": "ab"}, "'choices' must be a list of at least 2 non-empty texts"),
    "gold too large": (QUESTION | {"gold": 2}, "'gold' must be an index from 0 to 1; found 2"),
    "gold negative": (QUESTION | {"gold": -1}, "'gold' must be an index from 0 to 1; found -1"),
    "gold is a truth value": (QUESTION | {"gold": True}, "'gold' must be an index from 0 to 1; found True"),
    "gold is a letter": (QUESTION | {"gold": "A"}, "'gold' must be an index from 0 to 1; found 'A'"),
}


@pytest.mark.parametrize(("row", "expected"), BAD_CHOICES.values(), ids=BAD_CHOICES)
def test_bad_choices_are_named_by_file_and_line(tmp_path, row, expected):
    path = write(tmp_path / "mine.jsonl", QUESTION, "", row)
    assert refusal(user_choices, path) == f"{path}:3: {expected}"


def test_files_with_nothing_in_them_and_files_that_are_not_there(tmp_path):
    empty = write(tmp_path / "empty.jsonl", "", "")
    assert refusal(user_pairs, empty, True) == f"{empty} holds no pairs"
    assert refusal(user_choices, empty) == f"{empty} holds no items"
    for function in (user_choices, lambda path: user_pairs(path, True)):
        assert "cannot be read" in refusal(function, tmp_path / "absent.jsonl")
        assert "cannot be read" in refusal(function, tmp_path)
        (tmp_path / "latin.jsonl").write_bytes(b'{"context": "\xff"}\n')
        assert "cannot be read" in refusal(function, tmp_path / "latin.jsonl")


def test_an_id_used_twice_is_refused(tmp_path):
    path = write(tmp_path / "mine.jsonl", QUESTION | {"id": "x"}, QUESTION | {"id": "x"})
    assert refusal(user_choices, path) == f"{path}: an 'id' is used twice"


def test_jsonl_stops_reading_at_the_limit(tmp_path):
    path = write(tmp_path / "mine.jsonl", {"a": 1}, {"a": 2}, "not JSON")
    assert read_jsonl(path, limit=2) == [(1, {"a": 1}), (2, {"a": 2})]


# -- BLiMP and TSE in their local layouts ----------------------------------------------------------------------------


def blimp_row(uid: str, number: int) -> dict:
    return {"UID": uid, "linguistics_term": f"{uid} term", "pairID": number, **GOOD}


def test_local_blimp_takes_the_first_pairs_of_every_paradigm(tmp_path):
    for uid in ("paradigm_b", "paradigm_a"):
        write(tmp_path / "blimp" / f"{uid}.jsonl", *(blimp_row(uid, 10 + i) for i in range(3)))
    found = blimp(tmp_path, 2, True)
    assert [(pair.uid, pair.pair) for pair in found.pairs] == [
        ("paradigm_a", "10"), ("paradigm_a", "11"), ("paradigm_b", "10"), ("paradigm_b", "11"),
    ]  # fmt: skip
    assert found.pairs[0] == Pair("paradigm_a", "paradigm_a term", "10", "She runs.", "She run.")
    assert (found.name, found.label, found.per_token) == ("blimp", "BLiMP", False)
    assert len(blimp(tmp_path, None, True).pairs) == 6


def test_local_blimp_that_is_not_there_or_not_blimp(tmp_path):
    assert refusal(blimp, tmp_path, None, True) == f"there is no folder {tmp_path / 'blimp'}"
    (tmp_path / "blimp").mkdir()
    assert refusal(blimp, tmp_path, None, True) == f"{tmp_path / 'blimp'} holds no *.jsonl"
    path = write(tmp_path / "blimp" / "x.jsonl", blimp_row("x", 0), "", GOOD)
    assert refusal(blimp, tmp_path, None, True) == f"{path}:3: every line needs a non-empty text 'UID'; found None"
    write(path, "")
    assert "holds no pairs" in refusal(blimp, tmp_path, None, True)


def test_blimp_from_the_hub_and_what_is_said_without_it(monkeypatch):
    rows = [blimp_row("x", i) for i in range(3)]
    stub = SimpleNamespace(
        get_dataset_config_names=lambda path: ["x"], load_dataset=lambda path, name, split: iter(rows)
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "datasets", stub)
    assert [pair.pair for pair in blimp(None, 2, True).pairs] == ["0", "1"]

    def offline(*arguments, **named):
        raise ConnectionError("no route to host\nsecond line")

    stub.load_dataset = offline
    assert "cannot be loaded from the hub: no route to host; give a local copy" in refusal(blimp, None, 2, True)
    stub.get_dataset_config_names = offline
    found = refusal(blimp, None, 2, True)
    assert found.startswith("data set nyu-mll/blimp cannot be loaded from the hub: no route to host; give a local copy")


def tse_row(case: str, i: int) -> dict:
    return {"case": case, "sentence_good": f"good {case} {i}", "sentence_bad": f"bad {case} {i}"}


def test_local_tse_as_jsonl(tmp_path):
    write(tmp_path / "tse" / "simple_agrmt.jsonl", *(tse_row(case, i) for case in ("sing", "plur") for i in range(3)))
    write(tmp_path / "tse" / "simple_npi_anim.jsonl", tse_row("past", 0))
    write(tmp_path / "tse" / "reflexives_across.jsonl", tse_row("sing", 0))
    found = tse(tmp_path, 2, False)
    assert (found.name, found.label, found.per_token, found.half_ties) == ("tse", "TSE", True, False)
    assert [(pair.uid, pair.phenomenon, pair.pair) for pair in found.pairs] == [
        ("reflexives_across:sing", "reflexives", "0"),
        ("simple_agrmt:sing", "agreement", "0"),
        ("simple_agrmt:sing", "agreement", "1"),
        ("simple_agrmt:plur", "agreement", "0"),
        ("simple_agrmt:plur", "agreement", "1"),
        ("simple_npi_anim:past", "npi", "0"),
    ]
    assert found.pairs[1].good == "good sing 0" and len(tse(tmp_path, None, True).pairs) == 8


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_local_tse_as_pickles_of_templates(tmp_path, protocol):
    """Of three-member NPI tuples the first and the last count; white space is put in order."""
    (tmp_path / "tse").mkdir()
    templates = {
        "subj_rel": {"sing_plur": [("the  author laughs", "the author laugh "), ["they  run", "they runs"]]},
        "simple_npi_anim": {"past": [("no authors ever", "most authors ever", "the authors ever")]},
    }
    for name, cases in templates.items():
        (tmp_path / "tse" / f"{name}.pickle").write_bytes(pickle.dumps(cases, protocol=protocol))
    assert [pair[:2] + pair[3:] for pair in tse(tmp_path, None, True).pairs] == [
        ("simple_npi_anim:past", "npi", "no authors ever", "the authors ever"),
        ("subj_rel:sing_plur", "agreement", "the author laughs", "the author laugh"),
        ("subj_rel:sing_plur", "agreement", "they run", "they runs"),
    ]


class Malicious:
    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize("call", [eval, exec, Path, getattr])
def test_a_malicious_pickle_is_refused_and_runs_nothing(tmp_path, protocol, call):
    (tmp_path / "tse").mkdir()
    witness = tmp_path / "witness"
    arguments = {getattr: ("x", "upper"), Path: (str(witness),)}.get(call, (f"open({str(witness)!r}, 'w')",))
    path = tmp_path / "tse" / "simple_agrmt.pickle"
    path.write_bytes(pickle.dumps({"sing": [(Malicious(call, *arguments), "bad")]}, protocol=protocol))
    found = refusal(tse, tmp_path, None, True)
    assert found.startswith(f"{path}: the pickle asks for ") and call.__name__ in found
    assert not witness.exists()


BROKEN_PICKLES = {
    "cut off": (pickle.dumps({"a": [("x", "y")]})[:-4], "cannot be read as a pickle"),
    "empty": (b"", "cannot be read as a pickle: EOFError"),
    "text": (b"hello\n", "cannot be read as a pickle"),
    "outside object": (b"Pname\n.", "cannot be read as a pickle"),
    "a list": (pickle.dumps([("x", "y")]), "must hold {case: [(good, bad), ...]}"),
    "texts for tuples": (pickle.dumps({"a": ["xy"]}), "case 'a' must hold tuples of 2 or 3 sentences"),
    "one sentence": (pickle.dumps({"a": [("x",)]}), "case 'a' must hold tuples of 2 or 3 sentences"),
    "nothing": (pickle.dumps({}), "holds no pairs"),
}


@pytest.mark.parametrize(("content", "expected"), BROKEN_PICKLES.values(), ids=BROKEN_PICKLES)
def test_broken_pickles_are_one_line(tmp_path, content, expected):
    (tmp_path / "tse").mkdir()
    (tmp_path / "tse" / "simple_agrmt.pickle").write_bytes(content)
    assert expected in refusal(tse, tmp_path, None, True)


def test_local_tse_that_is_not_there_or_not_tse(tmp_path):
    assert "clone BeckyMarvin/LM_syneval" in refusal(tse, None, None, True)
    (tmp_path / "tse").mkdir()
    assert refusal(tse, tmp_path, None, True) == f"{tmp_path / 'tse'} holds no *.jsonl or *.pickle"
    path = write(tmp_path / "tse" / "x.jsonl", tse_row("sing", 0), GOOD)
    assert refusal(tse, tmp_path, None, True) == f"{path}:2: every line needs a non-empty text 'case'; found None"


# -- the embedded material -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [4, 7, 40, 64, 200, 10_000])
def test_a_thinned_embedded_construction_keeps_its_balance(wanted):
    """As many pairs as asked for, in fours; each critical word as often right as wrong, in agreement and reflexives."""
    by_uid = defaultdict(list)
    for pair in embedded_pairs(wanted, True).pairs:
        by_uid[pair.uid].append(pair)
    whole = Counter(pair.uid for pair in embedded_pairs(None, True).pairs)
    assert {uid: len(pairs) for uid, pairs in by_uid.items()} == {
        uid: min(count, wanted - wanted % 4) for uid, count in whole.items()
    }
    for uid, pairs in by_uid.items():
        assert [pair.pair for pair in pairs] == list(map(str, range(len(pairs)))), "unique within the uid"
        assert len({(pair.good, pair.bad) for pair in pairs}) == len(pairs)
        if uid.startswith("npi"):
            continue
        good, bad = Counter(), Counter()
        for pair in pairs:
            good.update(pair.good.removesuffix(".").split())
            bad.update(pair.bad.removesuffix(".").split())
        assert good == bad, f"{uid}: words alone tell good from bad"
        critical = [next(g for g, b in zip(p.good.split(), p.bad.split(), strict=True) if g != b) for p in pairs]
        plural = sum(
            word.removesuffix(".") in ("are", "have", "themselves") or not _third_person(word) for word in critical
        )
        assert 2 * plural == len(pairs), f"{uid}: one number is right more often"


def _third_person(word: str) -> bool:
    word = word.removesuffix(".")
    return word in ("is", "has", "himself", "herself") or word.endswith("s")


@pytest.mark.parametrize("wanted", [4, 40, 200])
@pytest.mark.parametrize("phenomenon", ["agreement", "reflexives"])
def test_a_unigram_model_scores_half_on_thinned_constructions(wanted, phenomenon):
    benchmark = embedded_pairs(wanted, True)
    generator = random.Random(wanted)
    weights = defaultdict(lambda: generator.getrandbits(40))
    sums = np.array([sum(weights[word] for word in text.rstrip(".").split()) for text in benchmark.texts])
    items = benchmark.results(sums, np.ones(len(sums)))
    for uid, group in items[items["phenomenon"] == phenomenon].groupby("uid"):
        assert group["correct"].mean() == 0.5, uid


def test_the_embedded_set_says_so_and_is_whole_by_default():
    benchmark = embedded_pairs(None, True)
    assert "embedded" in benchmark.label and benchmark.name == "embedded_pairs" and len(benchmark.pairs) >= 4000
    assert embedded_pairs(None, True).digest == benchmark.digest != embedded_pairs(40, True).digest
    assert {pair.phenomenon for pair in benchmark.pairs} == {"agreement", "reflexives", "npi"}


def test_embedded_knowledge_is_large_and_balanced():
    benchmark = embedded_knowledge()
    assert "embedded" in benchmark.label and len(benchmark.items) >= 250
    for size in {len(item.choices) for item in benchmark.items}:
        golds = Counter(item.gold for item in benchmark.items if len(item.choices) == size)
        assert set(golds) == set(range(size)) and max(golds.values()) - min(golds.values()) <= 1
    assert len({(item.context, item.choices[item.gold]) for item in benchmark.items}) == len(benchmark.items)
    assert all(len(set(item.choices)) == len(item.choices) for item in benchmark.items)


def test_length_does_not_give_embedded_knowledge_away():
    """Always taking the longest or the shortest choice must not beat chance (25 %) by much."""
    items = embedded_knowledge().items
    for pick in (max, min):
        hits = sum(item.choices.index(pick(item.choices, key=len)) == item.gold for item in items)
        assert hits / len(items) < 0.35


def test_the_embedded_corpus_is_large_says_so_and_its_parts_do_not_overlap():
    parts = {split: load_corpus("embedded", split=split, joiner=" ") for split in ("train", "validation")}
    assert sum(len(part.text.split()) for part in parts.values()) >= 15_000
    assert all(part.label == f"embedded {split}" for split, part in parts.items())
    lines = [{line for line in part.text.splitlines() if len(line) > 40} for part in parts.values()]
    assert not lines[0] & lines[1]
    assert load_corpus("embedded", split="test", joiner=" ").label == "embedded validation"


# -- corpora ---------------------------------------------------------------------------------------------------------


def test_rows_are_as_on_the_hub():
    assert hub_rows(" = Title = \n \n\n text \nlast") == [" = Title = \n", "", "", " text \n", "last"]
    assert hub_rows("one\u2028still one\x0band\x85still\ntwo\n") == ["one\u2028still one\x0band\x85still\n", "two\n"]
    assert hub_rows("") == []


def test_wikitext_from_a_local_folder(tmp_path):
    folder = tmp_path / "wikitext2"
    assert refusal(load_wikitext, tmp_path, "train") == f"{folder} holds none of train.txt, train_raw_head.txt"
    folder.mkdir()
    (folder / "train_raw_head.txt").write_text("head\n \nmore\n", encoding="utf-8")
    head = load_wikitext(tmp_path, "train")
    assert (head.label, head.source) == ("wikitext2 train", "local wikitext2/train_raw_head.txt")
    assert head.text == "head\n  more\n"
    (folder / "train.txt").write_text("whole\n", encoding="utf-8")
    assert load_wikitext(tmp_path, "train").text == "whole\n"
    for split in ("validation", "test"):
        assert refusal(load_wikitext, tmp_path, split) == f"{folder} holds none of {split}.txt"
        (folder / f"{split}.txt").write_text(f"a {split}\nof it\n", encoding="utf-8")
        assert load_wikitext(tmp_path, split, "\n\n").text == f"a {split}\n\n\nof it\n"


def load_wikitext(root: Path, split: str, joiner: str = " ") -> Corpus:
    return load_corpus("wikitext2", split=split, joiner=joiner, root=root)


def test_wikitext_from_the_hub(monkeypatch):
    def load_dataset(path, name, split):
        assert (path, name, split) == ("Salesforce/wikitext", "wikitext-2-raw-v1", "validation")
        return [{"text": ""}, {"text": " row \n"}]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    found = load_corpus("wikitext2", split="validation", joiner="\n\n")
    assert found.text == "\n\n row \n" and found.source == "Salesforce/wikitext/wikitext-2-raw-v1"


def test_a_local_wikitext_is_the_hubs_text(monkeypatch, tmp_path):
    """Provenance differs, the digest does not: the same rows, joined the same way."""
    rows = ["", " = Title = \n", "", " text — with ü \n"]
    stub = SimpleNamespace(load_dataset=lambda path, name, split: [{"text": row} for row in rows])
    monkeypatch.setitem(sys.modules, "datasets", stub)
    (tmp_path / "wikitext2").mkdir()
    (tmp_path / "wikitext2" / "test.txt").write_text("".join(row or " \n" for row in rows), encoding="utf-8")
    for joiner in (" ", "\n\n"):
        hub = load_corpus("wikitext2", split="test", joiner=joiner)
        assert hub.digest == load_wikitext(tmp_path, "test", joiner).digest


def test_a_users_text(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("one\ntwo\n", encoding="utf-8")
    found = load_corpus(str(path), split="train", joiner="|")
    assert (found.label, found.source, found.text) == ("mine", "mine.txt", "one\n|two\n")
    assert found.digest != load_corpus(str(path), split="train", joiner=" ").digest
    assert "corpora by name: wikitext2, embedded" in refusal(load_user, tmp_path / "absent.txt")
    path.write_bytes(b"\xff\xfe")
    assert f"{path} cannot be read" in refusal(load_user, path)


def load_user(path: Path) -> Corpus:
    return load_corpus(str(path), split="train", joiner=" ")


def test_texts_are_read_as_utf8_whatever_the_locale(monkeypatch, tmp_path):
    """`read_text` without an encoding follows the locale; every call must name one."""
    original = Path.read_text

    def checked(self, encoding=None, errors=None):
        assert encoding == "utf-8", self
        return original(self, encoding=encoding, errors=errors)

    monkeypatch.setattr(Path, "read_text", checked)
    load_corpus("embedded", split="train", joiner=" ")
    (tmp_path / "wikitext2").mkdir()
    (tmp_path / "wikitext2" / "test.txt").write_text("ü\n", encoding="utf-8")
    assert load_wikitext(tmp_path, "test").text == "ü\n"
    assert choices.embedded_knowledge() and minimal_pairs.HUB_BLIMP
