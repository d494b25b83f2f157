"""How sure to be: intervals, calibration, and what may be sorted without a person.

`confidences` are probabilities of first choices, (n,) in [0, 1]; `right` says which are right,
(n,) bool.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import binomtest, bootstrap

# As many as in Guo et al. 2017, where the measure is used for networks first.
ECE_BINS = 15


class Accuracy(NamedTuple):
    """The share of photos that is right."""

    accuracy: float
    n: int
    ci95: tuple[float, float]

    def __str__(self) -> str:
        low, high = self.ci95
        return (
            f"right on {self.accuracy:.1%} of {self.n} photos "
            f"(95% interval {low:.1%} to {high:.1%})"
        )


class Difference(NamedTuple):
    """By how much one model is right more often than another, on the same photos."""

    # In [-1, 1]; positive where the first is right more often.
    difference: float
    ci95: tuple[float, float]
    p_value: float


class Coverage(NamedTuple):
    """What is sorted without a person: all photos whose confidence reaches the threshold."""

    threshold: float
    share: float
    mistakes: int


def accuracy(right: np.ndarray) -> Accuracy:
    """The accuracy on n photos, with its interval."""
    return Accuracy(right.mean(), len(right), wilson_interval(right.sum(), len(right)))


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927): keeps to [0, 1] and holds for few photos."""
    return binomtest(right, n).proportion_ci(0.95, method="wilson")


def paired_difference(right: np.ndarray, other: np.ndarray) -> Difference:
    """McNemar's exact test (1947) and the bootstrap interval of the difference of two accuracies.

    Whether each of the two is right, photo by photo, (n,) bool: only photos that one gets right and
    the other wrong tell them apart.
    """
    gain = right.astype(int) - other.astype(int)
    apart = np.count_nonzero(gain)
    if not apart:
        return Difference(0.0, (0.0, 0.0), 1.0)
    p_value = binomtest(np.count_nonzero(gain > 0), apart).pvalue
    # Of many photos a part of the resamples at a time: all of them would fill the memory.
    options = {"method": "percentile", "rng": 0, "batch": max(1, 10**7 // len(gain))}
    interval = bootstrap((gain,), np.mean, **options).confidence_interval
    return Difference(gain.mean(), interval, p_value)


def difference_in_words(found: Difference, first: str, second: str) -> str:
    """Who is right more often, by how much, and whether chance explains it."""
    low, high = (100 * bound for bound in found.ci95)
    points = f"{100 * found.difference:+.1f} points (95% interval {low:+.1f} to {high:+.1f})"
    p_value = f"= {found.p_value:.2g}" if found.p_value >= 1e-4 else "< 0.0001"
    verdict = f"{first} against {second}: {points}, McNemar's p {p_value}"
    verdict = verdict[0].upper() + verdict[1:]
    if found.p_value >= 0.05:
        return f"{verdict}: the difference is within chance."
    better, worse = (first, second) if found.difference > 0 else (second, first)
    return f"{verdict}: {better} is right more often than {worse}, beyond chance."


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of the lowest cross-entropy (Guo et al. 2017, arXiv 1706.04599, section 4.2).

    The logits are (n, classes), up to a constant a photo; the labels are classes, (n,).
    """

    def cross_entropy(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -scaled[np.arange(len(labels)), labels].mean()

    return float(np.exp(minimize_scalar(cross_entropy, bounds=(-3, 3), method="bounded").x))


def reliability(confidences: np.ndarray, right: np.ndarray) -> list[dict[str, float]]:
    """For each bin of confidence that holds photos: how sure, how often right, how many."""
    # A bin holds its upper edge, as in Guo et al. 2017, section 2.
    bins = np.clip(np.ceil(confidences * ECE_BINS), 1, ECE_BINS)
    photos = pd.DataFrame({"confidence": confidences, "right": right})
    return [
        {"confidence": part["confidence"].mean(), "accuracy": part["right"].mean(), "n": len(part)}
        for _, part in photos.groupby(bins)
    ]


def expected_calibration_error(confidences: np.ndarray, right: np.ndarray) -> float:
    """The mean distance of confidence and accuracy over ECE_BINS bins of equal width, in [0, 1]."""
    bins = reliability(confidences, right)
    return sum(row["n"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / len(right)


def coverage_curve(confidences: np.ndarray, right: np.ndarray) -> list[Coverage]:
    """What is sorted, and how many mistakes are among it, for each threshold; the highest first.

    A confidence of 0 is never sorted.
    """
    # Photos of one confidence are sorted together or not at all.
    counts = pd.DataFrame({"sorted": 1, "mistakes": ~right}).groupby(confidences).sum()
    return [
        Coverage(threshold, n / len(right), mistakes)
        for threshold, n, mistakes in counts[::-1].cumsum().itertuples()
        if threshold > 0
    ]


def coverage_at_precision(confidences: np.ndarray, right: np.ndarray, precision: float) -> Coverage:
    """The lowest threshold above which at least this share is right; where none is, no photo."""
    best = Coverage(np.inf, 0.0, 0)
    for row in coverage_curve(confidences, right):
        if row.mistakes <= (1 - precision) * row.share * len(right) + 1e-9:
            best = row
    return best
