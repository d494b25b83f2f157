"""What a comparison of models on labelled photos found: a folder that compare_models.py writes.

    report.json         the data set, the categories, and what each model is (`Description`)
    predictions.csv     a row a photo: image, split, label, and each model's logits
    image_embeddings.safetensors    of the zero-shot model, in the order of predictions.csv

All figures follow from these.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.special import softmax

from data.errors import UserError
from data.texts import Texts
from space.models.classifiers import Model, ZeroShot
from space.report.statistics import Accuracy, Coverage, accuracy, coverage_at_precision

# On real photos, with the study's texts and with better ones; `sample` is on the bundled sample.
REPORTS = Path(__file__).parents[1] / "reports"
REPORT, BETTER_REPORT = REPORTS / "real", REPORTS / "better"
COMMAND = "python training/compare_models.py --dataset products.csv --output space/reports/real"
EMBEDDINGS = "image_embeddings.safetensors"


class ReportError(UserError):
    """No report that can be read."""


@dataclass(frozen=True)
class Measured:
    """A model that was measured."""

    key: str
    name: str
    kind: str
    checkpoint: str
    # The SHA-256 of the weights.
    weights: str
    # Of each category; none for a fine-tuned network.
    texts: Texts
    logit_scale: float
    # What the logits are divided by before the softmax that gives confidences.
    temperature: float


@dataclass(frozen=True)
class Description:
    """What was measured, and on what: report.json."""

    # In words.
    dataset: str
    categories: list[str]
    models: list[Measured]


DESCRIPTION = TypeAdapter(Description)


@dataclass(frozen=True)
class Report(Description):
    """What a comparison found."""

    # A row a photo: image, split, label, and `<key> <category>`, the logits of each model.
    predictions: pd.DataFrame

    def of(self, split: str) -> "Report":
        """The same of the photos of a split."""
        rows = self.predictions[self.predictions["split"] == split]
        return replace(self, predictions=rows.reset_index(drop=True))

    @property
    def splits(self) -> list[str]:
        return list(self.predictions["split"].unique())

    @property
    def names(self) -> dict[str, str]:
        """What people call those who decide: each model, by its key, and `both`."""
        names = {model.key: model.name for model in self.models}
        return names | {"both": "both, where they agree"}

    def measured(self, key: str) -> Measured:
        """The model of this key."""
        return next(model for model in self.models if model.key == key)

    def measures(self, model: Model) -> bool:
        """Whether these figures are of this model: of its weights, with its texts."""
        texts = model.texts if isinstance(model, ZeroShot) else {}
        known = [(measured.weights, measured.texts) for measured in self.models]
        return (model.identity.weights, texts) in known

    @cached_property
    def labels(self) -> np.ndarray:
        """The index of each photo's category, (n,)."""
        return self.predictions["label"].map(self.categories.index).to_numpy(int)

    def logits(self, key: str) -> np.ndarray:
        """A model's logits, (n, categories) float64."""
        return self.predictions[columns(key, self.categories)].to_numpy()

    def similarities(self, key: str) -> np.ndarray:
        """A zero-shot model's cosine similarities, (n, categories) in [-1, 1]."""
        return self.logits(key) / self.measured(key).logit_scale

    def decided(self) -> dict[str, pd.DataFrame]:
        """For each model and `both`: choice, confidence, and whether it is right; see `decide`."""
        logits = {model.key: self.logits(model.key) for model in self.models}
        tables = decide(logits, {model.key: model.temperature for model in self.models})
        return {
            way: table.assign(right=table["choice"] == self.labels) for way, table in tables.items()
        }

    def thresholds(self, precision: float) -> dict[str, Coverage]:
        """For each model and `both`: what may be sorted at a precision, as validation says."""
        return {
            way: coverage_at_precision(table["confidence"], table["right"], precision)
            for way, table in self.of("validation").decided().items()
        }


def columns(key: str, categories: list[str]) -> list[str]:
    """The columns of a model's logits."""
    return [f"{key} {category}" for category in categories]


def decide(
    logits: Mapping[str, np.ndarray], temperatures: Mapping[str, float]
) -> dict[str, pd.DataFrame]:
    """What would be decided of each photo by each model, and by all where they agree.

    By the logits (n, categories) and the temperature of each model: for each, and `both`, the
    columns choice (index of a category) and confidence. A model's confidence is its probability
    after temperature scaling, that of `both` the mean; where the models disagree it is 0, and a
    person decides.
    """
    decided = {}
    for key, values in logits.items():
        probabilities = softmax(values / temperatures[key], axis=1)
        decided[key] = pd.DataFrame(
            {"choice": probabilities.argmax(1), "confidence": probabilities.max(1)}
        )
    choices = np.stack([table["choice"] for table in decided.values()])
    mean = np.mean([table["confidence"] for table in decided.values()], axis=0)
    agreed = np.where((choices == choices[0]).all(0), mean, 0.0)
    return decided | {"both": pd.DataFrame({"choice": choices[0], "confidence": agreed})}


@cache
def load_report(folder: Path = REPORT) -> Report:
    """Read a report; a ReportError where there is none, or it is torn or of another form."""
    advice = f"make one with `{COMMAND}`."
    try:
        description = DESCRIPTION.validate_json((folder / "report.json").read_bytes())
        predictions = pd.read_csv(folder / "predictions.csv")
    except FileNotFoundError as error:
        raise ReportError(f"There is no report in {folder.name}: {advice}") from error
    except (OSError, ValueError) as error:
        raise ReportError(f"The report in {folder.name} cannot be read: {advice}") from error
    wanted = ["image", "split", "label"]
    for model in description.models:
        wanted += columns(model.key, description.categories)
    if (
        predictions.reindex(columns=wanted).isna().any(axis=None)
        or not predictions["label"].isin(description.categories).all()
        or "test" not in set(predictions["split"])
    ):
        raise ReportError(f"The report in {folder.name} is not whole: {advice}")
    return Report(**vars(description), predictions=predictions)


def save_report(report: Report, embeddings: np.ndarray, folder: Path) -> None:
    """Write a report, and the zero-shot model's embeddings (n, d) float32 of its photos."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_bytes(DESCRIPTION.dump_json(report, indent=1) + b"\n")
    report.predictions.to_csv(folder / "predictions.csv", index=False, float_format="%.7g")
    about = {"weights": report.measured("zero_shot").weights}
    save_file({"image_embeddings": embeddings}, folder / EMBEDDINGS, about)
    # Readable by others, as the files beside it are.
    (folder / EMBEDDINGS).chmod(0o644)


def load_embeddings(folder: Path, report: Report, model: ZeroShot) -> np.ndarray:
    """The model's image embeddings of a report's photos, (n, d) float32, of unit length.

    Raises ReportError where there are none, or they are of another model.
    """
    advice = f"measure {model.identity.name} ({model.identity.checkpoint}) with `{COMMAND}`."
    try:
        with safe_open(folder / EMBEDDINGS, "np") as file:
            weights = (file.metadata() or {}).get("weights")
            embeddings = file.get_tensor("image_embeddings")
    except (OSError, SafetensorError) as error:
        raise ReportError(f"The report has no image embeddings: {advice}") from error
    if weights != model.identity.weights or len(embeddings) != len(report.predictions):
        raise ReportError(
            f"The report is of another model, {report.measured(model.key).checkpoint}: {advice}"
        )
    return embeddings


def accuracy_of(model: Model) -> Accuracy | None:
    """What the reports that ship say of a model on test; None where it was not measured."""
    for folder in (REPORT, BETTER_REPORT):
        with suppress(ReportError):
            if (report := load_report(folder)).measures(model):
                return accuracy(report.of("test").decided()[model.key]["right"])
    return None
