"""The page of example sentences."""

import numpy as np
import pandas as pd

from studies.reporting.surprisal_page import examples_page
from studies.statistics.excess_surprisal import Excess
from tests.unit.studies.statistics.frames import BASE, scored, texts


def test_the_page_escapes_and_shows_the_whole_sentence() -> None:
    documents, words = texts(20)
    documents = tuple(text.replace("dog", "<b>") for text in documents)
    words = pd.concat([words, words.assign(sentence=words["sentence"], upos="X").iloc[:0]])
    long_enough = words.assign(sentence=words["document"] // 2)  # ten words a sentence would span two documents
    long_enough["document"], documents = words["document"] // 2, tuple(a + " " + a for a in documents[:10])
    shift = np.where(words["document"] % 2, 18, 0)
    long_enough[["start", "end"]] += shift[:, None]
    baseline = scored(long_enough, BASE)
    items = Excess(scored(long_enough, BASE | {"DET": 3.0}), baseline, long_enough, "token").items
    page = examples_page(items, documents, long_enough, title="a <title>")
    assert "&lt;b&gt;" in page and "<b>" not in page and "a &lt;title&gt;" in page
    assert page.count('<p class="s">') == 20 and "rgba(221,107,32,0.67)" in page
    assert "<script" not in page and "http" not in page
