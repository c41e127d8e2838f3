"""Corpora: rows as on the hub, from the hub, a local folder, a user's file, or the package."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from studies.benchmarks.choices import embedded_knowledge
from studies.benchmarks.corpora import Corpus, corpus_name, hub_rows, load_corpus, load_documents
from tests.unit.studies.benchmarks.files import study_error


def load_wikitext(root: Path, split: str, joiner: str = " ") -> Corpus:
    return load_corpus("wikitext2", split=split, joiner=joiner, root=root)


def load_user_text(path: Path) -> Corpus:
    return load_corpus(str(path), split="train", joiner=" ")


def test_rows_are_as_on_the_hub() -> None:
    assert hub_rows(" = Title = \n \n\n text \nlast") == [" = Title = \n", "", "", " text \n", "last"]
    assert hub_rows("one\u2028still one\x0band\x85still\ntwo\n") == ["one\u2028still one\x0band\x85still\n", "two\n"]
    assert hub_rows("") == []


def test_wikitext_from_a_local_folder(tmp_path: Path) -> None:
    folder = tmp_path / "wikitext2"
    assert study_error(load_wikitext, tmp_path, "train") == f"{folder} holds none of train.txt, train_raw_head.txt"
    folder.mkdir()
    (folder / "train_raw_head.txt").write_text("head\n \nmore\n", encoding="utf-8")
    head = load_wikitext(tmp_path, "train")
    assert (head.label, head.source) == ("wikitext2 train", "local wikitext2/train_raw_head.txt")
    assert head.text == "head\n  more\n"
    (folder / "train.txt").write_text("whole\n", encoding="utf-8")
    assert load_wikitext(tmp_path, "train").text == "whole\n"
    for split in ("validation", "test"):
        assert study_error(load_wikitext, tmp_path, split) == f"{folder} holds none of {split}.txt"
        (folder / f"{split}.txt").write_text(f"a {split}\nof it\n", encoding="utf-8")
        assert load_wikitext(tmp_path, split, "\n\n").text == f"a {split}\n\n\nof it\n"


def test_wikitext_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(path: str, name: str, split: str) -> list[dict[str, str]]:
        assert (path, name, split) == ("Salesforce/wikitext", "wikitext-2-raw-v1", "validation")
        return [{"text": ""}, {"text": " row \n"}]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    corpus = load_corpus("wikitext2", split="validation", joiner="\n\n")
    assert corpus.text == "\n\n row \n" and corpus.source == "Salesforce/wikitext/wikitext-2-raw-v1"


def test_a_local_wikitext_is_the_hubs_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Provenance differs, the digest does not: the same rows, joined the same way."""
    rows = ["", " = Title = \n", "", " text — with ü \n"]
    stub = SimpleNamespace(load_dataset=lambda path, name, split: [{"text": row} for row in rows])
    monkeypatch.setitem(sys.modules, "datasets", stub)
    (tmp_path / "wikitext2").mkdir()
    (tmp_path / "wikitext2" / "test.txt").write_text("".join(row or " \n" for row in rows), encoding="utf-8")
    for joiner in (" ", "\n\n"):
        hub = load_corpus("wikitext2", split="test", joiner=joiner)
        assert hub.digest == load_wikitext(tmp_path, "test", joiner).digest


def test_a_users_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("one\ntwo\n", encoding="utf-8")
    corpus = load_corpus(str(path), split="train", joiner="|")
    assert (corpus.label, corpus.source, corpus.text) == ("mine", "mine.txt", "one\n|two\n")
    assert corpus.digest != load_corpus(str(path), split="train", joiner=" ").digest
    assert "corpora by name: wikitext2, embedded" in study_error(load_user_text, tmp_path / "absent.txt")
    for empty in ("", "\n \n\t\n"):
        path.write_text(empty, encoding="utf-8")
        assert study_error(load_user_text, path) == "mine.txt holds no text"
    path.write_bytes(b"\xff\xfe")
    assert study_error(load_user_text, path) == f"{path} cannot be read: it is not UTF-8 text"


def test_documents_are_articles_or_paragraphs(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(" = One = \n\n text\n = = Part = = \n more\n = Two = \n end\n", encoding="utf-8")
    label, documents = load_documents(str(path), split="train")
    assert label == "mine" and documents == ("= One = \n text\n = = Part = = \n more", "= Two = \n end")
    path.write_text("one\ntwo\n\n \nthree\n", encoding="utf-8")
    assert load_documents(str(path), split="train") == ("mine", ("one\ntwo", "three"))
    path.write_text("\n \n", encoding="utf-8")
    assert study_error(lambda: load_documents(str(path), split="train")) == "mine.txt holds no text"


def test_the_embedded_corpus_is_large_says_so_and_its_parts_do_not_overlap() -> None:
    parts = {split: load_corpus("embedded", split=split, joiner=" ") for split in ("train", "validation")}
    assert sum(len(part.text.split()) for part in parts.values()) >= 15_000
    assert all(part.label == f"embedded {split}" for split, part in parts.items())
    assert parts["train"].digest == "c1471c80317bc18a055de6f8225f2cdc5b6c9e28acb7404363f7b5b99861473a"
    lines = [{line for line in part.text.splitlines() if len(line) > 40} for part in parts.values()]
    assert not lines[0] & lines[1]
    test = load_corpus("embedded", split="test", joiner="\n\n")
    assert test.label == "embedded validation"
    assert test.digest == "bc3c3654612e20e7c6b0087b7a62754e0fed340469fcb824edbe15e53cf2b4e6"


def test_texts_are_read_as_utf8_whatever_the_locale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`read_text` without an encoding follows the locale; every call must name one."""
    original = Path.read_text

    def checked(self: Path, encoding: str | None = None, errors: str | None = None) -> str:
        assert encoding in ("utf-8", "utf-8-sig"), self
        return original(self, encoding=encoding, errors=errors)

    monkeypatch.setattr(Path, "read_text", checked)
    load_corpus("embedded", split="train", joiner=" ")
    (tmp_path / "wikitext2").mkdir()
    (tmp_path / "wikitext2" / "test.txt").write_text("ü\n", encoding="utf-8")
    assert load_wikitext(tmp_path, "test").text == "ü\n"
    assert embedded_knowledge().items


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    plain, marked = tmp_path / "plain.txt", tmp_path / "marked.txt"
    plain.write_text("One.\n\nTwo.\n", encoding="utf-8")
    marked.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    texts = [load_corpus(str(path), split="train", joiner=" ").text for path in (plain, marked)]
    assert texts[0] == texts[1] and not texts[1].startswith("\ufeff")


def test_a_known_corpus_keeps_its_name_and_any_other_is_a_file(tmp_path: Path) -> None:
    assert [corpus_name(name, tmp_path.joinpath) for name in ("wikitext2", "embedded", "ud_ewt", "a.txt")] == [
        "wikitext2",
        "embedded",
        "ud_ewt",
        str(tmp_path / "a.txt"),
    ]
