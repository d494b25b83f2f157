"""The figures of an image classifier on labelled photos, as one evaluate.Metric."""

import datasets
import evaluate
import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support


class ClassificationReport(evaluate.Metric):
    """Accuracy with its 95 % interval, precision, recall and F1, and the confusion matrix.

    Computed by scikit-learn, so that nothing is fetched from the Hub. The interval is Wilson's
    (1927), which keeps to [0, 1] and holds for few photos.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=str(self.__doc__),
            citation="",
            inputs_description="predictions, references: class indices; categories: their names",
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(
        self, predictions: np.ndarray, references: np.ndarray, categories: list[str]
    ) -> dict[str, object]:
        right = int(np.sum(np.asarray(predictions) == np.asarray(references)))
        n = len(references)
        interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
        labels = range(len(categories))
        by_class = precision_recall_fscore_support(
            references, predictions, labels=labels, zero_division=0
        )
        precision, recall, f1 = (figures.mean() for figures in by_class[:3])
        matrix = confusion_matrix(references, predictions, labels=labels)
        return {
            "n": n,
            "accuracy": right / n,
            "accuracy_ci95": [float(interval.low), float(interval.high)],
            "macro_precision": float(precision),
            "macro_recall": float(recall),
            "macro_f1": float(f1),
            "per_class": {
                name: {"precision": float(p), "recall": float(r), "f1": float(f), "n": int(count)}
                for name, p, r, f, count in zip(categories, *by_class, strict=True)
            },
            "confusion_matrix": matrix.tolist(),
        }


def as_sentence(figures: dict[str, object]) -> str:
    """The accuracy of a report in words, with its interval and the number of photos."""
    low, high = figures["accuracy_ci95"]
    return (
        f"right on {figures['accuracy']:.1%} of {figures['n']} photos "
        f"(95 % interval {low:.1%} to {high:.1%})"
    )
