"""What a comparison leaves: tables, pictures, contact sheet, embeddings and report.md."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # draws to files: there may be no screen

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from datasets import DatasetDict, concatenate_datasets
from jinja2 import Template
from PIL import ImageOps
from safetensors.numpy import save_file

from data.categories import CATEGORIES
from space.report.report import EMBEDDINGS, MODELS, decisions, scores
from space.report.statistics import coverage_curve

TEMPLATE = Path(__file__).parent / "comparison.md"
# Okabe and Ito's blue and vermilion, as on the page.
COLOURS = {"vgg16": "#0072b2", "zero_shot": "#d55e00", "both": "#009e73"}
# The study's figures with CLIP ViT-B/32: the mean similarity of each text to its own photos.
STUDY_SIMILARITIES = dict(
    zip(CATEGORIES, (0.261, 0.234, 0.241, 0.251, 0.262, 0.252, 0.275), strict=True)
)
STUDY_ACCURACIES = {"vgg16": 0.74, "zero_shot": 0.76}
# So many photos the contact sheet shows of each kind.
NEAREST = 3


def write_report(
    folder: Path,
    predictions: pd.DataFrame,
    metrics: dict[str, dict],
    embeddings: np.ndarray,
    *,
    dataset: str,
    photos: DatasetDict | None,
) -> None:
    """Write all of a report into its folder.

    Args:
        folder: made where it is missing.
        predictions: a row a photo.
        metrics: what follows from them.
        embeddings: of the zero-shot model, (n, d) float32, in the order of the predictions.
        dataset: where the photos come from, in words.
        photos: for the contact sheet, in the order of the predictions; None draws none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    predictions.to_csv(folder / "predictions.csv", index=False)
    text = json.dumps(metrics, indent=1, ensure_ascii=False)
    (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
    save_file(
        {"image_embeddings": embeddings},
        folder / EMBEDDINGS,
        {"revision": metrics["zero_shot"]["revision"]},
    )
    for draw in (draw_confusion, draw_per_class, draw_calibration, draw_coverage, draw_importance):
        figure = draw(predictions, metrics)
        _save(figure, folder / f"{draw.__name__.removeprefix('draw_')}.png")
    if photos:
        _save(draw_contact_sheet(predictions, photos), folder / "contact_sheet.jpg")
    else:
        (folder / "contact_sheet.jpg").unlink(missing_ok=True)
    report = Template(TEMPLATE.read_text(encoding="utf-8"), trim_blocks=True).render(
        metrics=metrics,
        models=MODELS,
        categories=CATEGORIES,
        splits=list(dict.fromkeys(predictions["split"])),
        dataset=dataset,
        photos=len(predictions),
        contact_sheet=photos is not None,
        study_similarities=STUDY_SIMILARITIES,
        study_accuracies=STUDY_ACCURACIES,
    )
    (folder / "report.md").write_text(report + "\n", encoding="utf-8")


def draw_confusion(predictions: pd.DataFrame, metrics: dict[str, dict]) -> plt.Figure:
    """Both confusion matrices on test."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 5.4), sharey=True)
    for axis, model in zip(axes, MODELS, strict=True):
        test = metrics[model]["test"]
        draw_matrix(axis, np.array(test["confusion_matrix"]), CATEGORIES)
        axis.set_title(f"{metrics[model]['model']}: {test['accuracy']:.1%} of {test['n']} on test")
        axis.set_xlabel(f"{metrics[model]['model']} says")
    axes[0].set_ylabel("it is")
    return figure


def draw_matrix(axis: plt.Axes, matrix: np.ndarray, names: list[str]) -> None:
    """A confusion matrix, shaded by the shares of each row."""
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axis.text(column, row, count or "", ha="center", va="center", color=colour)
    axis.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axis.set_yticks(range(len(names)), names)


def draw_per_class(predictions: pd.DataFrame, metrics: dict[str, dict]) -> plt.Figure:
    """Precision, recall and F1 of each category on test."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True)
    places = np.arange(len(CATEGORIES))
    for axis, name in zip(axes, ("precision", "recall", "f1"), strict=True):
        for offset, model in zip((-0.2, 0.2), MODELS, strict=True):
            per_class = metrics[model]["test"]["per_class"]
            values = [per_class[category][name] for category in CATEGORIES]
            label = metrics[model]["model"]
            axis.barh(places + offset, values, 0.38, color=COLOURS[model], label=label)
        axis.set_xlim(0, 1)
        axis.set_xlabel(f"{'F1' if name == 'f1' else name} on test")
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(places, CATEGORIES)
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="upper center", ncols=2)
    return figure


def draw_calibration(predictions: pd.DataFrame, metrics: dict[str, dict]) -> plt.Figure:
    """How often each model is right where it is how sure, on test, before and after scaling."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.4), sharey=True)
    for axis, model in zip(axes, MODELS, strict=True):
        test = metrics[model]["test"]
        axis.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1)
        for key, style, word in (("", "--", "as it is"), ("_calibrated", "-", "scaled")):
            bins = pd.DataFrame(test[f"reliability{key}"])
            label = f"{word}, error {test[f'ece{key}']:.3f}"
            axis.plot(
                bins["confidence"], bins["accuracy"], style, color=COLOURS[model], label=label
            )
            axis.scatter(bins["confidence"], bins["accuracy"], 4 * bins["n"], COLOURS[model])
        temperature = metrics[model]["temperature"]
        axis.set_title(f"{metrics[model]['model']}, temperature {temperature:.2f}")
        axis.set_xlabel("confidence (dots: the more photos, the larger)")
        axis.legend(loc="lower right", fontsize=9)
    axes[0].set_ylabel("right on test")
    return figure


def draw_coverage(predictions: pd.DataFrame, metrics: dict[str, dict]) -> plt.Figure:
    """How much is sorted without a person, and how much of it rightly, on test."""
    figure, axis = plt.subplots(figsize=(6.4, 4.2))
    names = {model: metrics[model]["model"] for model in MODELS} | {
        "both": "both, where they agree"
    }
    test = predictions["split"] == "test"
    for way, table in decisions(predictions, metrics).items():
        table = table[test]
        curve = coverage_curve(table["confidence"].to_numpy(), table["right"].to_numpy())
        shares = np.array([row.share for row in curve])
        mistakes = np.array([row.mistakes for row in curve])
        precision = 1 - mistakes / (shares * len(table))
        axis.plot(100 * shares, 100 * precision, color=COLOURS[way], label=names[way])
    for target in (95, 99):
        axis.axhline(target, color="grey", linestyle=":", linewidth=1)
        axis.text(100, target, f"{target} %", va="bottom", ha="right", color="grey")
    axis.set_xlabel("sorted without a person, % of test")
    axis.set_ylabel("of these right, %")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower left")
    return figure


def draw_importance(predictions: pd.DataFrame, metrics: dict[str, dict]) -> plt.Figure:
    """The mean similarity of each text to its own photos and to the others."""
    figure, axis = plt.subplots(figsize=(7, 3.8))
    found = pd.DataFrame(metrics["importance"]).T.loc[CATEGORIES]
    places = np.arange(len(CATEGORIES))
    axis.hlines(places, found["others"], found["own"], color="grey")
    axis.plot(found["others"], places, "o", color="grey", label="other photos")
    axis.plot(found["own"], places, "o", color=COLOURS["zero_shot"], label="its own photos")
    if metrics["zero_shot"]["model"] == "CLIP":
        study = [STUDY_SIMILARITIES[category] for category in CATEGORIES]
        axis.plot(study, places, "k|", markersize=14, label="its own photos, the study")
    axis.set_yticks(places, CATEGORIES)
    axis.invert_yaxis()
    axis.set_xlabel(
        f"mean cosine similarity with the category's text, {metrics['zero_shot']['model']}"
    )
    axis.grid(axis="x", alpha=0.3)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    return figure


def draw_contact_sheet(predictions: pd.DataFrame, photos: DatasetDict) -> plt.Figure:
    """For each category the photos nearest to its text, the farthest of its own, and mistakes."""
    everything = concatenate_datasets(list(photos.values()))
    groups = {category: local_importance(predictions, category) for category in CATEGORIES}
    titles = list(groups[CATEGORIES[0]])
    figure, axes = plt.subplots(
        len(CATEGORIES), NEAREST * len(titles), figsize=(1.25 * NEAREST * len(titles), 11)
    )
    for row, (category, shown) in zip(axes, groups.items(), strict=True):
        row[0].set_ylabel(_in_two_lines(category), fontsize=9)
        for axis in row:
            axis.set_box_aspect(1)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
        for group, indices in enumerate(shown.values()):
            for place, index in enumerate(indices):
                axis = row[group * NEAREST + place]
                photo = everything[int(index)]["image"]
                axis.imshow(ImageOps.pad(photo, (160, 160), color="white"))
                if group >= 2:
                    axis.set_xlabel(_in_two_lines(predictions["label"][index]), fontsize=6)
    for group, title in enumerate(titles):
        axes[0][group * NEAREST].set_title(title, loc="left", fontsize=10)
    return figure


def local_importance(predictions: pd.DataFrame, category: str) -> dict[str, np.ndarray]:
    """The study's local importance: row indices of the photos that tell most about a category.

    Returns:
        The NEAREST photos to its text, the farthest of its own, and for each model those that it
        most confidently takes for the category though they are not; fewer where there are fewer.
    """
    similarity = scores(predictions, "zero_shot")[:, CATEGORIES.index(category)]
    own = (predictions["label"] == category).to_numpy()
    nearest = np.argsort(-similarity, kind="stable")
    shown = {
        "nearest to the text": nearest[:NEAREST],
        "farthest of its own": nearest[::-1][own[nearest[::-1]]][:NEAREST],
    }
    # What a model learned, it is seldom wrong about: photos of train say little.
    unseen = (predictions["split"] != "train").to_numpy()
    for model, name in (("zero_shot", "zero-shot, surely wrong"), ("vgg16", "VGG16, surely wrong")):
        wrong = (predictions[model] == category).to_numpy() & ~own & unseen
        surest = np.argsort(-predictions[f"{model}_probability"].to_numpy(), kind="stable")
        shown[name] = surest[wrong[surest]][:NEAREST]
    return shown


def _in_two_lines(category: str) -> str:
    return category.replace(" & ", "\n& ").replace(" and ", "\nand ")


def _save(figure: plt.Figure, file: Path) -> None:
    figure.savefig(file, dpi=110, bbox_inches="tight")
    plt.close(figure)
