"""The figures of a report, computed by scikit-learn and scipy: nothing is fetched from the Hub."""

from dataclasses import asdict

import datasets
import evaluate
import numpy as np
import pandas as pd
from scipy.special import softmax
from sklearn.metrics import classification_report, confusion_matrix

from space.report import statistics
from space.report.report import Report

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
        found = classification_report(
            references,
            predictions,
            labels=labels,
            target_names=categories,
            output_dict=True,
            zero_division=0,
        )
        scores = pd.DataFrame(found).rename({"f1-score": "f1"}).drop("support")
        right = statistics.accuracy(np.equal(predictions, references))
        return {
            "n": right.n,
            "accuracy": right.accuracy,
            "accuracy_ci95": right.ci95,
            **{
                f"{average}_{name}": value
                for average in ("macro", "weighted")
                for name, value in scores[f"{average} avg"].items()
            },
            "per_class": {
                category: {**scores[category], "n": int(found[category]["support"])}
                for category in categories
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
    right = table["right"].to_numpy()
    figures = ClassificationReport().compute(
        predictions=table["choice"], references=report.labels, categories=report.categories
    )
    for kind, confidences in (("", probabilities), ("_calibrated", table["confidence"].to_numpy())):
        figures[f"ece{kind}"] = statistics.expected_calibration_error(confidences, right)
        figures[f"reliability{kind}"] = statistics.reliability(confidences, right)
    return figures | _coverages(probabilities, right)


def _coverages(confidences: np.ndarray, right: np.ndarray) -> dict[str, float]:
    return {
        f"coverage_at_precision_{round(100 * precision)}": statistics.coverage_at_precision(
            confidences, right, precision
        ).share
        for precision in PRECISIONS
    }


def side_by_side(report: Report) -> dict[str, object]:
    """Both models on the same photos: who is right more often, and what agreement is worth."""
    decided = report.decided()
    first, second = (decided[model.key]["right"].to_numpy() for model in report.models)
    confidences = decided["both"]["confidence"].to_numpy()
    agree, found = confidences > 0, statistics.paired_difference(first, second)
    return {
        "n": len(agree),
        "agree": int(agree.sum()),
        "right_where_they_agree": int(first[agree].sum()),
        "one_is_right": int((first | second).sum()),
        **found._asdict(),
        "in_words": statistics.difference_in_words(found, *(model.name for model in report.models)),
        **_coverages(confidences, first),
    }


def rules(report: Report) -> list[dict[str, object]]:
    """What is sorted without a person at a threshold found on validation, and what on test."""
    if "validation" not in report.splits:
        return []
    decided = {split: report.of(split).decided() for split in ("validation", "test")}
    return [
        {
            "precision": precision,
            "by": way,
            "threshold": best.threshold if best.share else None,
            **{split: reached(tables[way], best.threshold) for split, tables in decided.items()},
        }
        for precision in PRECISIONS
        for way, best in report.thresholds(precision).items()
    ]


def reached(decided: pd.DataFrame, threshold: float) -> dict[str, object]:
    """How many photos reach a threshold, and how many mistakes are among them."""
    rows = decided[decided["confidence"] >= threshold]
    n, wrong = len(rows), int((~rows["right"]).sum())
    return {
        "n": len(decided),
        "sorted": n,
        "sorted_ci95": statistics.wilson_interval(n, len(decided)),
        "mistakes": wrong,
        "precision_ci95": statistics.wilson_interval(n - wrong, n) if n else None,
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
    return str(statistics.Accuracy(figures["accuracy"], figures["n"], figures["accuracy_ci95"]))
