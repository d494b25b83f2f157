"""The report of a comparison: a folder that compare_models.py writes and the page shows.

predictions.csv has a row a photo: image, split, label, and for each model its first choice, the
probability of it, and seven scores (VGG16's probabilities; the zero-shot model's cosine
similarities). metrics.json has what follows from them.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from data.categories import CATEGORIES
from space.models.checkpoints import Identity
from space.report.statistics import wilson_interval

# On real photos, with the study's texts and with better ones, and on the bundled sample.
REPORTS = Path(__file__).parents[1] / "reports"
REPORT, BETTER_REPORT, SAMPLE_REPORT = REPORTS / "real", REPORTS / "better", REPORTS / "sample"
MODELS = ("vgg16", "zero_shot")
# The zero-shot model's embeddings of the photos, in the order of predictions.csv.
EMBEDDINGS = "image_embeddings.safetensors"


def read_metrics(folder: Path = REPORT) -> dict[str, dict]:
    """The figures of a report."""
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def read_predictions(folder: Path = REPORT) -> pd.DataFrame:
    """A row a photo, as the report has it."""
    return pd.read_csv(folder / "predictions.csv")


def scores(predictions: pd.DataFrame, model: str) -> np.ndarray:
    """The seven scores of each photo, (n, 7)."""
    return predictions[[f"{model} {category}" for category in CATEGORIES]].to_numpy()


def logits(predictions: pd.DataFrame, model: str, logit_scale: float) -> np.ndarray:
    """What the softmax of gives the model's probabilities, (n, 7), up to a constant a photo."""
    values = scores(predictions, model)
    if model == "vgg16":
        # A float32 softmax may give 0, whose logarithm no temperature can be fitted to.
        return np.log(np.maximum(values, np.finfo(np.float32).tiny))
    return logit_scale * values


def calibrated(predictions: pd.DataFrame, model: str, metrics: dict[str, dict]) -> np.ndarray:
    """The model's probabilities after temperature scaling, (n, 7); for the rest see `decisions`."""
    scaled = logits(predictions, model, metrics[model]["logit_scale"])
    return softmax(scaled / metrics[model]["temperature"], axis=1)


def decisions(predictions: pd.DataFrame, metrics: dict[str, dict]) -> dict[str, pd.DataFrame]:
    """What would be decided of each photo by VGG16, by the zero-shot model, and by both.

    A model's confidence is its probability after temperature scaling. Both decide where they
    agree, with the mean of their confidences; where they do not, a person does: confidence 0.

    Args:
        predictions: see `read_predictions`.
        metrics: the logit scale and the temperature of each model.

    Returns:
        For `vgg16`, `zero_shot` and `both` the columns choice (index of a category), confidence
        (in [0, 1]) and, where the label is known, right (bool).
    """
    decided = {}
    for model in MODELS:
        shares = calibrated(predictions, model, metrics)
        decided[model] = pd.DataFrame(
            {"choice": shares.argmax(1), "confidence": shares.max(1)}, predictions.index
        )
    agree = decided["vgg16"]["choice"] == decided["zero_shot"]["choice"]
    mean = (decided["vgg16"]["confidence"] + decided["zero_shot"]["confidence"]) / 2
    decided["both"] = decided["vgg16"].assign(confidence=mean.where(agree, 0.0))
    if "label" in predictions:
        labels = predictions["label"].map(CATEGORIES.index)
        for table in decided.values():
            table["right"] = table["choice"] == labels
    return decided


def expected(decided: pd.DataFrame, threshold: float) -> dict[str, object]:
    """How many photos reach a threshold, and how many mistakes are among them."""
    reached = decided[decided["confidence"] >= threshold]
    n, wrong = len(reached), int((~reached["right"]).sum())
    return {
        "n": len(decided),
        "sorted": n,
        "sorted_ci95": wilson_interval(n, len(decided)),
        "mistakes": wrong,
        "precision_ci95": wilson_interval(n - wrong, n) if n else None,
    }


def is_of(measured: dict, identity: Identity, texts: tuple[str, ...]) -> bool:
    """Whether a model's figures are of this checkpoint, compared with these texts."""
    return measured["revision"] == identity.revision and tuple(measured["texts"]) == texts


def held_out_accuracy(model: str, identity: Identity, texts: tuple[str, ...] = ()) -> dict | None:
    """What the reports that ship with the Space say of this checkpoint with these texts.

    Args:
        model: `vgg16` or `zero_shot`.
        identity: the checkpoint in use.
        texts: what the zero-shot model compares with.

    Returns:
        The figures on the test split, or None where this checkpoint, or this set of texts, was not
        measured.
    """
    for folder in (REPORT, BETTER_REPORT):
        measured = read_metrics(folder)[model]
        if is_of(measured, identity, texts):
            return measured["test"]
    return None
