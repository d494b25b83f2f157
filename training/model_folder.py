"""What a training leaves beside the weights: figures, pictures, and the card of the model."""

import json
import platform
import sys
from argparse import Namespace
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from accelerate import PartialState
from datasets import Dataset, DatasetDict
from jinja2 import Template
from matplotlib.figure import Figure

from data.categories import CATEGORIES
from data.labelled import fingerprint
from space.models.checkpoints import load_vgg16
from space.models.pixels import map_photos
from space.report.figures import draw_matrix
from space.report.metrics import ClassificationReport
from training.fine_tune import COLUMNS, Hyperparameters

TEMPLATE = Path(__file__).parent / "model_card.md"
PACKAGES = ("torch", "torchvision", "transformers", "timm", "datasets", "accelerate")


def figures_of(logits: np.ndarray, photos: Dataset) -> dict[str, object]:
    """The figures of ClassificationReport, for logits (n, CATEGORIES)."""
    return ClassificationReport().compute(
        predictions=logits.argmax(1), references=photos["label"], categories=CATEGORIES
    )


def fill_model_folder(
    arguments: Namespace, photos: DatasetDict, log: pd.DataFrame, hyperparameters: Hyperparameters
) -> dict[str, dict]:
    """Measure the saved model and write all that stands beside it; the figures of each split.

    metrics.json, confusion.png, training_log.csv, training_curve.png, run.json and README.md. The
    arguments are train_vgg.py's, of which `output` holds the model; the log has a column `head`.
    """
    folder, model = arguments.output, load_vgg16(str(arguments.output))
    model.to(str(PartialState().device))
    metrics = {
        split: figures_of(map_photos(rows, model.processor, model.logits, "Measuring"), rows)
        for split, rows in photos.items()
    }
    versions = {package: version(package) for package in PACKAGES}
    run = {
        "command": " ".join(["python", *sys.argv]),
        "seed": arguments.seed,
        "hyperparameters": asdict(hyperparameters),
        "refit": arguments.refit,
        "heads": int(log["head"].nunique()),
        "parameters": model.identity.parameters,
        "data": {split: fingerprint(rows) for split, rows in photos.items()},
        "versions": {"python": platform.python_version(), **versions},
    }
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
        dataset=arguments.dataset or "the bundled sample of rendered photos",
        run=run,
        tuned=(folder / "tuning.png").exists(),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    return metrics


def _plot_curve(log: pd.DataFrame, file: Path) -> None:
    """Losses, and validation accuracy, of each epoch and head; what was kept of each is marked."""
    figure = Figure((10, 3.6))
    losses, accuracy = figure.subplots(1, 2)
    for _, table in log.groupby("head"):
        table = table.set_index(np.arange(1, len(table) + 1))
        kept = table.loc[table.groupby("unfrozen_blocks")["validation_loss"].idxmin()]
        lines = [
            *losses.plot(table["train_loss"], "C0", alpha=0.7),
            *losses.plot(table["validation_loss"], "C1", alpha=0.7),
            *losses.plot(kept["validation_loss"], "k*"),
        ]
        accuracy.plot(100 * table["validation_accuracy"], "C1", alpha=0.7)
        accuracy.plot(100 * kept["validation_accuracy"], "k*")
    losses.legend(lines, ["train (mixed photos)", "validation", "kept"])
    for axis, measure in ((losses, "cross-entropy"), (accuracy, "right on validation, %")):
        axis.set(xlabel="epoch", ylabel=measure)
        axis.grid(alpha=0.3)
    figure.savefig(file, dpi=120, bbox_inches="tight")


def _plot_confusion(metrics: dict[str, dict], file: Path) -> None:
    """The confusion matrix of each split, side by side."""
    figure = Figure((5 * len(metrics), 5.4))
    axes = figure.subplots(1, len(metrics), sharey=True)
    for axis, (split, figures) in zip(axes, metrics.items(), strict=True):
        title = f"{split}: {figures['accuracy']:.1%} of {figures['n']}"
        draw_matrix(axis, np.array(figures["confusion_matrix"]), CATEGORIES, "vgg16", title)
        axis.label_outer()
    figure.savefig(file, dpi=120, bbox_inches="tight")
