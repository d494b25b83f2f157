"""The Texts tab: what texts are worth, against the comparison, and in a real browser."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Page, expect
from sklearn.metrics import confusion_matrix

from data.categories import CATEGORIES, DESCRIPTIONS
from data.texts import STUDY, TextsError, load_texts
from space.models.classifiers import Models, ZeroShot
from space.pages.texts import Photos, bounded, figures_html, reported_photos
from space.report.report import BETTER_REPORT, REPORT, REPORTS, load_report
from tests.conftest import RunningApp, open_page


def _right(text: str) -> float:
    """The accuracy that is shown, in %."""
    return float(re.search(r"Right on (?:<b>)?([\d.]+)%", text)[1])


@pytest.mark.parametrize(("name", "folder"), [("study", REPORT), ("better", BETTER_REPORT)])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_accuracy_is_the_comparisons(name: str, folder: object, split: str, models: Models) -> None:
    photos = reported_photos(models.zero_shot)[0][f"{split}, real product photos"]
    report = load_report(folder).of(split)
    html = figures_html(models.zero_shot, photos, load_texts(name))
    right = report.decided()["zero_shot"]["right"].mean()
    assert _right(html) == pytest.approx(100 * right, abs=0.05)
    counts = re.findall(r'cell-zero_shot-\d-\d" .*?aria-label="(\d+) photo', html)
    matrix = confusion_matrix(report.labels, report.decided()["zero_shot"]["choice"])
    assert [*map(int, counts)] == matrix.flatten().tolist()


def test_difference_is_said_with_its_interval(models: Models) -> None:
    embeddings = models.zero_shot.encoder.encode_texts(tuple(DESCRIPTIONS.values()))
    photos = Photos(embeddings, np.arange(7))
    html = figures_html(models.zero_shot, photos, STUDY)
    assert "against" not in html and _right(html) == 100
    twice = STUDY | {"watches": 2 * STUDY["watches"]}
    assert "within chance" in figures_html(models.zero_shot, photos, twice)
    swapped = dict(zip(CATEGORIES, [*list(STUDY.values())[1:], STUDY[CATEGORIES[0]]], strict=True))
    html = figures_html(models.zero_shot, photos, swapped)
    assert _right(html) == 0 and "-100.0 points" in html


def test_another_model_is_measured_on_the_sample_and_says_why(models: Models) -> None:
    identity = replace(models.zero_shot.identity, name="CLIP", weights="0" * 64)
    photos, notice = reported_photos(ZeroShot(models.zero_shot.encoder, STUDY, identity))
    assert photos == {}
    assert "efficientnet_lite0 + minilm" in notice and "bundled sample" in notice


def test_report_without_validation_is_measured_on_test(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("space.pages.texts.REPORT", REPORTS / "sample")
    photos, notice = reported_photos(models.zero_shot)
    assert list(photos) == ["test, real product photos"]
    assert "No validation photos" in notice
    assert "Right on" in figures_html(models.zero_shot, *photos.values(), STUDY)


@pytest.mark.parametrize("texts", [[], ["a" * 2001], ["a"] * 51, ["a" * 999] * 3])
def test_texts_are_bounded(texts: list[str]) -> None:
    with pytest.raises(TextsError, match="watches"):
        bounded(STUDY | {"watches": texts})
    assert bounded(STUDY) == STUDY


@pytest.fixture
def tab(browser: BrowserContext, app: RunningApp) -> Iterator[Page]:
    page = open_page(browser, app.url)
    expect(page.locator("#answer tbody tr")).to_have_count(7)
    page.get_by_role("tab", name="Texts").click()
    expect(page.locator("#texts-result .verdict")).to_be_visible()
    yield page
    page.close()


def test_texts_are_edited_measured_and_carried_over(tab: Page) -> None:
    before = _right(tab.locator("#texts-result").inner_text())
    watches = tab.get_by_label("watches", exact=True)
    watches.fill("a banana\nan apple")
    expect(tab.locator("#texts-result")).not_to_contain_text(f"{before}%")
    watches.fill("")
    expect(tab.locator("#texts-result")).to_contain_text("Please write a text for watches")
    watches.fill("a clock on a strap\na wristwatch")
    tab.get_by_role("button", name="Use in Compare").click()
    row = tab.locator('#answer tr[data-trained="watches"]')
    expect(row.locator(".text")).to_have_value("a clock on a strap\na wristwatch")


def test_texts_go_out_as_json_and_come_back(tab: Page) -> None:
    box = tab.locator("#texts-as-json textarea")
    assert json.loads(box.input_value()) == STUDY
    tab.get_by_label("watches", exact=True).fill("a <b>watch</b>")
    expect(box).to_have_value(re.compile("<b>watch"))
    box.fill(json.dumps(STUDY | {"watches": ["a watch", "a clock"]}))
    tab.get_by_role("button", name="Use this JSON").click()
    expect(tab.get_by_label("watches", exact=True)).to_have_value("a watch\na clock")
    expect(box).to_have_value(re.compile('\\n  "a clock"'))
    # What is pasted stays, whatever is measured meanwhile.
    box.fill('{"watches": []}')
    tab.get_by_role("button", name="Use this JSON").click()
    expect(tab.get_by_text("needs a list of texts for each category").first).to_be_visible()
    expect(box).to_have_value('{"watches": []}')
    tab.get_by_role("button", name="The study texts").click()
    expect(tab.get_by_label("watches", exact=True)).to_have_value(DESCRIPTIONS["watches"])
    expect(box).to_have_value(re.compile("timepieces"))
