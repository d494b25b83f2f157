"""The Evaluation tab: a report as a page, without one, and in a real browser."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from sklearn.metrics import confusion_matrix

from space.models.classifiers import Models
from space.pages import evaluation
from space.report.report import REPORT, REPORTS, ReportError, load_report
from tests.conftest import RunningApp, open_page


@pytest.mark.parametrize("fault", ["missing", "torn", "rows", "schema"])
def test_report_that_cannot_be_read_is_a_sentence(fault: str, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    if fault != "missing":
        shutil.copytree(REPORTS / "sample", folder)
    if fault == "torn":
        (folder / "report.json").write_text('{"dataset": "a')
    elif fault == "rows":
        content = (folder / "predictions.csv").read_text()
        (folder / "predictions.csv").write_text(content[: content.rindex(",")])
    elif fault == "schema":
        description = json.loads((folder / "report.json").read_text())
        del description["models"][0]["weights"]
        (folder / "report.json").write_text(json.dumps(description))
    with pytest.raises(ReportError, match=re.escape("training/compare_models.py")):
        load_report(folder)


def test_report_of_other_models_says_so(models: Models) -> None:
    report = load_report()
    assert evaluation.others_in_use(report, [models.vgg16]) == []
    other = models.vgg16.identity.__class__("CLIP", "some/clip", "0" * 64, 1, 4)
    stand_in = type("Other", (), {"identity": other})()
    (sentence,) = evaluation.others_in_use(report, [models.vgg16, stand_in])
    assert "ConSE" in sentence and "runs CLIP (some/clip)" in sentence


def test_report_without_validation_says_so() -> None:
    assert "no threshold could be fitted" in evaluation.figures_html(REPORTS / "sample")
    assert "no threshold could be fitted" not in evaluation.figures_html(REPORT)
    assert evaluation.usual_threshold(REPORTS / "sample") == 0.5


def test_ids_of_figures_are_unique_and_colours_are_the_pages() -> None:
    html = evaluation.figures_html(REPORT) + evaluation.details_html(REPORT)
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert "var(--vgg16)" in html and "#0072b2" not in html and "<style" not in html
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', html)) <= {
        pair for name in ids for pair in ((name, ""), ("", name))
    }


@pytest.fixture
def tab(browser: BrowserContext, app: RunningApp) -> Iterator[Page]:
    page = open_page(browser, app.url)
    page.get_by_role("tab", name="Evaluation").click()
    expect(page.locator(".evaluation .matrix .cell")).to_have_count(98)
    yield page
    page.close()


def test_tab_shows_the_figures_of_the_report(tab: Page) -> None:
    test = load_report().of("test")
    for key, table in test.decided().items():
        if key != "both":
            row = tab.locator(f".evaluation .figures tr.{key.replace('_', '-')}")
            expect(row).to_contain_text(f"{table['right'].mean():.1%}")
    cells = tab.locator('[id*="cell-vgg16-"]').evaluate_all(
        "cells => cells.map(cell => parseInt(cell.getAttribute('aria-label')))"
    )
    matrix = confusion_matrix(test.labels, test.decided()["vgg16"]["choice"])
    assert cells == matrix.flatten().tolist()


def test_slider_counts_what_is_sorted_and_the_mistakes(tab: Page) -> None:
    vgg16 = load_report().of("test").decided()["vgg16"]
    field = tab.get_by_role("spinbutton")
    for threshold in (0.3, 0.8):
        field.fill(str(threshold))
        field.press("Enter")
        reached = vgg16["confidence"] >= threshold
        row = tab.locator(".coverage tr.vgg16 td")
        expect(row.nth(1)).to_have_text(f"{reached.sum()} of {len(vgg16)}")
        expect(row.nth(2)).to_have_text(str((reached & ~vgg16["right"]).sum()))


def test_cells_show_their_photos_by_mouse_and_keyboard(tab: Page) -> None:
    tab.locator('[id$="cell-vgg16-6-6"]').focus()
    tab.keyboard.press("Enter")
    expect(tab.locator("#cell")).to_contain_text("not shipped with the demo")
    tab.get_by_label("the bundled sample of rendered photos").click()
    expect(tab.locator(".evaluation .notice")).to_contain_text("no threshold")
    cell = tab.locator('[id$="cell-vgg16-6-6"]')
    cell.click()
    expect(tab.locator("#cell")).to_contain_text("photos of watches, which VGG16 calls watches")
    count = int(cell.get_attribute("aria-label").split()[0])
    expect(tab.locator(".evaluation .thumbnail-item")).to_have_count(count)
