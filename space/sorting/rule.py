"""What may be sorted without a person: a rule from the comparison's report, and its decisions.

    report, validation --find_rule--> Rule --rows--> a category, or "person"

No threshold is written here: it is the report's, and the report's test photos say what to expect.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from data.errors import UserError
from space.models.classifiers import Models
from space.report.report import COMMAND, REPORT, decide, load_report
from space.report.statistics import wilson_interval

PERSON = "person"


class RuleError(UserError):
    """No rule can be found."""


@dataclass(frozen=True)
class Rule:
    """Sort a photo where the confidence reaches a threshold, leave the others to a person."""

    # Of what is sorted, so much was right on validation, or more; in (0, 1].
    precision: float
    # Whose confidence counts: a model's key, or "both" (0 where they disagree).
    by: str
    # In [0, 1]; infinite where no threshold is right often enough.
    threshold: float
    # In the order of the logits.
    categories: list[str]
    # By the key of each model.
    names: dict[str, str]
    weights: dict[str, str]
    temperatures: dict[str, float]
    # Models that the report does not measure: they have no say.
    unmeasured: list[str]
    # Of the report's test photos: how many, how many are sorted, how many of these are wrong.
    test: tuple[int, int, int]

    def deciders(self) -> str:
        """Who decides, as people read it."""
        return self.names.get(self.by) or " and ".join(self.names.values())

    def in_words(self) -> str:
        """The rule, and what to expect of it."""
        n, reached, wrong = self.test
        words = f"No photo is sorted without a person at a precision of {self.precision:.1%}."
        if reached:
            verb = "agree with" if self.by == "both" else "has"
            words = (
                f"Sorted without a person: where {self.deciders()} {verb} a confidence of at least "
                f"{self.threshold:.1%} (on validation, {self.precision:.1%} of such photos or more "
                f"were right). Of {n} test photos this sorts {reached} ({_interval(reached, n)}), "
                f"{wrong} of them wrong (right: {_interval(reached - wrong, reached)})."
            )
        for name in self.unmeasured:
            words += f" {name} has no say until it is measured, with `{COMMAND}`."
        return words

    def probabilities(self, logits: dict[str, np.ndarray]) -> np.ndarray:
        """Of each model after temperature scaling, (n, models, categories)."""
        return np.stack([softmax(logits[k] / self.temperatures[k], axis=1) for k in self.names], 1)

    def rows(self, logits: dict[str, np.ndarray]) -> pd.DataFrame:
        """Decide of n photos by each model's logits, (n, categories): a row a photo.

        For each model `key` and `key_confidence` (its first choice, and the confidence), agree
        (bool), decision (a category, or "person"), why (text).
        """
        decided, categories = decide(logits, self.temperatures), np.array(self.categories)
        table = pd.DataFrame()
        for key in self.names:
            table[key] = categories[decided[key]["choice"]]
            table[f"{key}_confidence"] = decided[key]["confidence"].to_numpy()
        table["agree"] = table[list(self.names)].nunique(axis=1) == 1
        choice, confidence = decided[self.by]["choice"], decided[self.by]["confidence"]
        table["decision"] = np.where(confidence >= self.threshold, categories[choice], PERSON)
        table["why"] = confidence.map(self._why)
        return table

    def _why(self, confidence: float) -> str:
        if not confidence:
            return f"{self.deciders()} disagree"
        enough = "" if confidence >= self.threshold else f", under {self.threshold:.1%}"
        return f"{self.deciders()}: confidence {confidence:.1%}{enough}"


def find_rule(precision: float, models: Models, folder: Path = REPORT) -> Rule:
    """The rule that sorts most validation photos of a report, and enough of them right.

    Where the report is of another zero-shot model, VGG16 decides alone. Raises RuleError where it
    is of another VGG16 or without validation, and ReportError where none can be read.
    """
    if not 0 < precision <= 1:
        raise RuleError(f"A precision is above 0 and up to 1, such as 0.99: {precision}.")
    report = load_report(folder)
    if not {"validation", "test"} <= set(report.splits):
        raise RuleError(f"Report {folder.name} lacks validation: compare without --all-test.")
    names = {model.key: model.identity.name for model in models}
    temperatures = {
        model.key: report.measured(model.key).temperature
        for model in models
        if report.measures(model)
    }
    if models.vgg16.key not in temperatures or any(
        set(report.categories) - set(model.categories) for model in models
    ):
        raise RuleError(
            f"The report in {folder.name} is of another {models.vgg16.identity.name}, or other "
            f"categories, than would sort here: measure these first, with `{COMMAND}`."
        )
    found = report.thresholds(precision)
    if len(temperatures) < len(models):
        found = {models.vgg16.key: found[models.vgg16.key]}
    by = max(found, key=lambda way: found[way].share)
    test = report.of("test").decided()[by]
    reached = test[test["confidence"] >= found[by].threshold]
    return Rule(
        precision,
        by,
        found[by].threshold,
        list(report.categories),
        names,
        weights={model.key: model.identity.weights for model in models},
        temperatures=dict.fromkeys(names, 1.0) | temperatures,
        unmeasured=[name for key, name in names.items() if key not in temperatures],
        test=(len(test), len(reached), int((~reached["right"]).sum())),
    )


def _interval(n: int, of: int) -> str:
    low, high = wilson_interval(n, of)
    return f"95% interval {low:.1%} to {high:.1%}"
