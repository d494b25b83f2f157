"""The Evaluation tab: what a report says, as a page to look through; the models are not asked."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import gradio as gr

from data.labelled import SAMPLE
from space.models.classifiers import Model
from space.pages import PRIVATE
from space.pages.templates import render, script
from space.report.figures import PLOTS
from space.report.metrics import PRECISIONS, of_model, reached, side_by_side
from space.report.report import COMMAND, REPORTS, Report, ReportError, load_report

SHOW_CELL = "() => document.getElementById('cell').scrollIntoView({ block: 'center' })"
FOLDERS = {
    "real product photos of the study's data set": REPORTS / "real",
    "the same, with better texts for the zero-shot model": REPORTS / "better",
    "the bundled sample of rendered photos": REPORTS / "sample",
}


def evaluation_tab(models: Iterable[Model]) -> None:
    """Build the tab inside gr.Blocks; it says where a report is not of these models."""
    with gr.Column(elem_classes="evaluation"):
        chosen = gr.Radio(list(FOLDERS), value=next(iter(FOLDERS)), label="Measured on")
        overview = gr.HTML(js_on_load=script("evaluation.js"))
        cell = gr.HTML(visible=False, elem_id="cell")
        photos = gr.Gallery(visible=False, columns=6, height=260, label="Photos of this cell")
        details = gr.HTML()
        slider = gr.Slider(
            0, 0.99, step=0.01, label="Leave to a person what has a confidence below", visible=False
        )
        coverage = gr.HTML()

    def show(label: str) -> tuple[str, dict, dict, str, dict, str]:
        folder, hidden = FOLDERS[label], gr.update(visible=False)
        try:
            report = load_report(folder)
        except ReportError as error:
            notice = render("evaluation.html", part="notices", notices=[str(error)])
            return notice, hidden, hidden, "", hidden, ""
        notices = render("evaluation.html", part="notices", notices=others_in_use(report, models))
        threshold = usual_threshold(folder)
        usual = gr.update(value=threshold, visible=True)
        sorted_ = coverage_html(report, threshold)
        return notices + figures_html(folder), hidden, hidden, details_html(folder), usual, sorted_

    def look_into(label: str, event: gr.EventData) -> tuple[dict, dict]:
        place = event.model, int(event.row), int(event.column)
        text, files = cell_photos(load_report(FOLDERS[label]), *place)
        return gr.update(value=text, visible=True), gr.update(value=files, visible=bool(files))

    # Without a trigger, it also runs when the page is opened.
    gr.on(None, show, chosen, [overview, cell, photos, details, slider, coverage], **PRIVATE)
    overview.cell(look_into, chosen, [cell, photos], **PRIVATE).success(None, js=SHOW_CELL)
    slider.input(
        lambda label, threshold: coverage_html(load_report(FOLDERS[label]), threshold),
        [chosen, slider],
        coverage,
        trigger_mode="always_last",
        **PRIVATE,
    )


def usual_threshold(folder: Path) -> float:
    """That of both models for the lowest precision, where validation photos gave one."""
    best = load_report(folder).thresholds(PRECISIONS[0])["both"]
    return round(best.threshold, 2) if best.share else 0.5


def others_in_use(report: Report, models: Iterable[Model]) -> list[str]:
    """A sentence for each model in use whose weights the report does not measure."""
    measured = {model.weights for model in report.models}
    names = " and ".join(f"{model.name} ({model.checkpoint})" for model in report.models)
    return [
        f"These figures are of {names}. This demo runs {model.identity.name} "
        f"({model.identity.checkpoint}), which is not measured here: measure it with `{COMMAND}`."
        for model in models
        if model.identity.weights not in measured
    ]


@cache
def figures_html(folder: Path) -> str:
    """What the comparison says, the table, and the confusion matrices."""
    report = load_report(folder)
    test = report.of("test")
    return render(
        "evaluation.html",
        part="overview",
        both=side_by_side(test),
        rows=[(model, of_model(test, model.key)) for model in report.models],
        fitted="validation" in report.splits,
        matrices=PLOTS["confusion"].svg(report),
    )


@cache
def details_html(folder: Path) -> str:
    """Each category, calibration, importance, and the curve of coverage."""
    report = load_report(folder)
    plots = {name: plot.svg(report) for name, plot in PLOTS.items() if name != "confusion"}
    return render("evaluation.html", part="details", **plots)


def coverage_html(report: Report, threshold: float) -> str:
    """How many photos reach a confidence, and how many mistakes are among them, for each way."""
    rows = [
        (way, report.names[way], reached(table, max(threshold, 1e-9)))
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
        (SAMPLE / photo.image, f"{photo.confidence:.0%}")
        for photo in found.itertuples()
        if (SAMPLE / photo.image).is_file()
    ]
    text = render(
        "evaluation.html",
        part="cell",
        n=len(found),
        actual=report.categories[row],
        predicted=report.categories[column],
        name=report.names[key],
        absent=[] if files else [Path(image).name for image in found["image"]],
    )
    return text, files
