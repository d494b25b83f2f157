"""The answer for one photo: what each model says, when it is unsure, and what is not known."""

import copy
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

from data.categories import CATEGORIES, DESCRIPTIONS
from data.labelled import SAMPLE
from space.models.checkpoints import CheckpointError
from space.models.classifiers import Models
from space.models.encoders import ConSE
from space.pages.compare import Question, Row, answer, study_rows
from space.pages.evaluation import FOLDERS
from space.pages.page import build_demo
from space.report.report import load_report
from tests.conftest import ROOT
from tests.odd_files import ODD, write_odd_file

PHOTO = "watches/wristwatch-1.jpg"
SURE = [0.01] * 6 + [0.94]


@pytest.fixture(scope="module")
def watched(models: Models) -> Models:
    """The bundled models, made to say: VGG16 SURE, and ConSE that the photo is its text."""
    return _saying(models, SURE)


def _saying(models: Models, probabilities: list[float]) -> Models:
    vgg16 = copy.copy(models.vgg16)
    vgg16._network = lambda pixels: np.log([probabilities])
    encoder = copy.copy(models.zero_shot.encoder)
    encoder.encode_photos = lambda pixels: encoder.encode_texts((DESCRIPTIONS["watches"],))
    return Models(vgg16, replace(models.zero_shot, encoder=encoder))


def _answer(models: Models, rows: list[Row], **asked: object) -> str:
    question = Question(rows=rows, **({"photo": PHOTO} | asked))
    return answer(models, question, lambda name: SAMPLE / name)


@pytest.fixture
def rows(models: Models) -> list[Row]:
    return study_rows(models)


def _verdict(html: str) -> str:
    verdict = re.search(r'class="verdict".*?>(.*?)</p>', html, re.DOTALL)[1]
    return " ".join(re.sub(r"<.*?>", "", verdict).split())


def _edit(rows: list[Row], trained: str, **changes: str) -> list[Row]:
    return [row.model_copy(update=changes) if row.trained == trained else row for row in rows]


def test_agreement(watched: Models, rows: list[Row]) -> None:
    assert _verdict(_answer(watched, rows)) == "Both say watches. Both are sure."


def test_disagreement(watched: Models, rows: list[Row]) -> None:
    swapped = _edit(rows, "watches", text=DESCRIPTIONS["computers"])
    swapped = _edit(swapped, "computers", text=DESCRIPTIONS["watches"])
    verdict = _verdict(_answer(watched, swapped))
    assert verdict.startswith("VGG16 says watches, ConSE says computers. Why?")


def test_unsure_in_words(models: Models, rows: list[Row]) -> None:
    probabilities = [0.02] * 7
    probabilities[2], probabilities[6] = 0.40, 0.50
    verdict = _verdict(_answer(_saying(models, probabilities), rows))
    assert "VGG16 is unsure between watches (50%) and computers (40%)." in verdict
    assert "sure." not in verdict.replace("unsure", "")


def test_category_that_only_one_model_knows(watched: Models, rows: list[Row]) -> None:
    added = Row(trained="", name="time", text="a watch")
    html = _answer(watched, [*_edit(rows, "watches", text=""), added])
    assert _verdict(html).startswith("VGG16 says watches, ConSE says time.")
    assert "not trained on it" in html and "no text" in html


def test_no_text_at_all(watched: Models, rows: list[Row]) -> None:
    html = _answer(watched, [row.model_copy(update={"text": " \n"}) for row in rows])
    assert _verdict(html).startswith("VGG16 says watches; ConSE has no text to compare with.")


@pytest.mark.parametrize(("name", "sentence"), ODD)
def test_odd_file_is_answered(models: Models, tmp_path: Path, name: str, sentence: str) -> None:
    question = Question(rows=study_rows(models), photo=name)
    html = answer(models, question, partial(write_odd_file, tmp_path))
    assert sentence in html and ("<figure" in html) == (not sentence)


@pytest.mark.parametrize("fault", [FileNotFoundError, ValueError])
def test_page_without_a_report_or_with_a_torn_one_says_so_in_each_tab(
    models: Models, monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    def broken(content: bytes) -> None:
        raise fault

    monkeypatch.setattr("space.report.report.DESCRIPTION", SimpleNamespace(validate_json=broken))
    load_report.cache_clear()
    try:
        demo = build_demo(models, lambda function: function)
        show = next(event.fn for event in demo.fns.values() if event.name == "show")
        evaluation = show(next(iter(FOLDERS)))[0]
    finally:
        load_report.cache_clear()
    texts = [block.value for block in demo.blocks.values() if isinstance(block, gr.Markdown)]
    said = [text for text in [*texts, evaluation] if "training/compare_models.py" in text]
    assert len(said) == 3 and not any(str(ROOT) in text for text in said)


def test_two_categories_of_one_name(watched: Models, rows: list[Row]) -> None:
    html = _answer(watched, [*rows, Row(trained="", name="watches", text="fruit")])
    assert html.count('class="mark"') == 2


def test_heat_maps_say_which_score_they_explain(watched: Models, rows: list[Row]) -> None:
    html = _answer(watched, rows, explained=[6, 2])
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html)
    # Nothing may have spoken for it, which the caption then says, too.
    assert captions[0].startswith("VGG16: watches, probability 94%")
    assert captions[1].startswith("ConSE: computers, cosine similarity 0.")
    assert html.count('alt="Heat map') == 2


def test_model_that_does_not_score_a_category_has_no_heat_map_of_it(
    watched: Models, rows: list[Row]
) -> None:
    added = Row(trained="", name="<i>time", text="a watch")
    edited = [*_edit(rows, "watches", text=""), added]
    no_text, not_trained = (_answer(watched, edited, explained=[row, row]) for row in (6, 7))
    assert "ConSE has no text of watches." in no_text
    assert "VGG16 was not trained on &lt;i&gt;time." in not_trained
    assert all(html.count('alt="Heat map') == 1 for html in (no_text, not_trained))


def test_more_categories_than_the_page_shows_are_said(models: Models) -> None:
    vgg16 = copy.copy(models.vgg16)
    vgg16.categories = [f"category {number}" for number in range(21)]
    with pytest.raises(CheckpointError, match="vgg16 has 21 categories; the page shows at most 20"):
        build_demo(models._replace(vgg16=vgg16), lambda function: function)


def test_before_a_photo(models: Models, rows: list[Row]) -> None:
    html = _answer(models, rows, photo=None)
    assert _verdict(html).startswith("Drop a product photo")
    assert not re.search(r"\d%</span>", html) and "<figure" not in html
    assert 'class="why"' not in html
    assert "Heat map" not in _answer(models, rows, photo=None, explained=[6, 6])


def test_photo_that_cannot_be_read_is_answered_in_its_sentence(
    models: Models, rows: list[Row], tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    html = _answer(models, rows, photo=str(tmp_path / "text.jpg"), number=7)
    assert _verdict(html).startswith("This file is not a photo that can be read here")
    assert 'data-number="7"' in html and "<figure" not in html


def test_what_was_seen_is_scored_as_the_photo_was(models: Models, rows: list[Row]) -> None:
    """The pictures of an answer stand for the photo: the same pixels, so the same numbers."""
    shown = _answer(models, rows)
    pictures = re.findall(r'<img src="([^"]*)" data-model="(\w+)"', shown)
    seen = {model: uri for uri, model in pictures}
    again = _answer(models, rows, photo=None, seen=seen)
    numbers = [re.findall(r'class="number">(.*?)<', html) for html in (shown, again)]
    assert len(numbers[0]) == 14 and numbers[0] == numbers[1]


@pytest.mark.parametrize(
    "seen",
    [
        {"vgg16": "data:image/png;base64,iVBORw0KGgo=", "zero_shot": "no picture"},
        {"vgg16": "data:image/png;base64,é"},
        {"other": ""},
    ],
    ids=["broken", "no base64", "of another model"],
)
def test_what_the_browser_sends_is_checked(
    models: Models, rows: list[Row], seen: dict[str, str]
) -> None:
    verdict = _verdict(_answer(models, rows, photo=None, seen=seen))
    assert verdict == "What was seen of the photo is lost; please choose the photo again."
    wrong = _answer(models, rows, explained=[0, 99])
    assert "Heat map" not in wrong and "Both say" in wrong


def test_rows_and_texts_are_bounded(rows: list[Row]) -> None:
    with pytest.raises(ValueError, match="at most 20 items"):
        Question(rows=rows * 3)
    row = Row(trained="", name="n" * 5000, text="t" * 5000)
    assert (len(row.name), len(row.text)) == (80, 2000)


def test_long_text_is_cut_with_a_notice(watched: Models, rows: list[Row]) -> None:
    assert "its end is cut" not in _answer(watched, rows)
    long = _edit(rows, "watches", text="time " * 600)
    assert "The text of watches is longer" in _answer(watched, long)


def test_what_users_type_is_escaped(watched: Models, rows: list[Row]) -> None:
    html = _answer(watched, _edit(rows, "watches", name="<b>x", text='"><script>'))
    assert "<b>x" not in html and "<script" not in html and "&lt;b&gt;x</textarea>" in html


def test_accuracy_is_shown_for_what_was_measured_alone(watched: Models, rows: list[Row]) -> None:
    html = _answer(watched, rows)
    assert len(re.findall(r"Right on <b>\d\d%</b> of \d+ held-out photos", html)) == 2
    edited = _answer(watched, _edit(rows, "watches", text="clocks"))
    assert edited.count("Right on") == 1
    assert "Not measured on held-out photos with these texts" in edited
    other = copy.copy(watched.vgg16)
    other.identity = replace(other.identity, weights="0" * 64)
    assert "This checkpoint was not measured" in _answer(watched._replace(vgg16=other), rows)


def test_model_that_stands_in_says_so(watched: Models, rows: list[Row]) -> None:
    assert isinstance(watched.zero_shot.encoder, ConSE)
    assert "stands in for CLIP: openai/clip-vit-base-patch32 is not" in _answer(watched, rows)


def test_every_category_has_a_row_and_a_bar_of_each_model(models: Models, rows: list[Row]) -> None:
    html = _answer(models, rows)
    assert re.findall(r'<tr data-trained="(.*?)">', html) == [
        name.replace("&", "&amp;") for name in CATEGORIES
    ]
    assert html.count('class="bar"') == 14
