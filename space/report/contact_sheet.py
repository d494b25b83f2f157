"""Local importance as a picture: which photos are near to a text, and which are mistaken for it."""

import re
from pathlib import Path

import numpy as np
from datasets import DatasetDict, concatenate_datasets
from matplotlib.figure import Figure
from PIL import ImageOps

from space.report.report import Report

# So many photos of each kind.
NEAREST = 3


def save_contact_sheet(report: Report, photos: DatasetDict, file: Path) -> None:
    """For each category the photos nearest to its text, the farthest of its own, and mistakes."""
    everything = concatenate_datasets(list(photos.values()))
    groups = [local_importance(report, index) for index in range(len(report.categories))]
    in_two_lines = {name: re.sub(r" (&|and) ", r"\n\1 ", name) for name in report.categories}
    width = NEAREST * len(groups[0])
    figure = Figure((1.25 * width, 11))
    axes = figure.subplots(len(groups), width)
    for axis in axes.flat:
        axis.set(box_aspect=1, xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for group, title in enumerate(groups[0]):
        axes[0, group * NEAREST].set_title(title, loc="left", fontsize=10)
    for row, category, shown in zip(axes, report.categories, groups, strict=True):
        row[0].set_ylabel(in_two_lines[category], fontsize=9)
        for group, (title, indices) in enumerate(shown.items()):
            for axis, index in zip(row[group * NEAREST :], indices, strict=False):
                photo = everything[int(index)]["image"]
                axis.imshow(ImageOps.pad(photo, (160, 160), color="white"))
                if "wrong" in title:
                    label = report.predictions["label"][index]
                    axis.set_xlabel(in_two_lines[label], fontsize=6)
    figure.savefig(file, dpi=110, bbox_inches="tight")


def local_importance(report: Report, category: int) -> dict[str, np.ndarray]:
    """The rows nearest to a text, the farthest of its own, and those surely mistaken for it."""
    own = report.labels == category
    nearest = np.argsort(-report.similarities("zero_shot")[:, category], kind="stable")
    shown = {
        "nearest to the text": nearest[:NEAREST],
        "farthest of its own": nearest[::-1][own[nearest[::-1]]][:NEAREST],
    }
    # What a model learned, it is seldom wrong about: photos of train say little.
    unseen = report.predictions["split"] != "train"
    decided = report.decided()
    for model in reversed(report.models):
        table = decided[model.key]
        wrong = table[(table["choice"] == category) & ~table["right"] & unseen]
        surest = wrong.nlargest(NEAREST, "confidence").index
        shown[f"{model.name}, most confidently wrong"] = surest.to_numpy()
    return shown
