"""The figures of a report, computed by scikit-learn and scipy: nothing is fetched from the Hub."""

from dataclasses import asdict

import datasets
import evaluate
import numpy as np
import pandas as pd
from scipy.special import softmax
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from space.report.report import Report
from space.report.statistics import (
    Accuracy,
    accuracy,
    coverage_at_precision,
    difference_in_words,
    expected_calibration_error,
    paired_difference,
    reliability,
    wilson_interval,
)

PRECISIONS = (0.95, 0.99)


class ClassificationReport(evaluate.Metric):
    """Accuracy with its 95 % interval (Wilson), precision, recall, F1, and the confusion matrix."""

    def _info(self) -> evaluate.MetricInfo:
        classes = {name: datasets.Value("int64") for name in ("predictions", "references")}
        return evaluate.MetricInfo(
            description=str(self.__doc__),
            citation="",
            inputs_description="predictions, references: class indices; categories: their names",
            features=datasets.Features(classes),
        )

    def _compute(
        self, predictions: np.ndarray, references: np.ndarray, categories: list[str]
    ) -> dict[str, object]:
        labels = range(len(categories))
        *by_class, counts = precision_recall_fscore_support(
            references, predictions, labels=labels, zero_division=0
        )
        names = ("precision", "recall", "f1")
        figures = dict(zip(names, by_class, strict=True))
        found = accuracy(np.equal(predictions, references))
        return {
            "n": found.n,
            "accuracy": found.accuracy,
            "accuracy_ci95": found.ci95,
            **{f"macro_{name}": float(values.mean()) for name, values in figures.items()},
            **{
                f"weighted_{name}": float(np.average(values, weights=counts))
                for name, values in figures.items()
            },
            "per_class": {
                category: {name: float(values[index]) for name, values in figures.items()}
                | {"n": int(counts[index])}
                for index, category in enumerate(categories)
            },
            "confusion_matrix": confusion_matrix(references, predictions, labels=labels).tolist(),
        }


def measure(report: Report) -> dict[str, object]:
    """All figures: of each model by split, of both side by side, of rules, and of importance."""
    figures: dict[str, object] = {
        model.key: asdict(model)
        | {split: of_model(report.of(split), model.key) for split in report.splits}
        for model in report.models
    }
    figures["both"] = {split: side_by_side(report.of(split)) for split in report.splits}
    figures["rules"] = rules(report)
    figures["importance"] = importance(report)
    return figures


def of_model(report: Report, key: str) -> dict[str, object]:
    """The figures of one model; its calibration as it is, and after temperature scaling."""
    table, probabilities = report.decided()[key], softmax(report.logits(key), axis=1).max(1)
    right, confidences = table["right"].to_numpy(), table["confidence"].to_numpy()
    return (
        ClassificationReport().compute(
            predictions=table["choice"], references=report.labels, categories=report.categories
        )
        | {
            "ece": expected_calibration_error(probabilities, right),
            "reliability": reliability(probabilities, right),
            "ece_calibrated": expected_calibration_error(confidences, right),
            "reliability_calibrated": reliability(confidences, right),
        }
        | _coverages(probabilities, right)
    )


def _coverages(confidences: np.ndarray, right: np.ndarray) -> dict[str, float]:
    return {
        f"coverage_at_precision_{round(100 * precision)}": coverage_at_precision(
            confidences, right, precision
        ).share
        for precision in PRECISIONS
    }


def side_by_side(report: Report) -> dict[str, object]:
    """Both models on the same photos: who is right more often, and what agreement is worth."""
    decided = report.decided()
    first, second = (decided[model.key]["right"].to_numpy() for model in report.models[:2])
    agree = decided["both"]["confidence"].to_numpy() > 0
    found = paired_difference(first, second)
    return {
        "n": len(agree),
        "agree": int(agree.sum()),
        "right_where_they_agree": int(first[agree].sum()),
        "one_is_right": int((first | second).sum()),
        **found._asdict(),
        "in_words": difference_in_words(found, *(model.name for model in report.models[:2])),
        **_coverages(decided["both"]["confidence"].to_numpy(), first),
    }


def rules(report: Report) -> list[dict[str, object]]:
    """What is sorted without a person at a threshold found on validation, and what on test."""
    if "validation" not in report.splits:
        return []
    decided = {split: report.of(split).decided() for split in ("validation", "test")}
    found = []
    for precision in PRECISIONS:
        for way, table in decided["validation"].items():
            confidences, right = table["confidence"].to_numpy(), table["right"].to_numpy()
            best = coverage_at_precision(confidences, right, precision)
            found.append(
                {
                    "precision": precision,
                    "by": way,
                    "threshold": best.threshold if best.share else None,
                    **{split: reached(decided[split][way], best.threshold) for split in decided},
                }
            )
    return found


def reached(decided: pd.DataFrame, threshold: float) -> dict[str, object]:
    """How many photos reach a threshold, and how many mistakes are among them."""
    rows = decided[decided["confidence"] >= threshold]
    n, wrong = len(rows), int((~rows["right"]).sum())
    return {
        "n": len(decided),
        "sorted": n,
        "sorted_ci95": wilson_interval(n, len(decided)),
        "mistakes": wrong,
        "precision_ci95": wilson_interval(n - wrong, n) if n else None,
    }


def importance(report: Report) -> dict[str, dict[str, float]]:
    """The study's global importance: a text's mean similarity to its photos and to the others."""
    similarities = report.similarities("zero_shot")
    found = {}
    for index, category in enumerate(report.categories):
        own = report.labels == index
        mean, others = (float(similarities[rows, index].mean()) for rows in (own, ~own))
        found[category] = {"own": mean, "others": others, "margin": mean - others}
    return found


def as_sentence(figures: dict[str, object]) -> str:
    """The accuracy of a ClassificationReport in words."""
    return str(Accuracy(figures["accuracy"], figures["n"], figures["accuracy_ci95"]))
