"""The Evaluation tab: what a report says, as a page to look through; the models are not asked."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import gradio as gr

from data.labelled import SAMPLE
from space.models.classifiers import Model
from space.pages import PRIVATE
from space.pages.templates import render, script
from space.report import figures
from space.report.metrics import PRECISIONS, of_model, reached, rules, side_by_side
from space.report.report import (
    BETTER_REPORT,
    COMMAND,
    REPORT,
    SAMPLE_REPORT,
    Report,
    ReportError,
    load_report,
)

REPORTS = {
    "real product photos of the study's data set": REPORT,
    "the same, with better texts for the zero-shot model": BETTER_REPORT,
    "the bundled sample of rendered photos": SAMPLE_REPORT,
}


def evaluation_tab(models: Iterable[Model] = ()) -> None:
    """Build the tab inside gr.Blocks; it says where a report is not of these models."""
    with gr.Column(elem_classes="evaluation"):
        chosen = gr.Radio(list(REPORTS), value=next(iter(REPORTS)), label="Measured on")
        overview = gr.HTML(js_on_load=script("evaluation.js"))
        cell = gr.HTML(visible=False, elem_id="cell")
        photos = gr.Gallery(visible=False, columns=6, height=260, label="Photos of this cell")
        details = gr.HTML()
        slider = gr.Slider(
            0, 0.99, step=0.01, label="Leave to a person what has a confidence below", visible=False
        )
        coverage = gr.HTML()

    def show(label: str) -> tuple[str, dict, dict, str, dict, str]:
        hidden = gr.update(visible=False)
        try:
            report = _load(REPORTS[label])
        except ReportError as error:
            return overview_html(str(error)), hidden, hidden, "", hidden, ""
        threshold = usual_threshold(REPORTS[label])
        return (
            overview_html(*others_in_use(report, models)) + figures_html(REPORTS[label]),
            hidden,
            hidden,
            details_html(REPORTS[label]),
            gr.update(value=threshold, visible=True),
            coverage_html(report, threshold),
        )

    def look_into(label: str, event: gr.EventData) -> tuple[dict, dict]:
        report = _load(REPORTS[label])
        text, files = cell_photos(report, event.model, int(event.row), int(event.column))
        return gr.update(value=text, visible=True), gr.update(value=files, visible=bool(files))

    # Also when the page is opened.
    gr.on(None, show, chosen, [overview, cell, photos, details, slider, coverage], **PRIVATE)
    overview.cell(look_into, chosen, [cell, photos], **PRIVATE)
    slider.input(
        lambda label, threshold: coverage_html(_load(REPORTS[label]), threshold),
        [chosen, slider],
        coverage,
        trigger_mode="always_last",
        **PRIVATE,
    )


@cache
def _load(folder: Path) -> Report:
    return load_report(folder)


def usual_threshold(folder: Path) -> float:
    """That of both models for the lowest precision, where validation photos gave one."""
    found = [
        rule["threshold"]
        for rule in rules(_load(folder))
        if rule["by"] == "both" and rule["precision"] == PRECISIONS[0]
    ]
    return round(found[0], 2) if found and found[0] else 0.5


def others_in_use(report: Report, models: Iterable[Model]) -> list[str]:
    """A sentence for each model in use whose weights the report does not measure."""
    measured = {model.weights: model for model in report.models}
    names = " and ".join(f"{model.name} ({model.checkpoint})" for model in report.models)
    return [
        f"These figures are of {names}. This demo runs {model.identity.name} "
        f"({model.identity.checkpoint}), which is not measured here: measure it with `{COMMAND}`."
        for model in models
        if model.identity.weights not in measured
    ]


def overview_html(*notices: str) -> str:
    """What is to be known before the figures."""
    return render("evaluation.html", part="notices", notices=notices)


@cache
def figures_html(folder: Path) -> str:
    """What the comparison says, the table, and the confusion matrices."""
    report = _load(folder)
    test = report.of("test")
    matrices = [
        figures.matrix_svg(
            figures.matrix_of(test, model.key),
            report.categories,
            model.key,
            figures.matrix_title(test, model.key),
            "confusion",
        )
        for model in report.models
    ]
    return render(
        "evaluation.html",
        part="overview",
        both=side_by_side(test),
        rows=[(model, of_model(test, model.key)) for model in report.models],
        fitted="validation" in report.splits,
        matrices=matrices,
    )


@cache
def details_html(folder: Path) -> str:
    """Each category, calibration, importance, and the curve of coverage."""
    report = _load(folder)
    plots = {name: figures.PLOTS[name].svg(report) for name in figures.PLOTS if name != "confusion"}
    return render("evaluation.html", part="details", **plots)


def coverage_html(report: Report, threshold: float) -> str:
    """How many photos reach a confidence, and how many mistakes are among them, for each way."""
    rows = [
        (
            way,
            "both, where they agree" if way == "both" else report.measured(way).name,
            reached(table, max(threshold, 1e-9)),
        )
        for way, table in report.of("test").decided().items()
    ]
    return render("evaluation.html", part="coverage", rows=rows)


def cell_photos(
    report: Report, key: str, row: int, column: int
) -> tuple[str, list[tuple[Path, str]]]:
    """What is in a cell of a confusion matrix: a sentence, and the photos that are at hand."""
    test = report.of("test")
    table = test.predictions.join(test.decided()[key])
    found = table[(test.labels == row) & (table["choice"] == column)]
    found = found.sort_values("confidence", ascending=False)
    files = [
        (SAMPLE / image, f"{confidence:.0%}")
        for image, confidence in zip(found["image"], found["confidence"], strict=True)
        if (SAMPLE / image).is_file()
    ]
    text = render(
        "evaluation.html",
        part="cell",
        n=len(found),
        actual=report.categories[row],
        predicted=report.categories[column],
        name=report.measured(key).name,
        absent=[] if files else [Path(image).name for image in found["image"]],
    )
    return text, files
