"""The table: what each model says, when it is unsure, and what is not known."""

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from data.categories import CATEGORIES, DESCRIPTIONS
from space.models.scoring import Models, PhotoScores
from space.pages.compare import Row, render, study_rows
from space.report.report import held_out_accuracy


@pytest.fixture
def scores(models: Models) -> PhotoScores:
    """VGG16 is sure of watches; the photo's embedding is that of the text of watches."""
    probabilities = np.full(7, 0.01, dtype=np.float32)
    probabilities[CATEGORIES.index("watches")] = 0.94
    embedding = models.zero_shot.encode_texts((DESCRIPTIONS["watches"],))[0]
    seen = Image.new("RGB", (224, 224))
    return PhotoScores(probabilities, embedding, seen, seen, 0.04, 0.02)


@pytest.fixture
def rows() -> list[Row]:
    return study_rows(CATEGORIES)


def _verdict(html: str) -> str:
    return re.sub(r"<.*?>", "", re.search(r'class="verdict".*?>(.*?)</p>', html, re.DOTALL)[1])


def _edit(rows: list[Row], trained: str, **changes: str) -> list[Row]:
    return [replace(row, **changes) if row.trained == trained else row for row in rows]


def test_agreement(models: Models, scores: PhotoScores, rows: list[Row]) -> None:
    assert _verdict(render(models, scores, rows)) == "Both say watches. Both are sure."


def test_disagreement(models: Models, scores: PhotoScores, rows: list[Row]) -> None:
    texts = DESCRIPTIONS["computers"], DESCRIPTIONS["watches"]
    swapped = _edit(_edit(rows, "watches", text=texts[0]), "computers", text=texts[1])
    verdict = _verdict(render(models, scores, swapped))
    assert verdict.startswith("VGG16 says watches, ConSE says computers.")


def test_unsure_in_words(models: Models, scores: PhotoScores, rows: list[Row]) -> None:
    probabilities = np.full(7, 0.02, dtype=np.float32)
    probabilities[[2, 6]] = 0.40, 0.50
    verdict = _verdict(render(models, replace(scores, probabilities=probabilities), rows))
    assert "VGG16 is unsure between watches (50%) and computers (40%)." in verdict


def test_category_that_only_one_model_knows(
    models: Models, scores: PhotoScores, rows: list[Row]
) -> None:
    html = render(models, scores, [*_edit(rows, "watches", text=""), Row("", "time", "a watch")])
    assert _verdict(html).startswith("VGG16 says watches, ConSE says time.")
    assert "not trained on it" in html and "no text" in html


def test_no_text_at_all(models: Models, scores: PhotoScores, rows: list[Row]) -> None:
    html = render(models, scores, [replace(row, text="") for row in rows])
    assert _verdict(html).startswith("VGG16 says watches; ConSE has no text to compare with.")


def test_two_categories_of_one_name(models: Models, scores: PhotoScores, rows: list[Row]) -> None:
    html = render(models, scores, [*rows, Row("", "watches", "fruit")])
    assert len(re.findall(r'class="mark"', html)) == 2


def test_heat_maps_say_which_score_they_explain(
    models: Models, scores: PhotoScores, rows: list[Row]
) -> None:
    html = render(models, scores, rows, (6, 2))
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html)
    # Nothing in a blank photo may have spoken for it, which the caption then says, too.
    assert captions[0].startswith("VGG16: watches, probability 94%")
    assert any(caption.startswith("ConSE: computers, cosine similarity 0.") for caption in captions)
    assert len(re.findall(r'alt="Heat map', html)) == 2


def test_model_that_does_not_score_a_category_has_no_heat_map_of_it(
    models: Models, scores: PhotoScores, rows: list[Row]
) -> None:
    edited = [*_edit(rows, "watches", text=""), Row("", "<i>time", "a watch")]
    no_text, not_trained = (render(models, scores, edited, (row, row)) for row in (6, 7))
    assert "ConSE has no text of watches." in no_text
    assert "VGG16 was not trained on &lt;i&gt;time." in not_trained
    assert all(html.count('alt="Heat map') == 1 for html in (no_text, not_trained))


def test_before_a_photo(models: Models, rows: list[Row]) -> None:
    html = render(models, None, rows)
    assert _verdict(html).startswith("Drop a product photo")
    assert "%</span>" not in html and "figure" not in html
    assert 'class="why"' not in html and "Heat map" not in render(models, None, rows, (6, 6))


def test_long_text_is_cut_with_a_notice(
    models: Models, scores: PhotoScores, rows: list[Row]
) -> None:
    assert "its end is cut" not in render(models, scores, rows)
    long = _edit(rows, "watches", text="time " * 600)
    assert "The text of watches is longer" in render(models, scores, long)


def test_users_words_are_escaped(models: Models, scores: PhotoScores, rows: list[Row]) -> None:
    html = render(models, scores, _edit(rows, "watches", name="<b>x", text='"><script>'))
    assert "<b>x" not in html.replace("<b>&lt;b&gt;x", "") and "<script" not in html


def test_accuracy_is_shown_for_what_was_measured_alone(
    models: Models, scores: PhotoScores, rows: list[Row]
) -> None:
    html = render(models, scores, rows)
    assert len(re.findall(r"Right on <b>\d\d%</b> of \d+ held-out photos", html)) == 2
    edited = render(models, scores, _edit(rows, "watches", text="clocks"))
    assert len(re.findall(r"Right on", edited)) == 1
    assert "This checkpoint with these texts was not measured" in edited
    other = replace(models.vgg16_identity, revision="0" * 64)
    assert held_out_accuracy("vgg16", models.vgg16_identity) is not None
    assert held_out_accuracy("vgg16", other) is None
