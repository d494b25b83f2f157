"""A run of the training on the bundled sample, and the figures that it and the comparison leave."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from transformers import pipeline

from data.categories import CATEGORIES, DESCRIPTIONS
from data.load import load_photos
from space.compare import Models
from tests.conftest import ROOT
from training.compare_models import measure
from training.metrics import ClassificationReport


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that train_vgg.py leaves after two epochs on the bundled sample."""
    folder = tmp_path_factory.mktemp("trained") / "vgg16"
    command = [sys.executable, "training/train_vgg.py", "--epochs", "2", "--output", str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "Starting from the bundled trunk" in run.stdout
    return folder


def test_training_on_the_sample_beats_chance(trained: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    right = sum(metrics[split]["accuracy"] * metrics[split]["n"] for split in metrics)
    seen = sum(metrics[split]["n"] for split in metrics)
    # Three standard deviations above guessing one of seven.
    chance = seen / 7
    assert right > chance + 3 * math.sqrt(chance * 6 / 7)


def test_trained_folder_answers_in_one_line(trained: Path) -> None:
    photo = load_photos()["test"][0]["image"]
    answer = pipeline("image-classification", model=str(trained), device="cpu")(photo, top_k=7)
    assert {row["label"] for row in answer} == set(CATEGORIES)
    assert (trained / "model.safetensors").stat().st_size < 40e6


def test_init_that_is_no_vgg16_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "training/train_vgg.py", "--init", str(tmp_path / "none")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1
    assert "--init takes a safetensors file" in run.stderr and "Traceback" not in run.stderr


def test_report_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    references = rng.integers(0, 7, 200)
    predictions = np.where(rng.random(200) < 0.7, references, rng.integers(0, 7, 200))
    report = ClassificationReport().compute(
        predictions=predictions, references=references, labels=list(range(7))
    )
    assert report["accuracy"] == pytest.approx(accuracy_score(references, predictions))
    assert report["macro_f1"] == pytest.approx(f1_score(references, predictions, average="macro"))
    assert report["confusion_matrix"] == confusion_matrix(references, predictions).tolist()


@pytest.mark.parametrize("right", [0, 7, 10])
def test_interval_is_wilsons(right: int) -> None:
    report = ClassificationReport().compute(
        predictions=[0] * right + [1] * (10 - right), references=[0] * 10, labels=[0, 1]
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
    right = sum(
        int(np.argmax(models.vgg16.classify(row["image"]).values)) == row["label"] for row in photos
    )
    assert report["vgg16"]["test"]["n"] == len(photos)
    assert report["vgg16"]["test"]["accuracy"] == pytest.approx(right / len(photos))
