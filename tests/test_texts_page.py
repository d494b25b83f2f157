"""The Descriptions tab: what words are worth, against the comparison, and in a real browser."""

import json
import re
import time
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from data.categories import CATEGORIES, DESCRIPTIONS
from data.texts import STUDY, load_texts
from space.models.scoring import Models
from space.pages.texts import Photos, figures_html, reported_photos
from space.report.report import BETTER_REPORT, REPORT, read_metrics
from tests.conftest import RunningApp


def _right(html: str) -> float:
    """The accuracy that is shown, in %."""
    return float(re.search(r"Right on (?:<b>)?([\d.]+)%", html)[1])


@pytest.mark.parametrize(("name", "folder"), [("study", REPORT), ("better", BETTER_REPORT)])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_accuracy_is_the_comparisons(name: str, folder: object, split: str, models: Models) -> None:
    photos = reported_photos(models)[f"{split}, real product photos"]
    figures = read_metrics(folder)["zero_shot"][split]
    html = figures_html(models, photos, load_texts(name))
    assert _right(html) == pytest.approx(100 * figures["accuracy"], abs=0.05)
    counts = re.findall(r'class="count".*?>(\d+|·)<', html)
    matrix = [int(count.replace("·", "0")) for count in counts]
    assert matrix == np.array(figures["confusion_matrix"]).flatten().tolist()


def test_seven_new_texts_are_measured_in_half_a_second(models: Models) -> None:
    photos = reported_photos(models)["validation, real product photos"]
    figures_html(models, photos, STUDY)
    seconds = []
    for attempt in range(3):
        texts = {name: [f"goods of kind {attempt}: {name}"] for name in CATEGORIES}
        start = time.monotonic()
        figures_html(models, photos, texts)
        seconds.append(time.monotonic() - start)
    assert min(seconds) < 0.5


def test_difference_is_said_with_its_interval(models: Models) -> None:
    embeddings = models.zero_shot.encode_texts(tuple(DESCRIPTIONS.values()))
    photos = Photos(embeddings, np.arange(7))
    html = figures_html(models, photos, STUDY)
    assert "within chance" in html and _right(html) == 100
    swapped = dict(zip(CATEGORIES, [*list(STUDY.values())[1:], STUDY[CATEGORIES[0]]], strict=True))
    html = figures_html(models, photos, swapped)
    assert _right(html) == 0 and "-100.0 points" in html


@pytest.fixture
def tab(browser: Browser, app: RunningApp) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(app.url)
    expect(page.locator("#answer tbody tr")).to_have_count(7, timeout=20_000)
    page.get_by_role("tab", name="Descriptions").click()
    expect(page.locator("#words .verdict")).to_be_visible(timeout=20_000)
    yield page
    page.close()


def test_words_are_edited_measured_and_carried_over(tab: Page) -> None:
    before = _right(tab.locator("#words").inner_text())
    expected = read_metrics()["zero_shot"]["validation"]["accuracy"]
    assert before == pytest.approx(100 * expected, abs=0.05)
    watches = tab.get_by_label("watches", exact=True)
    watches.fill("a banana\nan apple")
    expect(tab.locator("#words")).not_to_contain_text(f"{before}%")
    watches.fill("")
    expect(tab.locator("#words")).to_contain_text("Please write a text for watches")
    watches.fill("a clock on a strap\na wristwatch")
    tab.get_by_role("button", name="Use in Compare").click()
    row = tab.locator('#answer tr[data-trained="watches"]')
    expect(row.locator(".text")).to_have_value("a clock on a strap\na wristwatch")
    expect(row.locator(".text")).to_be_visible()


def test_words_go_out_as_json_and_come_back(tab: Page) -> None:
    box = tab.locator("#texts-as-json textarea")
    expect(box).to_have_value(re.compile("timepieces"))
    texts = json.loads(box.input_value())
    assert texts == STUDY
    box.fill(json.dumps(texts | {"watches": ["a watch", "a clock"]}))
    tab.get_by_role("button", name="Use this JSON").click()
    expect(tab.get_by_label("watches", exact=True)).to_have_value("a watch\na clock")
    tab.get_by_role("button", name="The study wording").click()
    expect(tab.get_by_label("watches", exact=True)).to_have_value(DESCRIPTIONS["watches"])
    expect(box).to_have_value(re.compile("timepieces"))
    box.fill('{"watches": []}')
    tab.get_by_role("button", name="Use this JSON").click()
    expect(tab.get_by_text("needs a list of texts for each category").first).to_be_visible()
