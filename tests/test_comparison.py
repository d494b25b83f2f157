"""The comparison: its figures against independent computations, and its files."""

import io
import json
import math
import re
import runpy
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
)

from data.categories import CATEGORIES
from data.errors import UserError
from data.labelled import load_photos
from space.models.checkpoints import save_before_refit
from space.models.classifiers import Models
from space.models.engine import digest
from space.pages import evaluation
from space.report.figures import PLOTS
from space.report.metrics import ClassificationReport, measure
from space.report.report import REPORT, REPORTS, Report, decide, load_embeddings, load_report
from space.report.statistics import (
    coverage_at_precision,
    coverage_curve,
    expected_calibration_error,
    fit_temperature,
    paired_difference,
)
from tests.conftest import ROOT
from training.compare_models import compare, illustrate

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
    logits = {
        "vgg16": np.log([[0.02] * 6 + [0.88]] * 2),
        "zero_shot": 20 * np.array([[0.1] * 6 + [0.2], [0.3] + [0.1] * 6]),
    }
    decided = decide(logits, {"vgg16": 2.0, "zero_shot": 2.0})
    vgg16, zero_shot = (softmax(values[0] / 2).max() for values in logits.values())
    assert list(decided) == ["vgg16", "zero_shot", "both"]
    assert decided["both"]["confidence"].tolist() == pytest.approx([(vgg16 + zero_shot) / 2, 0])
    assert decided["both"]["choice"][0] == 6


# --- the report ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Path:
    """What the command leaves of the bundled sample."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        # Loaded already.
        patch.setattr("space.models.checkpoints.load_models", lambda *_: models)
        patch.setattr("sys.argv", ["compare_models.py", "--output", str(folder)])
        runpy.run_path(str(ROOT / "training" / "compare_models.py"), run_name="__main__")
    assert "McNemar" in printed.getvalue()
    return folder


@pytest.mark.parametrize("name", ["real", "better", "sample"])
def test_every_figure_follows_from_the_predictions(name: str) -> None:
    report = load_report(REPORTS / name)
    metrics = measure(report)
    kept = json.loads((REPORTS / name / "figures.json").read_text())
    for model in report.models:
        for split in report.splits:
            _check_figures(metrics[model.key][split], report.of(split), model.key)
            accuracy = metrics[model.key][split]["accuracy"]
            assert kept[model.key][split]["accuracy"] == pytest.approx(accuracy)


def _check_figures(figures: dict, report: Report, key: str) -> None:
    labels, logits = report.labels, report.logits(key)
    choices = logits.argmax(1)
    confidences = softmax(logits / report.measured(key).temperature, axis=1).max(1)
    unscaled = softmax(logits, axis=1).max(1)
    right = labels == choices
    expected = {
        "n": len(labels),
        "accuracy": accuracy_score(labels, choices),
        "ece": calibration_error(unscaled, right),
        "ece_calibrated": calibration_error(confidences, right),
        "coverage_at_precision_95": largest_coverage(unscaled, right, 0.95),
    }
    for name, score_of in SCORES.items():
        for average in ("macro", "weighted"):
            expected[f"{average}_{name}"] = score_of(
                labels, choices, average=average, labels=range(7), zero_division=0
            )
    assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert figures["accuracy_ci95"] == pytest.approx(wilson(right.sum(), len(labels)), abs=1e-6)
    matrix = confusion_matrix(labels, choices, labels=range(7))
    assert figures["confusion_matrix"] == matrix.tolist()


def test_report_shows_its_pictures(folder: Path) -> None:
    text = (folder / "report.md").read_text()
    pictures = re.findall(r"!\[.+?\]\((.+?)\)", text)
    assert len(pictures) == 6
    for picture in pictures:
        assert len(Image.open(folder / picture).convert("L").getcolors()) > 10
    # Tables on GitHub: each begins after an empty line, and its rows have as many cells.
    for table in re.findall(r"\n\n((?:\|.*\n)+)", text):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table
    assert not re.search(r"\n[^|\n].*\n\|", text)


@pytest.mark.parametrize("name", list(PLOTS))
def test_folder_and_page_draw_a_figure_by_one_function(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn, panels = [], list(PLOTS[name].panels)
    plot = replace(PLOTS[name], draw=lambda axis, report, panel: drawn.append(panel))
    monkeypatch.setitem(PLOTS, name, plot)
    illustrate(load_report(), measure(load_report()), None, tmp_path)
    assert drawn == panels
    # What the page keeps of them is drawn anew.
    for html in (evaluation.figures_html, evaluation.details_html):
        html.__wrapped__(REPORT)
    assert drawn == 2 * panels


def test_rules_are_found_on_validation_and_checked_on_test() -> None:
    report = load_report()
    rules = measure(report)["rules"]
    assert len(rules) == 6
    decided = {split: report.of(split).decided() for split in ("validation", "test")}
    for rule in rules:
        validation, test = (decided[split][rule["by"]] for split in ("validation", "test"))
        known = validation[validation["confidence"] > 0]
        best = largest_coverage(*known[["confidence", "right"]].to_numpy().T, rule["precision"])
        assert rule["validation"]["sorted"] == pytest.approx(best * len(known))
        reached = test["confidence"] >= (rule["threshold"] or math.inf)
        assert rule["test"]["sorted"] == reached.sum()
        assert rule["test"]["mistakes"] == (~test["right"][reached]).sum()


def test_embeddings_and_importance_are_of_the_predictions(folder: Path, models: Models) -> None:
    report = load_report(folder)
    embeddings = load_embeddings(folder, report, models.zero_shot)
    similarities = embeddings @ models.zero_shot.weights.T
    np.testing.assert_allclose(similarities, report.similarities("zero_shot"), atol=1e-3)
    own = report.labels == 6
    found = measure(report)["importance"]["watches"]
    expected = similarities[own, 6].mean(), similarities[~own, 6].mean()
    assert (found["own"], found["others"]) == pytest.approx(expected, abs=1e-4)


def _few() -> dict:
    photos = load_photos()
    few = photos["validation"].select(range(0, 14, 2))
    return type(photos)(dict.fromkeys(photos, few))


def test_validation_photos_count_as_they_were_before_the_refit(
    models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    photos = _few()
    backwards = CATEGORIES[::-1]
    before = np.zeros((7, 7))
    before[:, backwards.index("watches")] = 3
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert digest(tmp_path)
    save_before_refit(tmp_path, before, list(photos["validation"]["sha256"]), backwards)
    monkeypatch.setattr(models.vgg16, "folder", tmp_path)
    report, _ = compare(models, photos, "a few")
    watches = report.of("validation").logits("vgg16")
    assert (watches == np.eye(7)[6] * 3).all()
    assert (report.of("test").logits("vgg16") != watches).any()


def test_categories_are_found_by_name(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = _few()
    expected = compare(models, photos, "a few")[0]
    logits = models.vgg16.logits
    monkeypatch.setattr(models.vgg16, "categories", models.vgg16.categories[::-1])
    monkeypatch.setattr(models.vgg16, "logits", lambda pixels: logits(pixels)[:, ::-1])
    found = compare(models, photos, "a few")[0]
    np.testing.assert_allclose(found.logits("vgg16"), expected.logits("vgg16"), atol=1e-5)
    monkeypatch.setattr(models.vgg16, "categories", [*CATEGORIES[:6], "shoes"])
    with pytest.raises(UserError, match="shoes"):
        compare(models, photos, "a few")


def test_without_validation_nothing_is_fitted() -> None:
    report = load_report(REPORTS / "sample")
    assert report.splits == ["test"] and measure(report)["rules"] == []
    assert [model.temperature for model in report.models] == [1, 1]


def test_report_is_of_these_weights_and_texts(models: Models) -> None:
    report = load_report(REPORT)
    assert all(map(report.measures, models))
    assert not report.measures(models.zero_shot.with_texts({"watches": ["a watch"]}))
