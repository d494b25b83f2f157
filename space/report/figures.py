"""The figures of a report: each is drawn once, as a PNG for people and as SVG for the page."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from space.report.metrics import importance, of_model
from space.report.report import Report
from space.report.statistics import coverage_curve

# Text stays text in SVG.
matplotlib.rcParams |= {"svg.fonttype": "none", "axes.spines.top": False}
matplotlib.rcParams |= {"axes.spines.right": False, "legend.frameon": False}
# Okabe and Ito's blue, vermilion and green.
COLOURS = {"vgg16": "#0072b2", "zero_shot": "#d55e00", "both": "#009e73"}
# What the page puts in their place, in light and in dark.
VARIABLES = {colour: f"var(--{way.replace('_', '-')})" for way, colour in COLOURS.items()}
VARIABLES["#000000"] = "currentColor"
# The study's figures with CLIP ViT-B/32: the mean similarity of each text to its own photos.
STUDY_SIMILARITIES = {
    "baby care": 0.261,
    "beauty and personal care": 0.234,
    "computers": 0.241,
    "home decor & festive needs": 0.251,
    "home furnishing": 0.262,
    "kitchen & dining": 0.252,
    "watches": 0.275,
}
STUDY_ACCURACIES = {"vgg16": 0.74, "zero_shot": 0.76}
MEASURES = {"precision": 0, "recall": 1, "F1": 2}


@dataclass(frozen=True)
class Plot:
    """A figure of one panel or several: side by side in the PNG, one by one on the page."""

    title: str
    # What each panel shows: models or measures.
    panels: Callable[[Report], Sequence[str]]
    draw: Callable[[Axes, Report, str], None]
    # Of a panel, in inches.
    size: tuple[float, float]

    def save(self, report: Report, file: Path) -> None:
        """All panels, as PNG."""
        panels = self.panels(report)
        figure = Figure((self.size[0] * len(panels), self.size[1]), layout="constrained")
        for axis, panel in zip(
            figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True
        ):
            self.draw(axis, report, panel)
            axis.label_outer()
            axis.xaxis.label.set_visible(True)
        figure.savefig(file, dpi=110)

    def svg(self, report: Report) -> list[Markup]:
        """Each panel, as SVG in the page's colours."""
        found = []
        for panel in self.panels(report):
            figure = Figure(self.size, layout="constrained")
            self.draw(figure.subplots(), report, panel)
            name = re.sub(r"\W", "-", f"{self.title}-{panel}")
            found.append(as_svg(figure, name, f"{self.title}: {panel_name(report, panel)}"))
        return found


def panel_name(report: Report, panel: str) -> str:
    """What people call a panel."""
    return next((model.name for model in report.models if model.key == panel), panel)


def as_svg(
    figure: Figure,
    name: str,
    label: str,
    cells: Mapping[str, str] | None = None,
    *,
    pressed: bool = True,
) -> Markup:
    """A figure for the page: its colours, its font, and ids that no other figure has.

    Args:
        figure: what was drawn.
        name: begins its ids.
        label: what it shows, for those who do not see it.
        cells: what parts of it are, by their gid.
        pressed: whether these can be pressed.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # The style would hold for the whole page.
    text = re.sub(r"<(metadata|style).*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub("'DejaVu Sans'[^;\"]*", "inherit", text).replace("font: ", "font-size: ")
    text = re.sub(r"font-size: ([\d.]+px) inherit", r"font-size: \1", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    for gid, what in (cells or {}).items():
        role = 'role="button" tabindex="0" class="cell"' if pressed else 'role="img"'
        gid = f' id="{name}-{gid}"'
        text = text.replace(gid, f'{gid} {role} aria-label="{escape(what)}"')
    role = "group" if cells else "img"
    return Markup(text.replace("<svg", f'<svg role="{role}" aria-label="{escape(label)}"', 1))


def draw_matrix(
    axis: Axes, matrix: np.ndarray, categories: Sequence[str], key: str = "vgg16"
) -> None:
    """A confusion matrix (actual, predicted) of counts, each row shaded by what is in it."""
    parts = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    for (row, column), count in np.ndenumerate(matrix):
        # As light as that, the numbers can be read in light and in dark.
        shade = 0.04 + 0.56 * parts[row, column]
        place = (column - 0.48, row - 0.48), 0.96, 0.96
        gid = f"cell-{key}-{row}-{column}"
        axis.add_patch(Rectangle(*place, color=COLOURS[key], alpha=shade, linewidth=0, gid=gid))
        axis.text(column, row, count or "·", ha="center", va="center")
    axis.set(xlim=(-0.5, len(categories) - 0.5), ylim=(len(categories) - 0.5, -0.5), aspect=1)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    axis.set_xticks(range(len(categories)), categories, rotation=40, ha="right")
    axis.set_yticks(range(len(categories)), categories)
    axis.set(xlabel="predicted", ylabel="actual")


def matrix_cells(matrix: np.ndarray, categories: Sequence[str], key: str) -> dict[str, str]:
    """What each cell of a confusion matrix says, by its gid."""
    return {
        f"cell-{key}-{row}-{column}": f"{count} photo{'' if count == 1 else 's'} of "
        f"{categories[row]}, predicted {categories[column]}"
        for (row, column), count in np.ndenumerate(matrix)
    }


def matrix_svg(
    matrix: np.ndarray,
    categories: Sequence[str],
    key: str,
    title: str,
    name: str,
    *,
    pressed: bool = True,
) -> Markup:
    """A confusion matrix for the page, whose cells say what they are, and may be pressed."""
    figure = Figure((5.6, 5.2), layout="constrained")
    axis = figure.subplots()
    draw_matrix(axis, matrix, categories, key)
    axis.set_title(title, fontsize=11)
    cells = matrix_cells(matrix, categories, key)
    return as_svg(figure, f"{name}-{key}", title, cells, pressed=pressed)


def matrix_of(report: Report, key: str) -> np.ndarray:
    """The confusion matrix (actual, predicted) of a model."""
    choices = report.decided()[key]["choice"]
    return confusion_matrix(report.labels, choices, labels=range(len(report.categories)))


def matrix_title(report: Report, key: str) -> str:
    """Whose confusion matrix it is, and how often it is right."""
    matrix = matrix_of(report, key)
    right = matrix.trace() / matrix.sum()
    return f"{panel_name(report, key)}: right on {right:.1%} of {matrix.sum()} test photos"


def _keys(report: Report) -> list[str]:
    return [model.key for model in report.models]


def _confusion(axis: Axes, report: Report, key: str) -> None:
    test = report.of("test")
    draw_matrix(axis, matrix_of(test, key), report.categories, key)
    axis.set_title(matrix_title(test, key), fontsize=11)


def _per_class(axis: Axes, report: Report, measure: str) -> None:
    test, keys = report.of("test"), _keys(report)
    labels, height = range(len(report.categories)), 0.8 / len(keys)
    for index, model in enumerate(report.models):
        choices = test.decided()[model.key]["choice"]
        values = precision_recall_fscore_support(
            test.labels, choices, labels=labels, zero_division=0
        )[MEASURES[measure]]
        places = np.arange(len(values)) + (index - (len(keys) - 1) / 2) * height
        colour = COLOURS[model.key]
        bars = axis.barh(places, values, 0.9 * height, color=colour, label=model.name)
        axis.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
    axis.set(xlim=(0, 1.12), ylim=(len(labels) - 0.5, -0.5), xlabel=f"{measure} on test")
    axis.set_yticks(labels, report.categories)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(keys))


def _calibration(axis: Axes, report: Report, key: str) -> None:
    figures, model = of_model(report.of("test"), key), report.measured(key)
    axis.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1, label="calibrated")
    for kind, style, words in (("", "--", "as it is"), ("_calibrated", "-", "scaled")):
        bins = pd.DataFrame(figures[f"reliability{kind}"])
        points = bins["confidence"], bins["accuracy"]
        label = f"{words}, error {figures[f'ece{kind}']:.3f}"
        axis.plot(*points, style, color=COLOURS[key], label=label, alpha=1 if kind else 0.5)
    axis.scatter(*points, 6 + 3 * bins["n"], COLOURS[key])
    for confidence, right, n in bins[["confidence", "accuracy", "n"]].itertuples(index=False):
        size = 4 + (6 + 3 * n) ** 0.5 / 2
        offset = {"xytext": (0, size), "textcoords": "offset points", "ha": "center"}
        axis.annotate(f"{n:.0f}", (confidence, right), fontsize=7, **offset)
    axis.set_title(f"{model.name}, temperature {model.temperature:.2f}", fontsize=11)
    axis.set(xlim=(-0.03, 1.06), ylim=(-0.03, 1.12), ylabel="accuracy on test")
    axis.set_xlabel("confidence (numbers: photos in a bin)")
    axis.legend(loc="upper left", fontsize=8)


def _coverage(axis: Axes, report: Report, panel: str) -> None:
    for way, table in report.of("test").decided().items():
        curve = coverage_curve(table["confidence"].to_numpy(), table["right"].to_numpy())
        coverage = np.array([row.share for row in curve])
        precision = 1 - np.array([row.mistakes for row in curve]) / (coverage * len(table))
        label = "both, where they agree" if way == "both" else panel_name(report, way)
        axis.plot(100 * coverage, 100 * precision, color=COLOURS[way], label=label)
    for target in (95, 99):
        axis.axhline(target, color="grey", linestyle=":", linewidth=1)
        axis.text(100, target, f"{target}%", va="bottom", ha="right", color="grey", fontsize=8)
    axis.set(xlabel="coverage: sorted without a person, % of test", ylabel="precision, %")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower left")


def _importance(axis: Axes, report: Report, panel: str) -> None:
    found = pd.DataFrame(importance(report)).T
    places, colour = np.arange(len(found)), COLOURS["zero_shot"]
    name = panel_name(report, "zero_shot")
    axis.hlines(places, found["others"], found["own"], color="grey")
    axis.plot(found["others"], places, "o", color="grey", label="other photos")
    axis.plot(found["own"], places, "o", color=colour, label="its own photos")
    for place, (own, others, margin) in zip(places, found.to_numpy(), strict=True):
        for value, text in ((own, own), (others, others)):
            left = value == min(own, others)
            axis.annotate(
                f"{text:.3f}",
                (value, place),
                (-7 if left else 7, 0),
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
                fontsize=8,
            )
        middle = ((own + others) / 2, place - 0.12)
        axis.text(*middle, f"{margin:+.3f}", ha="center", va="bottom", fontsize=7)
    if name == "CLIP":
        study = [STUDY_SIMILARITIES[category] for category in found.index]
        axis.plot(study, places, "k|", markersize=14, label="its own photos, the study")
    axis.margins(x=0.16)
    axis.set_ylim(len(found) - 0.5, -0.6)
    axis.set_yticks(places, found.index)
    axis.set_xlabel(f"mean cosine similarity with the text, {name}")
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=9)


PLOTS = {
    "confusion": Plot("Confusion matrix on test", _keys, _confusion, (5.6, 5.2)),
    "per_class": Plot("Each category", lambda report: list(MEASURES), _per_class, (5, 4.2)),
    "calibration": Plot("Reliability diagram", _keys, _calibration, (4.8, 4.6)),
    "coverage": Plot("Coverage against precision", lambda report: [""], _coverage, (6, 4.2)),
    "importance": Plot("Global importance", lambda report: [""], _importance, (7, 4.2)),
}
