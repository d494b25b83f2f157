"""The figures of a report against scikit-learn, and the comparison of both models."""

import math

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
)

from data.categories import CATEGORIES, DESCRIPTIONS
from data.load import load_photos
from space.classifiers import prepare
from space.compare import Models
from training.compare_models import measure
from training.metrics import ClassificationReport


def test_report_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    references = rng.integers(0, 7, 200)
    predictions = np.where(rng.random(200) < 0.7, references, rng.integers(0, 7, 200))
    report = ClassificationReport().compute(
        predictions=predictions, references=references, categories=CATEGORIES
    )
    assert report["accuracy"] == pytest.approx(accuracy_score(references, predictions))
    assert report["macro_f1"] == pytest.approx(f1_score(references, predictions, average="macro"))
    for name, score in {
        "precision": precision_score,
        "recall": recall_score,
        "f1": f1_score,
    }.items():
        by_class = score(references, predictions, average=None)
        found = [report["per_class"][category][name] for category in CATEGORIES]
        assert found == pytest.approx(by_class)
    assert report["confusion_matrix"] == confusion_matrix(references, predictions).tolist()


@pytest.mark.parametrize("right", [0, 7, 10])
def test_interval_is_wilsons(right: int) -> None:
    report = ClassificationReport().compute(
        predictions=[0] * right + [1] * (10 - right), references=[0] * 10, categories=["a", "b"]
    )
    z, n, p = 1.959963985, 10, right / 10
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert report["accuracy_ci95"] == pytest.approx([centre - half, centre + half], abs=1e-6)


def test_comparison_counts_what_the_models_say(models: Models) -> None:
    photos = load_photos()["test"]
    report = measure(models, photos)
    assert report["zero_shot"]["texts"] == list(DESCRIPTIONS.values())
    assert report["vgg16"]["revision"] == models.vgg16_identity.revision
    probabilities = models.vgg16.classify(prepare(photos["image"], models.vgg16.processor))
    right = (probabilities.argmax(1) == np.array(photos["label"])).sum()
    assert report["vgg16"]["test"]["n"] == len(photos)
    assert report["vgg16"]["test"]["accuracy"] == pytest.approx(right / len(photos))
