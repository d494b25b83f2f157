"""What a training leaves beside the weights: figures, pictures, and the card of the model."""

import json
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from datasets import Dataset, DatasetDict
from jinja2 import Template
from matplotlib.figure import Figure
from transformers import BaseImageProcessor

from data.categories import CATEGORIES
from data.labelled import fingerprint
from space.models.checkpoints import load_vgg16
from space.models.classifiers import FineTuned, by_name
from space.models.pixels import prepare_all
from space.report.figures import draw_matrix
from space.report.metrics import ClassificationReport
from training.fine_tune import COLUMNS, Hyperparameters

TEMPLATE = Path(__file__).parent / "model_card.md"
PACKAGES = ("torch", "torchvision", "transformers", "timm", "datasets", "accelerate")


def logits_of(
    network: Callable[[torch.Tensor], np.ndarray],
    processor: BaseImageProcessor,
    categories: list[str],
    photos: Dataset,
) -> np.ndarray:
    """What a network gives photos, (n, CATEGORIES); `categories` are in its own order."""
    batches = prepare_all(photos, processor, "Measuring")
    return by_name(np.concatenate([*map(network, batches)]), categories, CATEGORIES)


def figures_of(logits: np.ndarray, photos: Dataset) -> dict[str, object]:
    """The figures of ClassificationReport."""
    return ClassificationReport().compute(
        predictions=logits.argmax(1).tolist(),
        references=list(photos["label"]),
        categories=CATEGORIES,
    )


def fill_model_folder(
    folder: Path,
    photos: DatasetDict,
    log: pd.DataFrame,
    hyperparameters: Hyperparameters,
    *,
    dataset: str,
    seed: int,
    refit: bool,
) -> dict[str, dict]:
    """Measure the saved model and write all that stands beside it into its folder.

    metrics.json, confusion.png, training_log.csv, training_curve.png, run.json and README.md.

    Args:
        folder: holds the model.
        log: of `fine_tune`, of all heads (column `head`).
        hyperparameters: what it was trained with.
        dataset: where the photos come from, in words.
        refit: whether it was trained on validation, too.

    Returns:
        The figures of each split.
    """
    model = load_vgg16(str(folder))
    model.to(str(PartialState().device))
    metrics = {
        split: figures_of(logits_of(model.logits, model.processor, model.categories, rows), rows)
        for split, rows in photos.items()
    }
    run = _run(model, photos, log, hyperparameters, seed, refit)
    for name, content in {"metrics": metrics, "run": run}.items():
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    columns = ["head", "unfrozen_blocks", *COLUMNS.values()]
    log.to_csv(folder / "training_log.csv", columns=columns, index=False)
    _plot_curve(log, folder / "training_curve.png")
    _plot_confusion(metrics, folder / "confusion.png")
    card = Template(TEMPLATE.read_text(encoding="utf-8"), keep_trailing_newline=True).render(
        name=folder.as_posix(),
        categories=CATEGORIES,
        metrics=metrics,
        trained_on=["train", *["validation"] * refit],
        dataset=dataset,
        run=run,
        hyperparameters=hyperparameters,
        tuned=(folder / "tuning.png").exists(),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    return metrics


def _run(
    model: FineTuned,
    photos: DatasetDict,
    log: pd.DataFrame,
    hyperparameters: Hyperparameters,
    seed: int,
    refit: bool,
) -> dict[str, object]:
    """What the weights came of, as run.json has it."""
    packages = {package: version(package) for package in PACKAGES}
    return {
        "command": " ".join(["python", *sys.argv]),
        "seed": seed,
        "hyperparameters": asdict(hyperparameters),
        "refit": refit,
        "heads": int(log["head"].nunique()),
        "parameters": model.identity.parameters,
        "data": {split: fingerprint(rows) for split, rows in photos.items()},
        "versions": {"python": platform.python_version(), **packages},
    }


def _plot_curve(log: pd.DataFrame, file: Path) -> None:
    """Losses, and validation accuracy, of each epoch and head; what was kept of each is marked."""
    figure = Figure((10, 3.6))
    losses, accuracy = figure.subplots(1, 2)
    for head, table in log.groupby("head"):
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


def _plot_confusion(metrics: dict[str, dict], file: Path) -> None:
    """The confusion matrix of each split, side by side."""
    figure = Figure((5 * len(metrics), 5.4))
    axes = figure.subplots(1, len(metrics), sharey=True)
    for axis, (split, figures) in zip(axes, metrics.items(), strict=True):
        draw_matrix(axis, np.array(figures["confusion_matrix"]), CATEGORIES)
        axis.set_title(f"{split}: {figures['accuracy']:.1%} of {figures['n']}")
        axis.label_outer()
    figure.savefig(file, dpi=120, bbox_inches="tight")
