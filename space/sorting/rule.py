"""What may be sorted without a person: a rule from the comparison's report, and its decisions.

    report, validation --find_rule--> Rule --sort_pixels--> a category, or "person"

No threshold is written here: it is the report's, and the report's test photos say what to expect.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from data.categories import CATEGORIES, DESCRIPTIONS
from space.models.classifiers import zero_shot_scores
from space.models.scoring import Models
from space.report.report import (
    MODELS,
    REPORT,
    decisions,
    expected,
    is_of,
    read_metrics,
    read_predictions,
)
from space.report.statistics import coverage_at_precision

PERSON = "person"
TEXTS = tuple(DESCRIPTIONS.values())
COMMAND = "python training/compare_models.py --dataset products.csv --output space/report"


class RuleError(ValueError):
    """No rule can be found; the text is one sentence that says what to do."""


@dataclass(frozen=True)
class Rule:
    """Sort a photo where the confidence reaches a threshold, leave the others to a person."""

    # The share of what is sorted that was right on validation, at least; in (0, 1].
    precision: float
    # Whose confidence counts: "vgg16", "zero_shot", or "both" (0 where they disagree).
    by: str
    # In [0, 1]; infinite where no threshold is right often enough.
    threshold: float
    # Of each model: its name as `model`, revision, texts, logit_scale, temperature.
    models: dict[str, dict]
    # What the rule does on the report's test photos: see `space.report.expected`.
    test: dict
    # Whether the report is of this zero-shot model, too; where not, it has no say.
    zero_shot_measured: bool = True

    def names(self) -> str:
        """Who decides, as people read it."""
        return " and ".join(
            self.models[model]["model"] for model in MODELS if self.by in (model, "both")
        )

    def in_words(self) -> str:
        """The rule, and what to expect of it."""
        test, agree = self.test, "agree and are" if self.by == "both" else "is"
        if test["sorted"]:
            words = (
                f"Sorted without a person: where {self.names()} {agree} at least "
                f"{self.threshold:.1%} sure (on validation, {self.precision:.1%} of such photos or "
                f"more were right). Of {test['n']} test photos this sorts {test['sorted']} "
                f"({_interval(test['sorted_ci95'])}), {test['mistakes']} of them wrong (right: "
                f"{_interval(test['precision_ci95'])})."
            )
        else:
            words = f"No photo is sorted without a person at a precision of {self.precision:.1%}."
        if self.zero_shot_measured:
            return words
        name = self.models["zero_shot"]["model"]
        return f"{words} {name} has no say until it is measured, with `{COMMAND}`."


def find_rule(precision: float, models: Models, folder: Path = REPORT) -> Rule:
    """The rule that sorts most validation photos of a report, and enough of them right.

    Where the report is of another zero-shot model, VGG16 decides alone.

    Args:
        precision: the share of what is sorted that must be right, in (0, 1].
        models: those that will sort; the report must be of this VGG16.
        folder: what training/compare_models.py left.

    Raises:
        RuleError: no such report, one of another VGG16, or one without validation.
    """
    if not 0 < precision <= 1:
        raise RuleError(f"A precision is a share above 0 and up to 1, such as 0.99: {precision}.")
    try:
        predictions, metrics = read_predictions(folder), read_metrics(folder)
        decided = decisions(predictions, metrics)
    except (OSError, ValueError, KeyError) as error:
        raise RuleError(f"{folder} holds no comparison: make one with `{COMMAND}`.") from error
    splits = predictions["split"]
    if not {"validation", "test"} <= set(splits):
        raise RuleError(f"{folder} needs validation and test photos: compare without --all-test.")
    used = ("model", "revision", "texts", "logit_scale", "temperature")
    kept = {model: {key: metrics[model][key] for key in used} for model in MODELS}
    zero_shot_measured = is_of(kept["zero_shot"], models.zero_shot_identity, TEXTS)
    if not zero_shot_measured:
        identity = models.zero_shot_identity
        values = (identity.model, identity.revision, TEXTS, models.zero_shot.logit_scale, 1.0)
        kept["zero_shot"] = dict(zip(used, values, strict=True))
        decided = {"vgg16": decided["vgg16"]}
    check_models(kept, models)
    found = {}
    for way, table in decided.items():
        sure, right = table.loc[splits == "validation", ["confidence", "right"]].to_numpy().T
        found[way] = coverage_at_precision(sure.astype(float), right.astype(bool), precision)
    by = max(found, key=lambda way: found[way].share)
    threshold = found[by].threshold
    test = expected(decided[by][splits == "test"], threshold)
    return Rule(precision, by, threshold, kept, test, zero_shot_measured)


def check_models(measured: dict[str, dict], models: Models) -> None:
    """Refuse to sort with other models, or texts, than those that a rule was found for.

    Raises:
        RuleError: the revision or the texts of one differ.
    """
    loaded = {"vgg16": (models.vgg16_identity, ()), "zero_shot": (models.zero_shot_identity, TEXTS)}
    for model, (identity, texts) in loaded.items():
        if not is_of(measured[model], identity, texts):
            raise RuleError(
                f"The report is of another {measured[model]['model']}, or other texts, than would "
                f"sort here: measure these first, with `{COMMAND}`."
            )


def sort_pixels(
    models: Models, rule: Rule, vgg16_pixels: torch.Tensor, zero_shot_pixels: torch.Tensor
) -> pd.DataFrame:
    """Decide of n photos as each model is shown them, (n, 3, height, width): see `decide`."""
    return decide(rule, score_pixels(models, vgg16_pixels, zero_shot_pixels))


def score_pixels(
    models: Models, vgg16_pixels: torch.Tensor, zero_shot_pixels: torch.Tensor
) -> pd.DataFrame:
    """The seven scores of each model, a row a photo, named as in a report's predictions."""
    probabilities = models.vgg16.classify(vgg16_pixels)
    embeddings = models.zero_shot.encode_photos(zero_shot_pixels)
    similarities, _ = zero_shot_scores(
        embeddings, models.zero_shot.encode_texts(TEXTS), models.zero_shot.logit_scale
    )
    values = np.hstack([probabilities, similarities]).astype(float)
    columns = [f"{model} {category}" for model in MODELS for category in CATEGORIES]
    return pd.DataFrame(values, columns=columns)


def decide(rule: Rule, scores: pd.DataFrame) -> pd.DataFrame:
    """Decide of scored photos.

    Returns:
        A row a photo: vgg16, vgg16_confidence, zero_shot, zero_shot_confidence (categories, and
        calibrated probabilities), agree (bool), decision (a category, or "person"), why (text).
    """
    decided = decisions(scores, rule.models)
    rows = pd.DataFrame()
    for model in MODELS:
        rows[model] = np.array(CATEGORIES)[decided[model]["choice"]]
        rows[f"{model}_confidence"] = decided[model]["confidence"]
    rows["agree"] = rows["vgg16"] == rows["zero_shot"]
    choice, sure = np.array(CATEGORIES)[decided[rule.by]["choice"]], decided[rule.by]["confidence"]
    rows["decision"] = np.where(sure >= rule.threshold, choice, PERSON)
    rows["why"] = [_why(rule, confidence) for confidence in sure]
    return rows


def _why(rule: Rule, confidence: float) -> str:
    if not confidence:
        return f"{rule.names()} disagree"
    enough = "" if confidence >= rule.threshold else f", under {rule.threshold:.1%}"
    return f"{rule.names()}: {confidence:.1%} sure{enough}"


def _interval(ci95: tuple[float, float]) -> str:
    return f"95% interval {ci95[0]:.1%} to {ci95[1]:.1%}"
