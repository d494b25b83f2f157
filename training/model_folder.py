"""What a training leaves beside the weights: figures, pictures, and the card of the model."""

import json
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # draws to files: there may be no screen

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from accelerate import PartialState
from datasets import Dataset, DatasetDict
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from data.labelled import fingerprint
from space.models.checkpoints import count_parameters
from space.models.classifiers import ImageClassifier, prepare_all
from space.report.figures import draw_matrix
from space.report.metrics import ClassificationReport
from training.fine_tune import Recipe

TEMPLATE = Path(__file__).parent / "model_card.md"
PACKAGES = ("torch", "torchvision", "transformers", "timm", "datasets", "accelerate")


def measure(classifier: ImageClassifier, photos: Dataset) -> dict[str, object]:
    """The figures of a classifier on photos, each seen as the demo sees it."""
    batches = prepare_all(photos, classifier.processor, "Measuring")
    probabilities = np.concatenate([*map(classifier.classify, batches)])
    return ClassificationReport().compute(
        predictions=probabilities.argmax(1).tolist(),
        references=list(photos["label"]),
        categories=classifier.categories,
    )


def write_report(
    folder: Path,
    photos: DatasetDict,
    log: list[dict[str, float]],
    recipe: Recipe,
    *,
    dataset: str,
    seed: int,
    refit: bool,
) -> dict[str, dict]:
    """Measure the saved model and write all that stands beside it into its folder.

    metrics.json, confusion.png, training_log.csv, training_curve.png, run.json and README.md.

    Args:
        folder: holds the model.
        photos: train, validation and test.
        log: of `fine_tune`.
        recipe: what it was trained with.
        dataset: where the photos come from, in words.
        seed: of the training.
        refit: whether it was trained on validation, too.

    Returns:
        The figures of each split.
    """
    classifier = ImageClassifier(folder)
    classifier.to(str(PartialState().device))
    metrics = {split: measure(classifier, rows) for split, rows in photos.items()}
    run = {
        "command": " ".join(["python", *sys.argv]),
        "seed": seed,
        "recipe": asdict(recipe),
        "refit": refit,
        "heads": 1 + max(row["head"] for row in log),
        "parameters": count_parameters(folder / "model.safetensors"),
        "data": {split: fingerprint(dataset) for split, dataset in photos.items()},
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
    }
    for name, content in {"metrics": metrics, "run": run}.items():
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    pd.DataFrame(log).to_csv(folder / "training_log.csv", index=False)
    _plot_curve(log, folder / "training_curve.png")
    _plot_confusion(metrics, classifier.categories, folder / "confusion.png")
    _write_card(folder, dataset)
    return metrics


def _write_card(folder: Path, dataset: str) -> None:
    """Render the template with what stands in the folder."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    card = ModelCard.from_template(
        _card_data(metrics["test"], dataset),
        template_path=str(TEMPLATE),
        name=folder.as_posix(),
        categories=list(metrics["test"]["per_class"]),
        metrics=metrics,
        trained_on=["train", *["validation"] * run["refit"]],
        dataset=dataset,
        run=run,
        recipe=run["recipe"],
        tuned=(folder / "tuning.png").exists(),
    )
    card.save(folder / "README.md")


def _card_data(figures: dict[str, object], dataset: str) -> ModelCardData:
    def result(metric: str, name: str, value: float) -> EvalResult:
        return EvalResult(
            task_type="image-classification",
            dataset_type="image-folder",
            dataset_name=dataset,
            dataset_split="test",
            metric_type=metric,
            metric_name=name,
            metric_value=round(value, 4),
        )

    return ModelCardData(
        license="cc-by-4.0",
        library_name="transformers",
        pipeline_tag="image-classification",
        base_model="timm/vgg16.tv_in1k",
        metrics=["accuracy", "f1"],
        tags=["timm", "vgg16", "product-photos"],
        model_name="VGG16 for product photos",
        eval_results=[
            result("accuracy", "accuracy", figures["accuracy"]),
            result("f1", "macro F1", figures["macro_f1"]),
        ],
    )


def _plot_curve(log: list[dict[str, float]], file: Path) -> None:
    """Losses, and validation accuracy, of each epoch and head; what was kept of each is marked."""
    figure, (losses, accuracy) = plt.subplots(1, 2, figsize=(10, 3.6))
    for head, table in pd.DataFrame(log).groupby("head"):
        table = table.reset_index(drop=True)
        epochs = np.arange(1, len(table) + 1)
        names = ("train (mixed photos)", "validation", "kept") if head == 0 else (None,) * 3
        losses.plot(epochs, table["train_loss"], color="C0", alpha=0.7, label=names[0])
        losses.plot(epochs, table["validation_loss"], color="C1", alpha=0.7, label=names[1])
        accuracy.plot(epochs, 100 * table["validation_accuracy"], color="C1", alpha=0.7)
        kept = table.groupby("unfrozen_blocks")["validation_loss"].idxmin()
        losses.plot(epochs[kept], table["validation_loss"][kept], "k*", label=names[2])
        accuracy.plot(epochs[kept], 100 * table["validation_accuracy"][kept], "k*")
    losses.set_ylabel("cross-entropy")
    accuracy.set_ylabel("right on validation, %")
    for axis in (losses, accuracy):
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
    losses.legend()
    figure.savefig(file, dpi=120, bbox_inches="tight")
    plt.close(figure)


def _plot_confusion(metrics: dict[str, dict], categories: Iterable[str], file: Path) -> None:
    """The confusion matrix of each split, side by side."""
    names = list(categories)
    figure, axes = plt.subplots(1, len(metrics), figsize=(5 * len(metrics), 5.4), sharey=True)
    for axis, (split, figures) in zip(axes, metrics.items(), strict=True):
        draw_matrix(axis, np.array(figures["confusion_matrix"]), names)
        axis.set_title(f"{split}: {figures['accuracy']:.1%} of {figures['n']}")
        axis.set_xlabel("VGG16 says")
    axes[0].set_ylabel("it is")
    figure.savefig(file, dpi=120, bbox_inches="tight")
    plt.close(figure)
