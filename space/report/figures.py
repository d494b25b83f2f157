"""The figures of a report: each is drawn once, as a PNG for people and as SVG for the page."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from data.categories import STUDY_SIMILARITIES
from space.report.metrics import importance, of_model
from space.report.report import Report
from space.report.statistics import Coverage, coverage_curve

# Text stays text in SVG.
matplotlib.rcParams |= {"svg.fonttype": "none", "axes.spines.top": False}
matplotlib.rcParams |= {"axes.spines.right": False, "legend.frameon": False}
# Okabe and Ito's blue, vermilion and green.
COLOURS = {"vgg16": "#0072b2", "zero_shot": "#d55e00", "both": "#009e73"}
# What the page puts in their place, in light and in dark.
VARIABLES = {colour: f"var(--{way.replace('_', '-')})" for way, colour in COLOURS.items()}
VARIABLES["#000000"] = "currentColor"


@dataclass(frozen=True)
class Plot:
    """A figure of one panel or several: side by side in the PNG, one by one on the page."""

    title: str
    # What each shows: a model, by its key, or a measure.
    panels: Sequence[str]
    draw: Callable[[Axes, Report, str], None]
    # Of a panel, in inches.
    size: tuple[float, float]

    def save(self, report: Report, file: Path) -> None:
        """All panels, as PNG."""
        count = len(self.panels)
        figure = Figure((self.size[0] * count, self.size[1]), layout="constrained")
        axes = figure.subplots(1, count, sharey=True, squeeze=False)[0]
        for axis, panel in zip(axes, self.panels, strict=True):
            self.draw(axis, report, panel)
            axis.label_outer()
            axis.xaxis.label.set_visible(True)
        figure.savefig(file, dpi=110)

    def svg(self, report: Report) -> list[Markup]:
        """Each panel, as SVG in the page's colours."""
        found = []
        for panel in self.panels:
            figure = Figure(self.size, layout="constrained")
            self.draw(figure.subplots(), report, panel)
            label = ": ".join(filter(None, (self.title, report.names.get(panel, panel))))
            found.append(as_svg(figure, re.sub(r"\W", "-", f"{self.title}-{panel}"), label))
        return found


def as_svg(figure: Figure, name: str, label: str, *, pressed: bool = True) -> Markup:
    """A figure for the page: its colours, its font, and ids, which begin with its name.

    The label says what it shows, for those who do not see it. A part that has a gid has a label of
    its own, and can be pressed, or not.
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
    cells = figure.findobj(lambda part: part.get_gid() is not None)
    role = 'role="button" tabindex="0" class="cell"' if pressed else 'role="img"'
    for cell in cells:
        gid = f' id="{name}-{cell.get_gid()}"'
        text = text.replace(gid, f'{gid} {role} aria-label="{escape(cell.get_label())}"')
    role = "group" if cells else "img"
    return Markup(text.replace("<svg", f'<svg role="{role}" aria-label="{escape(label)}"', 1))


def draw_matrix(
    axis: Axes, matrix: np.ndarray, categories: Sequence[str], key: str, title: str
) -> None:
    """A confusion matrix (actual, predicted) of counts, each row shaded by what is in it."""
    parts = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    for (row, column), count in np.ndenumerate(matrix):
        cell = Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, color=COLOURS[key], linewidth=0)
        # As light as that, the numbers can be read in light and in dark.
        cell.set_alpha(0.04 + 0.56 * parts[row, column])
        cell.set_gid(f"cell-{key}-{row}-{column}")
        photos = f"{count} photo{'' if count == 1 else 's'} of {categories[row]}"
        cell.set_label(f"{photos}, predicted {categories[column]}")
        axis.add_patch(cell)
        axis.text(column, row, count or "·", ha="center", va="center")
    axis.set(xlim=(-0.5, len(categories) - 0.5), ylim=(len(categories) - 0.5, -0.5), aspect=1)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    axis.set_xticks(range(len(categories)), categories, rotation=40, ha="right")
    axis.set_yticks(range(len(categories)), categories)
    axis.set(xlabel="predicted", ylabel="actual")
    axis.set_title(title, fontsize=11)


def _confusion(axis: Axes, report: Report, key: str) -> None:
    found = of_model(report.of("test"), key)
    title = f"{report.names[key]}: right on {found['accuracy']:.1%} of {found['n']} test photos"
    draw_matrix(axis, np.array(found["confusion_matrix"]), report.categories, key, title)


def _per_class(axis: Axes, report: Report, measure: str) -> None:
    test, height = report.of("test"), 0.8 / len(report.models)
    for index, model in enumerate(report.models):
        values = pd.DataFrame(of_model(test, model.key)["per_class"]).loc[measure.lower()]
        places = np.arange(len(values)) + (index - (len(report.models) - 1) / 2) * height
        colour = COLOURS[model.key]
        bars = axis.barh(places, values, 0.9 * height, color=colour, label=model.name)
        axis.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
    axis.set(xlim=(0, 1.12), ylim=(len(values) - 0.5, -0.5), xlabel=f"{measure} on test")
    axis.set_yticks(range(len(values)), values.index)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(report.models))


def _calibration(axis: Axes, report: Report, key: str) -> None:
    figures, model = of_model(report.of("test"), key), report.measured(key)
    axis.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1, label="calibrated")
    for kind, style, words in (("", "--", "as it is"), ("_calibrated", "-", "scaled")):
        bins = pd.DataFrame(figures[f"reliability{kind}"])
        points = bins["confidence"], bins["accuracy"]
        label = f"{words}, error {figures[f'ece{kind}']:.3f}"
        axis.plot(*points, style, color=COLOURS[key], label=label, alpha=1 if kind else 0.5)
    axis.scatter(*points, 6 + 3 * bins["n"], COLOURS[key])
    for confidence, right, n in bins.itertuples(index=False):
        size = 4 + (6 + 3 * n) ** 0.5 / 2
        offset = {"xytext": (0, size), "textcoords": "offset points", "ha": "center"}
        axis.annotate(f"{n:.0f}", (confidence, right), fontsize=7, **offset)
    axis.set_title(f"{model.name}, temperature {model.temperature:.2f}", fontsize=11)
    axis.set(xlim=(-0.03, 1.06), ylim=(-0.03, 1.12), ylabel="accuracy on test")
    axis.set_xlabel("confidence (numbers: photos in a bin)")
    axis.legend(loc="upper left", fontsize=8)


def _coverage(axis: Axes, report: Report, panel: str) -> None:
    for way, table in report.of("test").decided().items():
        points = coverage_curve(table["confidence"], table["right"])
        curve = pd.DataFrame(points, columns=Coverage._fields)
        precision = 1 - curve["mistakes"] / (curve["share"] * len(table))
        colour = COLOURS[way]
        axis.plot(100 * curve["share"], 100 * precision, color=colour, label=report.names[way])
    for target in (95, 99):
        axis.axhline(target, color="grey", linestyle=":", linewidth=1)
        axis.text(100, target, f"{target}%", va="bottom", ha="right", color="grey", fontsize=8)
    axis.set(xlabel="coverage: sorted without a person, % of test", ylabel="precision, %")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower left")


def _importance(axis: Axes, report: Report, panel: str) -> None:
    found = pd.DataFrame(importance(report)).T
    places, name = np.arange(len(found)), report.names["zero_shot"]
    axis.hlines(places, found["others"], found["own"], color="grey")
    axis.plot(found["others"], places, "o", color="grey", label="other photos")
    axis.plot(found["own"], places, "o", color=COLOURS["zero_shot"], label="its own photos")
    for place, (own, others, margin) in zip(places, found.to_numpy(), strict=True):
        for value, shift, side in ((min(own, others), -7, "right"), (max(own, others), 7, "left")):
            offset = {"xytext": (shift, 0), "textcoords": "offset points", "ha": side}
            axis.annotate(f"{value:.3f}", (value, place), va="center", fontsize=8, **offset)
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


MODELS = ("vgg16", "zero_shot")
PLOTS = {
    "confusion": Plot("Confusion matrix on test", MODELS, _confusion, (5.6, 5.2)),
    "per_class": Plot("Each category", ("precision", "recall", "F1"), _per_class, (5, 4.2)),
    "calibration": Plot("Reliability diagram", MODELS, _calibration, (4.8, 4.6)),
    "coverage": Plot("Coverage against precision", ("",), _coverage, (6, 4.2)),
    "importance": Plot("Global importance", ("",), _importance, (7, 4.2)),
}
