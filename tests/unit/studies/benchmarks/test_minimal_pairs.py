"""Minimal pairs: what counts as correct, and what is read from (or refused in) local copies of BLiMP and TSE."""

import pickle
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from studies.benchmarks import minimal_pairs
from studies.benchmarks.measures import TEMPLATES
from studies.benchmarks.minimal_pairs import Pair, PairBenchmark, blimp, embedded_pairs, tse, user_pairs
from tests.unit.studies.benchmarks.files import GOOD, study_error, write_jsonl

PAIRS = (
    Pair("short:a", "agreement", "0", "good one", "bad one"),
    Pair("short:a", "agreement", "1", "good two", "bad two"),
    Pair("long:b", "npi", "0", "good three", "bad three"),
)
SUMS, COUNTS = np.array([-6.0, -5.0, -4.0, -4.0, -9.0, -8.0]), np.array([3, 2, 2, 2, 3, 2])


def pair_benchmark(**fields: Any) -> PairBenchmark:
    return PairBenchmark(**{"name": "pairs", "label": "pairs", "pairs": PAIRS, **fields})


def test_pairs_are_compared_by_sums_or_by_means_per_token() -> None:
    sums = pair_benchmark().results(SUMS, COUNTS)
    assert sums["logprob_good"].tolist() == [-6, -4, -9] and sums["logprob_bad"].tolist() == [-5, -4, -8]
    assert sums["correct"].tolist() == [0.0, 0.5, 0.0]
    means = pair_benchmark(per_token=True).results(SUMS, COUNTS)
    assert means["logprob_good"].tolist() == [-2, -2, -3] and means["logprob_bad"].tolist() == [-2.5, -2, -4]
    assert means["correct"].tolist() == [1.0, 0.5, 1.0]
    assert sums[["uid", "phenomenon", "pair"]].to_numpy().tolist() == [list(pair[:3]) for pair in PAIRS]


def test_ties_are_half_or_wrong() -> None:
    assert pair_benchmark(half_ties=False).results(SUMS, COUNTS)["correct"].tolist() == [0.0, 0.0, 0.0]
    assert pair_benchmark(half_ties=True).results(SUMS, COUNTS)["correct"].tolist() == [0.0, 0.5, 0.0]


def test_pair_metrics_pool_over_pairs() -> None:
    items = pair_benchmark().results(np.array([2.0, 1.0, 2.0, 1.0, 0.0, 1.0]), COUNTS)
    assert pair_benchmark().metrics(items) == {"pairs/accuracy": 2 / 3, "pairs/agreement": 1.0, "pairs/npi": 0.0}
    assert pair_benchmark(name="tse").metrics(items) == {
        "tse/accuracy": 2 / 3, "tse/agreement": 1.0, "tse/npi": 0.0, "tse/short": 1.0, "tse/long": 0.0,
    }  # fmt: skip


def test_texts_alternate_good_and_bad() -> None:
    assert pair_benchmark().texts == ("good one", "bad one", "good two", "bad two", "good three", "bad three")


def test_the_digest_covers_the_sentences_and_how_they_are_compared() -> None:
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


# ---- a user's jsonl


def test_user_pairs(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "mine.jsonl", GOOD, "", GOOD | {"uid": "u", "phenomenon": "p"}, GOOD | {"uid": "v"})
    benchmark = user_pairs(path, True)
    assert benchmark.name == benchmark.label == "mine" and not benchmark.per_token and benchmark.half_ties
    assert [pair[:3] for pair in benchmark.pairs] == [("mine", "mine", "0"), ("u", "p", "1"), ("v", "v", "2")]
    assert not user_pairs(path, False).half_ties


BAD_PAIRS = {
    "missing": ({"sentence_good": "x"}, "every line needs a non-empty text 'sentence_bad'; it has none"),
    "empty": (GOOD | {"sentence_good": " "}, "every line needs a non-empty text 'sentence_good'; found \" \""),
    "no text": (GOOD | {"sentence_bad": 3}, "every line needs a non-empty text 'sentence_bad'; found 3"),
    "no metric name": (GOOD | {"phenomenon": "a/b"}, "the phenomenon (or uid) 'a/b' names a metric: use letters"),
    "two lines": (GOOD | {"uid": "a\nb"}, "the phenomenon (or uid) 'a\\nb' names a metric"),
    "taken": (GOOD | {"phenomenon": "accuracy"}, "the phenomenon (or uid) 'accuracy' names a metric"),
    "nothing as uid": (
        GOOD | {"uid": None},
        "'uid' must be a non-empty text or a whole number; found null; leave it out",
    ),
    "truth as phenomenon": (GOOD | {"phenomenon": True}, "'phenomenon' must be a non-empty text or a whole number"),
    "all items": (GOOD | {"phenomenon": "all"}, "the phenomenon (or uid) 'all' names a metric"),
}


@pytest.mark.parametrize(("row", "expected"), BAD_PAIRS.values(), ids=BAD_PAIRS)
def test_bad_pairs_are_named_by_file_and_line(tmp_path: Path, row: dict[str, Any], expected: str) -> None:
    path = write_jsonl(tmp_path / "mine.jsonl", GOOD, "", row)
    assert study_error(user_pairs, path, True).startswith(f"{path}:3: {expected}")


@pytest.mark.parametrize("term", ["agreement (subject-verb)", "a/b", "x" * 101, "../up", "all", "one\ntwo"])
def test_a_term_that_cannot_name_a_metric_is_named_by_file_and_line(tmp_path: Path, term: str) -> None:
    """MLflow refuses it only once everything is computed."""
    rows = blimp_row("x", 0), blimp_row("x", 1) | {"linguistics_term": term}
    path = write_jsonl(tmp_path / "blimp" / "x.jsonl", *rows)
    assert study_error(blimp, tmp_path, None, True).startswith(
        f"{path}:2: the linguistics_term {term!r} names a metric"
    )


@pytest.mark.parametrize("template", ["npi (odd)", "accuracy", "a#b"])
def test_a_template_that_cannot_name_a_metric_is_named_by_its_file(tmp_path: Path, template: str) -> None:
    row = {"case": "sing", "sentence_good": "he runs", "sentence_bad": "he run"}
    path = write_jsonl(tmp_path / "tse" / f"{template}.jsonl", row)
    assert study_error(tse, tmp_path, None, True).startswith(f"{path}: the name of the template {template!r}")


def test_a_byte_order_mark_means_nothing(tmp_path: Path) -> None:
    plain, marked = tmp_path / "a" / "mine.jsonl", tmp_path / "b" / "mine.jsonl"
    write_jsonl(plain, GOOD, GOOD)
    marked.parent.mkdir()
    marked.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    assert user_pairs(marked, True).digest == user_pairs(plain, True).digest


def test_a_file_without_pairs_is_refused(tmp_path: Path) -> None:
    empty = write_jsonl(tmp_path / "empty.jsonl", "", "")
    assert study_error(user_pairs, empty, True) == f"{empty} holds no pairs"


# ---- BLiMP


def blimp_row(uid: str, number: int) -> dict[str, Any]:
    return {"UID": uid, "linguistics_term": f"{uid} term", "pairID": number, **GOOD}


def test_local_blimp_takes_the_first_pairs_of_every_paradigm(tmp_path: Path) -> None:
    for uid in ("paradigm_b", "paradigm_a"):
        write_jsonl(tmp_path / "blimp" / f"{uid}.jsonl", *(blimp_row(uid, 10 + i) for i in range(3)))
    benchmark = blimp(tmp_path, 2, True)
    assert [(pair.uid, pair.pair) for pair in benchmark.pairs] == [
        ("paradigm_a", "10"), ("paradigm_a", "11"), ("paradigm_b", "10"), ("paradigm_b", "11"),
    ]  # fmt: skip
    place = f"{tmp_path / 'blimp' / 'paradigm_a.jsonl'}:1"
    assert benchmark.pairs[0] == Pair("paradigm_a", "paradigm_a term", "10", "She runs.", "She run.", place)
    assert (benchmark.name, benchmark.label, benchmark.per_token) == ("blimp", "BLiMP", False)
    assert len(blimp(tmp_path, None, True).pairs) == 6


def test_local_blimp_that_is_missing_or_not_blimp(tmp_path: Path) -> None:
    assert study_error(blimp, tmp_path, None, True) == (
        f"there is no folder {tmp_path / 'blimp'}, which should hold *.jsonl"
    )
    (tmp_path / "blimp").mkdir()
    assert study_error(blimp, tmp_path, None, True) == f"{tmp_path / 'blimp'} holds no *.jsonl"
    path = write_jsonl(tmp_path / "blimp" / "x.jsonl", blimp_row("x", 0), "", GOOD)
    message = study_error(blimp, tmp_path, None, True)
    keys = '"sentence_good", "sentence_bad"'
    assert message == f"{path}:3: every line needs a non-empty text 'UID'; it has none; its keys are {keys}"
    write_jsonl(path, blimp_row("x", 1), {k: v for k, v in blimp_row("x", 2).items() if k != "pairID"})
    assert study_error(blimp, tmp_path, None, True).startswith(f'{path}:2: the id "1" is that of {path}:1, as rows')
    write_jsonl(path, "")
    assert "holds no pairs" in study_error(blimp, tmp_path, None, True)


def test_blimp_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [blimp_row("x", i) for i in range(3)]
    stub = SimpleNamespace(
        get_dataset_config_names=lambda path: ["x"], load_dataset=lambda path, name, split: iter(rows)
    )
    monkeypatch.setitem(sys.modules, "datasets", stub)
    assert [pair.pair for pair in blimp(None, 2, True).pairs] == ["0", "1"]


# ---- TSE


def tse_row(case: str, i: int) -> dict[str, str]:
    return {"case": case, "sentence_good": f"good {case} {i}", "sentence_bad": f"bad {case} {i}"}


def test_local_tse_as_jsonl(tmp_path: Path) -> None:
    rows = [tse_row(case, i) for case in ("sing", "plur") for i in range(3)]
    write_jsonl(tmp_path / "tse" / "simple_agrmt.jsonl", *rows)
    write_jsonl(tmp_path / "tse" / "simple_npi_anim.jsonl", tse_row("past", 0))
    write_jsonl(tmp_path / "tse" / "reflexives_across.jsonl", tse_row("sing", 0))
    benchmark = tse(tmp_path, 2, False)
    assert (benchmark.name, benchmark.label) == ("tse", "TSE")
    assert (benchmark.per_token, benchmark.half_ties) == (True, False)
    assert [(pair.uid, pair.phenomenon, pair.pair) for pair in benchmark.pairs] == [
        ("reflexives_across:sing", "reflexives", "0"),
        ("simple_agrmt:sing", "agreement", "0"),
        ("simple_agrmt:sing", "agreement", "1"),
        ("simple_agrmt:plur", "agreement", "0"),
        ("simple_agrmt:plur", "agreement", "1"),
        ("simple_npi_anim:past", "npi", "0"),
    ]
    assert benchmark.pairs[1].good == "good sing 0" and len(tse(tmp_path, None, True).pairs) == 8


def test_tse_keeps_the_templates_that_are_named(tmp_path: Path) -> None:
    for template in ("simple_agrmt", "vp_coord", "reflexives_across"):
        write_jsonl(tmp_path / "tse" / f"{template}.jsonl", tse_row("sing", 0))
    kept = tse(tmp_path, None, True, ["vp_coord", "simple_agrmt"])
    assert [pair.uid for pair in kept.pairs] == ["simple_agrmt:sing", "vp_coord:sing"]
    assert (kept.measure.most_units, kept.measure.can_grow) == (3, True), "a study could take the third one too"
    assert tse(tmp_path, None, True).measure == TEMPLATES and not TEMPLATES.can_grow
    message = study_error(tse, tmp_path, None, True, ["vp_cord"])
    assert message == "tse has no template 'vp_cord'; did you mean 'vp_coord'?"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_local_tse_as_pickles_of_templates(tmp_path: Path, protocol: int) -> None:
    """Of three-member NPI tuples the first and the last count; white space is put in order."""
    (tmp_path / "tse").mkdir()
    templates: dict[str, dict[str, list[Any]]] = {
        "subj_rel": {"sing_plur": [("the  author laughs", "the author laugh "), ["they  run", "they runs"]]},
        "simple_npi_anim": {"past": [("no authors ever", "most authors ever", "the authors ever")]},
    }
    for name, cases in templates.items():
        (tmp_path / "tse" / f"{name}.pickle").write_bytes(pickle.dumps(cases, protocol=protocol))
    assert [pair[:2] + pair[3:5] for pair in tse(tmp_path, None, True).pairs] == [
        ("simple_npi_anim:past", "npi", "no authors ever", "the authors ever"),
        ("subj_rel:sing_plur", "agreement", "the author laughs", "the author laugh"),
        ("subj_rel:sing_plur", "agreement", "they run", "they runs"),
    ]


class Malicious:
    """An object whose pickle calls a function when it is loaded."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.reduced


@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize("call", [eval, exec, Path, getattr])
def test_a_malicious_pickle_is_refused_and_runs_nothing(
    tmp_path: Path, protocol: int, call: Callable[..., object]
) -> None:
    (tmp_path / "tse").mkdir()
    witness = tmp_path / "witness"
    special: dict[object, tuple[str, ...]] = {getattr: ("x", "upper"), Path: (str(witness),)}
    arguments = special.get(call, (f"open({str(witness)!r}, 'w')",))
    path = tmp_path / "tse" / "simple_agrmt.pickle"
    path.write_bytes(pickle.dumps({"sing": [(Malicious(call, *arguments), "bad")]}, protocol=protocol))
    message = study_error(tse, tmp_path, None, True)
    assert message.startswith(f"{path}: the pickle asks for ") and call.__name__ in message
    assert not witness.exists()


def doubled(times: int) -> Any:
    """A list that holds another one twice, and so on: 2 ** times texts of one pickled one."""
    value: Any = "x"
    for _ in range(times):
        value = [value, value]
    return value


BROKEN_PICKLES = {
    "a list many times": (pickle.dumps({"a": [doubled(60)]}), "number 0 is [[[[[[[[[["),
    "cut off": (pickle.dumps({"a": [("x", "y")]})[:-4], "cannot be read as a pickle"),
    "empty": (b"", "cannot be read as a pickle: ValueError"),
    "text": (b"hello\n", "cannot be read as a pickle"),
    "outside object": (b"Pname\n.", "cannot be read as a pickle"),
    "a list": (pickle.dumps([("x", "y")]), "must hold {case: [(good, bad), ...]}"),
    "texts for tuples": (
        pickle.dumps({"a": ["xy"]}),
        'case "a" must hold tuples of 2 or 3 sentences; number 0 is "xy"',
    ),
    "one sentence": (pickle.dumps({"a": [("x",)]}), 'tuples of 2 or 3 sentences; number 0 is ["x"]'),
    "no sentence": (pickle.dumps({"a": [("x", "y"), ("x", None)]}), 'number 1 is ["x", null]'),
    "an empty sentence": (pickle.dumps({"a": [("x", " ")]}), 'number 0 is ["x", " "]'),
    "half a character": (pickle.dumps({"a": [("x", "\ud83d")]}), 'number 0 is ["x", "\\ud83d"]'),
    "no name of a case": (pickle.dumps({None: [("x", "y")]}), "every case must be a non-empty text; found null"),
    "room for a billion objects": (b"]r" + bytes(3) + b"\x40.", "room for 1073741824 objects, more than it has bytes"),
    "nothing": (pickle.dumps({}), "holds no pairs"),
}


@pytest.mark.parametrize(("content", "expected"), BROKEN_PICKLES.values(), ids=BROKEN_PICKLES)
def test_broken_pickles_are_one_line(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "tse").mkdir()
    (tmp_path / "tse" / "simple_agrmt.pickle").write_bytes(content)
    assert expected in study_error(tse, tmp_path, None, True)


def test_a_pickle_that_says_the_same_many_times_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minimal_pairs, "MAX_DATA", 10_000)
    (tmp_path / "tse").mkdir()
    path = tmp_path / "tse" / "simple_agrmt.pickle"
    path.write_bytes(pickle.dumps({"a": [("x" * 1000, "y" * 1000)] * 6}))
    assert study_error(tse, tmp_path, None, True) == (
        f"{path} holds more than 10,000 characters, the most that is read of it"
    )


def test_local_tse_that_is_missing_or_not_tse(tmp_path: Path) -> None:
    assert "clone BeckyMarvin/LM_syneval" in study_error(tse, None, None, True)
    (tmp_path / "tse").mkdir()
    assert study_error(tse, tmp_path, None, True) == f"{tmp_path / 'tse'} holds no *.jsonl or *.pickle"
    path = write_jsonl(tmp_path / "tse" / "x.jsonl", tse_row("sing", 0), GOOD)
    message = study_error(tse, tmp_path, None, True)
    keys = '"sentence_good", "sentence_bad"'
    assert message == f"{path}:2: every line needs a non-empty text 'case'; it has none; its keys are {keys}"


# ---- the embedded pairs


@pytest.mark.parametrize("wanted", [4, 7, 40, 64, 200, 10_000])
def test_a_thinned_embedded_construction_keeps_its_balance(wanted: int) -> None:
    """As many pairs as asked for, in fours; each word is as often good as bad, except in `npi_simple`."""
    by_uid: dict[str, list[Pair]] = defaultdict(list)
    for pair in embedded_pairs(wanted, True).pairs:
        by_uid[pair.uid].append(pair)
    whole = Counter(pair.uid for pair in embedded_pairs(None, True).pairs)
    assert {uid: len(pairs) for uid, pairs in by_uid.items()} == {
        uid: min(count, wanted - wanted % 4) for uid, count in whole.items()
    }
    for uid, pairs in by_uid.items():
        assert [pair.pair for pair in pairs] == list(map(str, range(len(pairs)))), "unique within the uid"
        assert len({(pair.good, pair.bad) for pair in pairs}) == len(pairs)
        good: Counter[str] = Counter()
        bad: Counter[str] = Counter()
        for pair in pairs:
            good.update(pair.good.lower().rstrip(".?").split())
            bad.update(pair.bad.lower().rstrip(".?").split())
        assert (good == bad) == (uid != "npi_simple"), f"{uid}: words alone tell good from bad"
        if not uid.startswith("agreement"):
            continue
        critical = [next(g for g, b in zip(p.good.split(), p.bad.split(), strict=True) if g != b) for p in pairs]
        plural = sum(word.removesuffix(".") in ("are", "have") or not is_third_person(word) for word in critical)
        assert 2 * plural == len(pairs), f"{uid}: one number is right more often"


def is_third_person(word: str) -> bool:
    word = word.removesuffix(".")
    return word in ("is", "has") or word.endswith("s")


@pytest.mark.parametrize("wanted", [4, 12, 40, 200])
def test_a_unigram_model_scores_half_on_thinned_constructions(wanted: int) -> None:
    benchmark = embedded_pairs(wanted, True)
    generator = random.Random(wanted)
    weights: dict[str, int] = defaultdict(lambda: generator.getrandbits(40))
    sums = np.array([sum(weights[word] for word in text.lower().rstrip(".?").split()) for text in benchmark.texts])
    items = benchmark.results(sums, np.ones(len(sums)))
    accuracies = {uid: pairs["correct"].mean() for uid, pairs in items.groupby("uid") if uid != "npi_simple"}
    assert len(accuracies) == 63 and set(accuracies.values()) == {0.5}


def test_the_embedded_set_says_so_and_is_whole_by_default() -> None:
    benchmark = embedded_pairs(None, True)
    assert "embedded" in benchmark.label and benchmark.name == "embedded_pairs" and len(benchmark.pairs) >= 19_000
    assert benchmark.digest == "826f89c26ada89ef4be5903c5c0c6787a69d45f8aa95f220292bb59c36dabbcd"
    thinned = embedded_pairs(40, False)
    assert thinned.digest == "f38c50d485c6736cda2f5909470629a05008705b101e0f24aec630b9fd930665"
    assert embedded_pairs(None, True).digest == benchmark.digest != embedded_pairs(40, True).digest
    by_phenomenon = Counter(phenomenon for phenomenon, _ in {(pair.phenomenon, pair.uid) for pair in benchmark.pairs})
    assert len(by_phenomenon) == 8 and min(by_phenomenon.values()) == 7, "units enough in every stratum of a claim"
