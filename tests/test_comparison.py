"""The comparison: its figures against independent computations, its files, and its tab."""

import json
import math
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from safetensors.numpy import load_file
from scipy.special import softmax
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
)

from data.categories import CATEGORIES, DESCRIPTIONS
from data.labelled import digests, load_photos
from data.texts import STUDY
from space.models.checkpoints import BEFORE_REFIT
from space.models.classifiers import prepare
from space.models.scoring import Models
from space.report.metrics import ClassificationReport
from space.report.report import EMBEDDINGS, MODELS, REPORT, decisions
from space.report.statistics import (
    coverage_at_precision,
    coverage_curve,
    expected_calibration_error,
    fit_temperature,
    paired_difference,
)
from tests.conftest import ROOT, RunningApp
from training.compare_models import measure, score

SCORES = {"precision": precision_score, "recall": recall_score, "f1": f1_score}


# --- figures -------------------------------------------------------------------------------------


def test_report_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    references = rng.integers(0, 7, 200)
    predictions = np.where(rng.random(200) < 0.7, references, rng.integers(0, 7, 200))
    report = ClassificationReport().compute(
        predictions=predictions, references=references, categories=CATEGORIES
    )
    assert report["accuracy"] == pytest.approx(accuracy_score(references, predictions))
    for name, score_of in SCORES.items():
        for average in ("macro", "weighted"):
            expected = score_of(references, predictions, average=average)
            assert report[f"{average}_{name}"] == pytest.approx(expected)
        by_class = score_of(references, predictions, average=None)
        found = [report["per_class"][category][name] for category in CATEGORIES]
        assert found == pytest.approx(by_class)
    assert report["confusion_matrix"] == confusion_matrix(references, predictions).tolist()


@pytest.mark.parametrize("right", [0, 7, 10])
def test_interval_is_wilsons(right: int) -> None:
    report = ClassificationReport().compute(
        predictions=[0] * right + [1] * (10 - right), references=[0] * 10, categories=["a", "b"]
    )
    assert report["accuracy_ci95"] == pytest.approx(wilson(right, 10), abs=1e-6)


def wilson(right: int, n: int) -> list[float]:
    """The interval by its formula."""
    z, p = 1.959963985, right / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return [centre - half, centre + half]


def calibration_error(confidences: np.ndarray, right: np.ndarray) -> float:
    """Guo et al. 2017, equation 3, bin by bin."""
    error = 0.0
    for low in np.arange(15) / 15:
        inside = (confidences > low) & (confidences <= low + 1 / 15)
        if inside.any():
            gap = abs(right[inside].mean() - confidences[inside].mean())
            error += inside.mean() * gap
    return error


def largest_coverage(confidences: np.ndarray, right: np.ndarray, precision: float) -> float:
    """Every threshold tried in turn."""
    enough = [0.0]
    for threshold in np.unique(confidences):
        reached = confidences >= threshold
        if right[reached].mean() >= precision:
            enough.append(reached.mean())
    return max(enough)


@pytest.fixture
def sure() -> tuple[np.ndarray, np.ndarray]:
    """Confidences, some of them equal, and which are right: the surer, the more often."""
    rng = np.random.default_rng(1)
    confidences = np.round(rng.random(300), 2) * 0.9 + 0.1
    return confidences, rng.random(300) < confidences**0.3


def test_calibration_error_is_that_of_the_paper(sure: tuple[np.ndarray, np.ndarray]) -> None:
    assert expected_calibration_error(*sure) == pytest.approx(calibration_error(*sure))
    certain = np.ones(10), np.array([True] * 6 + [False] * 4)
    assert expected_calibration_error(*certain) == pytest.approx(0.4)


@pytest.mark.parametrize("precision", [0.5, 0.8, 0.95, 0.99])
def test_coverage_is_the_largest_that_keeps_the_precision(
    sure: tuple[np.ndarray, np.ndarray], precision: float
) -> None:
    confidences, right = sure
    found = coverage_at_precision(confidences, right, precision)
    assert found.share == pytest.approx(largest_coverage(confidences, right, precision))
    reached = confidences >= found.threshold
    assert reached.mean() == pytest.approx(found.share)
    assert (~right[reached]).sum() == found.mistakes


def test_nothing_is_sorted_where_the_surest_are_wrong_or_nobody_is_sure() -> None:
    wrong = np.array([False, True, True])
    assert coverage_at_precision(np.array([0.9, 0.5, 0.4]), wrong, 0.95).share == 0
    assert coverage_curve(np.zeros(3), wrong) == []


def test_temperature_is_the_best_of_many() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(500, 7)) * 2
    labels = np.array([rng.choice(7, p=row) for row in softmax(logits / 2.5, axis=1)])
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(2.5, rel=0.15)
    loss = {t: log_loss(labels, softmax(logits / t, axis=1)) for t in np.arange(1, 5, 0.05)}
    assert found == pytest.approx(min(loss, key=loss.get), abs=0.06)


def test_difference_is_mcnemars() -> None:
    # Of 20 photos that one gets right and the other wrong, 15 speak for the first.
    first = np.array([True] * 15 + [False] * 5 + [True] * 60 + [False] * 20)
    second = np.array([False] * 15 + [True] * 5 + [True] * 60 + [False] * 20)
    found = paired_difference(first, second)
    assert found.difference == pytest.approx(0.10)
    tail = sum(math.comb(20, k) for k in range(15, 21)) / 2**20
    assert found.p_value == pytest.approx(2 * tail)
    # The normal interval of the mean of the gains is near the bootstrap's.
    half = 1.96 * np.std(first.astype(int) - second.astype(int)) / 10
    assert found.ci95 == pytest.approx((0.1 - half, 0.1 + half), abs=0.015)
    assert paired_difference(first, first) == (0, (0, 0), 1)


def test_both_decide_where_they_agree_alone() -> None:
    table = pd.DataFrame({"label": ["watches", "computers"]})
    for model, rows in {
        "vgg16": [[0.02] * 6 + [0.88], [0.02] * 6 + [0.88]],
        "zero_shot": [[0.1] * 6 + [0.2], [0.3] + [0.1] * 6],
    }.items():
        table[[f"{model} {category}" for category in CATEGORIES]] = rows
    metrics = {model: {"logit_scale": 20.0, "temperature": 2.0} for model in MODELS}
    both = decisions(table, metrics)["both"]
    vgg16 = softmax(np.log([0.02] * 6 + [0.88]) / 2).max()
    zero_shot = softmax(np.array([0.1] * 6 + [0.2]) * 10).max()
    assert both["confidence"].tolist() == pytest.approx([(vgg16 + zero_shot) / 2, 0])
    assert both["right"].tolist() == [True, False]


# --- the report ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command leaves of the bundled sample, in less than two minutes of two cores."""
    folder = tmp_path_factory.mktemp("report")
    command = [sys.executable, "training/compare_models.py", "--output", str(folder)]
    before = _seconds_of_children()
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert _seconds_of_children() - before < 2 * 120
    assert "McNemar" in run.stdout
    return folder


def _seconds_of_children() -> float:
    """Of a processor, which do not depend on what else it does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("folder", ["made", "shipped"])
def test_every_figure_follows_from_the_predictions(
    folder: str, request: pytest.FixtureRequest
) -> None:
    place = request.getfixturevalue("report") if folder == "made" else REPORT
    metrics = json.loads((place / "metrics.json").read_text())
    predictions = pd.read_csv(place / "predictions.csv")
    for model in MODELS:
        values = predictions[[f"{model} {category}" for category in CATEGORIES]].to_numpy()
        said = np.array(CATEGORIES)[values.argmax(1)]
        assert (predictions[model] == said).all()
        if model == "vgg16":
            np.testing.assert_allclose(values.max(1), predictions["vgg16_probability"])
        for split, rows in predictions.groupby("split"):
            _check_figures(metrics[model][split], rows, model)


def _check_figures(figures: dict, rows: pd.DataFrame, model: str) -> None:
    labels, said = rows["label"], rows[model]
    right = (labels == said).to_numpy()
    confidences = rows[f"{model}_probability"].to_numpy()
    expected = {
        "n": len(rows),
        "accuracy": accuracy_score(labels, said),
        "ece": calibration_error(confidences, right),
        "coverage_at_precision_95": largest_coverage(confidences, right, 0.95),
        "coverage_at_precision_99": largest_coverage(confidences, right, 0.99),
    }
    for name, score_of in SCORES.items():
        for average in ("macro", "weighted"):
            expected[f"{average}_{name}"] = score_of(
                labels, said, average=average, labels=CATEGORIES, zero_division=0
            )
    assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert figures["accuracy_ci95"] == pytest.approx(wilson(right.sum(), len(rows)), abs=1e-6)
    matrix = confusion_matrix(labels, said, labels=CATEGORIES)
    assert figures["confusion_matrix"] == matrix.tolist()


def test_report_shows_its_pictures(report: Path) -> None:
    text = (report / "report.md").read_text()
    pictures = re.findall(r"!\[.+?\]\((.+?)\)", text)
    assert len(pictures) == 6
    for picture in pictures:
        assert len(Image.open(report / picture).convert("L").getcolors()) > 10
    metrics = json.loads((report / "metrics.json").read_text())
    assert f"{metrics['vgg16']['test']['accuracy']:.1%}".replace("%", " %") in text
    # Tables on GitHub: each begins after an empty line, and its rows have as many cells.
    for table in re.findall(r"\n\n((?:\|.*\n)+)", text):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table
    assert not re.search(r"\n[^|\n].*\n\|", text)


def test_rules_are_found_on_validation_and_checked_on_test(report: Path) -> None:
    metrics = json.loads((report / "metrics.json").read_text())
    predictions = pd.read_csv(report / "predictions.csv")
    decided = decisions(predictions, metrics)
    assert len(metrics["rules"]) == 6
    for rule in metrics["rules"]:
        table = decided[rule["by"]]
        validation = table[predictions["split"] == "validation"]
        confidences, right = validation["confidence"].to_numpy(), validation["right"].to_numpy()
        sorted_ = rule["validation"]["sorted"]
        unsure = confidences == 0
        best = largest_coverage(confidences[~unsure], right[~unsure], rule["precision"])
        assert sorted_ == pytest.approx(best * (~unsure).sum())
        test = table[predictions["split"] == "test"]
        reached = test["confidence"] >= (rule["threshold"] or math.inf)
        assert rule["test"]["sorted"] == reached.sum()
        assert rule["test"]["mistakes"] == (~test["right"][reached]).sum()


def test_importance_is_the_mean_similarity(report: Path, models: Models) -> None:
    found = json.loads((report / "metrics.json").read_text())["importance"]
    photos = load_photos(all_test=True)["test"]
    rows = np.array(photos["label"]) == CATEGORIES.index("watches")
    embeddings = models.zero_shot.encode_photos(
        prepare(photos["image"], models.zero_shot.processor)
    )
    similarities = embeddings @ models.zero_shot.encode_texts((DESCRIPTIONS["watches"],))[0]
    assert found["watches"]["own"] == pytest.approx(similarities[rows].mean(), abs=1e-4)
    assert found["watches"]["margin"] == pytest.approx(
        similarities[rows].mean() - similarities[~rows].mean(), abs=1e-4
    )


def test_embeddings_are_kept_in_the_order_of_the_predictions(report: Path, models: Models) -> None:
    kept = load_file(report / EMBEDDINGS)["image_embeddings"].astype(np.float32)
    similarities = kept @ models.zero_shot.encode_texts(tuple(DESCRIPTIONS.values())).T
    predictions = pd.read_csv(report / "predictions.csv")
    columns = [f"zero_shot {category}" for category in CATEGORIES]
    np.testing.assert_allclose(similarities, predictions[columns], atol=1e-3)


def test_validation_photos_count_as_they_were_seen_before_the_refit(
    models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    photos = load_photos()
    photos["validation"] = photos["validation"].select(range(0, 14, 2))
    photos["train"] = photos["test"] = photos["validation"]
    before = pd.DataFrame(np.full((7, 7), 1 / 7), digests(photos["validation"]), CATEGORIES)
    before["watches"] += 0.1
    before.to_csv(tmp_path / BEFORE_REFIT, index_label="sha256")
    monkeypatch.setattr(models.vgg16, "folder", tmp_path)
    predictions, _ = score(models, photos, STUDY)
    watches = predictions.groupby("split")["vgg16 watches"]
    assert watches.get_group("validation").to_numpy() == pytest.approx(1 / 7 + 0.1)
    assert (watches.get_group("test").to_numpy() != watches.get_group("validation")).all()


def test_photos_that_no_model_has_seen_are_all_test() -> None:
    photos = load_photos(all_test=True)
    assert list(photos) == ["test"] and len(photos["test"]) == sum(load_photos().num_rows.values())


def test_without_validation_nothing_is_fitted() -> None:
    predictions = pd.read_csv(REPORT / "predictions.csv").query("split == 'test'")
    described = {model: {"model": model, "logit_scale": 20.0} for model in MODELS}
    metrics = measure(predictions, described)
    assert metrics["rules"] == [] and metrics["vgg16"]["temperature"] == 1
    figures = metrics["vgg16"]["test"]
    assert figures["ece"] == pytest.approx(figures["ece_calibrated"], abs=1e-6)


# --- the tab -------------------------------------------------------------------------------------


@pytest.fixture
def tab(browser: Browser, app: RunningApp) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(app.url)
    expect(page.locator("#answer tbody tr")).to_have_count(7, timeout=20_000)
    start = time.monotonic()
    page.get_by_role("tab", name="Evaluation").click()
    expect(page.locator(".evaluation .matrix")).to_have_count(2)
    assert time.monotonic() - start < 1
    yield page
    page.close()


def test_tab_shows_the_figures_of_the_report(tab: Page) -> None:
    metrics = json.loads((REPORT / "metrics.json").read_text())
    for model in MODELS:
        row = tab.locator(f".evaluation .figures tr.{model.replace('_', '-')}")
        expect(row).to_contain_text(f"{metrics[model]['test']['accuracy']:.1%}")
    cells = tab.locator(".matrix.vgg16 button").all_inner_texts()
    matrix = np.array(metrics["vgg16"]["test"]["confusion_matrix"])
    assert [int(cell.replace("·", "0")) for cell in cells] == matrix.flatten().tolist()


def test_slider_counts_what_is_sorted_and_the_mistakes(tab: Page) -> None:
    metrics = json.loads((REPORT / "metrics.json").read_text())
    predictions = pd.read_csv(REPORT / "predictions.csv").query("split == 'test'")
    vgg16 = decisions(predictions, metrics)["vgg16"]
    field = tab.get_by_role("spinbutton")
    for threshold in (0.3, 0.8):
        field.fill(str(threshold))
        field.press("Enter")
        reached = vgg16["confidence"] >= threshold
        row = tab.locator(".coverage tr.vgg16 td")
        expect(row.nth(1)).to_have_text(f"{reached.sum()} of {len(vgg16)}")
        expect(row.nth(2)).to_have_text(str((reached & ~vgg16["right"]).sum()))


def test_clicked_cell_shows_its_photos(tab: Page) -> None:
    tab.get_by_label("the bundled sample of rendered photos").click()
    cell = tab.locator(".matrix.vgg16 button").nth(7 * 7 - 1)
    expect(cell).to_have_text(re.compile(r"\d+"))
    cell.click()
    expect(tab.locator("#cell")).to_contain_text("photos of watches, which VGG16 calls watches")
    count = int(cell.inner_text())
    expect(tab.locator(".evaluation .thumbnail-item")).to_have_count(count)


def test_cell_of_photos_that_are_not_shipped_names_them(tab: Page) -> None:
    cell = tab.locator(".matrix.vgg16 button").nth(7 * 7 - 1)
    cell.click()
    expect(tab.locator("#cell")).to_contain_text("not shipped with the demo")
    expect(tab.locator("#cell")).to_contain_text(".jpg")
