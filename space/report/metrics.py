"""The figures of a classifier on labelled photos, as evaluate.Metric objects.

Computed by scikit-learn and scipy, so that nothing is fetched from the Hub.
"""

import datasets
import evaluate
import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from space.report.statistics import (
    coverage_at_precision,
    expected_calibration_error,
    reliability,
    wilson_interval,
)


class ClassificationReport(evaluate.Metric):
    """Accuracy with its 95 % interval (Wilson), precision, recall, F1, and the confusion matrix."""

    def _info(self) -> evaluate.MetricInfo:
        return _info(self, "predictions, references: class indices; categories: their names")

    def _compute(
        self, predictions: np.ndarray, references: np.ndarray, categories: list[str]
    ) -> dict[str, object]:
        right = int(np.sum(np.asarray(predictions) == np.asarray(references)))
        labels = range(len(categories))
        by_class = precision_recall_fscore_support(
            references, predictions, labels=labels, zero_division=0
        )
        names = ("precision", "recall", "f1")
        counts = by_class[3]
        return {
            "n": len(references),
            "accuracy": right / len(references),
            "accuracy_ci95": wilson_interval(right, len(references)),
            **{
                f"macro_{name}": float(figures.mean())
                for name, figures in zip(names, by_class, strict=False)
            },
            **{
                f"weighted_{name}": float(np.average(figures, weights=counts))
                for name, figures in zip(names, by_class, strict=False)
            },
            "per_class": {
                name: {"precision": float(p), "recall": float(r), "f1": float(f), "n": int(count)}
                for name, p, r, f, count in zip(categories, *by_class, strict=True)
            },
            "confusion_matrix": confusion_matrix(references, predictions, labels=labels).tolist(),
        }


class Calibration(evaluate.Metric):
    """Whether a model is right as often as it is sure, and how much of its work needs no person."""

    def _info(self) -> evaluate.MetricInfo:
        return _info(
            self, "predictions, references: class indices; confidences: of the predictions", True
        )

    def _compute(
        self, predictions: np.ndarray, references: np.ndarray, confidences: np.ndarray
    ) -> dict[str, object]:
        right = np.asarray(predictions) == np.asarray(references)
        confidences = np.asarray(confidences)
        return {
            "ece": expected_calibration_error(confidences, right),
            "reliability": reliability(confidences, right),
            "coverage_at_precision_95": coverage_at_precision(confidences, right, 0.95).share,
            "coverage_at_precision_99": coverage_at_precision(confidences, right, 0.99).share,
        }


def as_sentence(figures: dict[str, object]) -> str:
    """The accuracy of a report in words, with its interval and the number of photos."""
    low, high = figures["accuracy_ci95"]
    return (
        f"right on {figures['accuracy']:.1%} of {figures['n']} photos "
        f"(95 % interval {low:.1%} to {high:.1%})"
    )


def _info(metric: evaluate.Metric, inputs: str, confidences: bool = False) -> evaluate.MetricInfo:
    features = {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
    if confidences:
        features["confidences"] = datasets.Value("float64")
    return evaluate.MetricInfo(
        description=str(metric.__doc__),
        citation="",
        inputs_description=inputs,
        features=datasets.Features(features),
    )
