"""The Evaluation tab: what a report says, as a page to look through.

Everything comes from the files of a report; the models are not asked.
"""

from functools import cache
from html import escape
from pathlib import Path

import gradio as gr
import numpy as np
import pandas as pd

from data.categories import CATEGORIES
from data.labelled import SAMPLE
from space.report.report import (
    BETTER_REPORT,
    MODELS,
    REPORT,
    SAMPLE_REPORT,
    decisions,
    read_metrics,
    read_predictions,
)

HERE = Path(__file__).parent
REPORTS = {
    "real product photos of the study's data set": REPORT,
    "the same, with better words for the zero-shot model": BETTER_REPORT,
    "the bundled sample of rendered photos": SAMPLE_REPORT,
}
WAYS = (*MODELS, "both")


def evaluation_tab() -> None:
    """Build the tab inside gr.Blocks."""
    labels, first = list(REPORTS), next(iter(REPORTS.values()))
    with gr.Column(elem_classes="evaluation"):
        chosen = gr.Radio(labels, value=labels[0], label="Measured on")
        overview = gr.HTML(
            overview_html(first), js_on_load=(HERE / "evaluation.js").read_text("utf-8")
        )
        cell = gr.HTML(visible=False, elem_id="cell")
        photos = gr.Gallery(visible=False, columns=6, height=260, label="Photos of this cell")
        details = gr.HTML(details_html(first))
        slider = gr.Slider(
            0,
            0.99,
            value=_usual_threshold(first),
            step=0.01,
            label="Send to a person what the model is less sure of than",
        )
        coverage = gr.HTML(coverage_html(first, _usual_threshold(first)))

    def show(label: str) -> tuple[str, dict, dict, str, float, str]:
        folder, hidden = REPORTS[label], gr.update(visible=False)
        threshold = _usual_threshold(folder)
        shown = overview_html(folder), hidden, hidden, details_html(folder)
        return *shown, threshold, coverage_html(folder, threshold)

    def look_into(label: str, event: gr.EventData) -> tuple[dict, dict]:
        text, files = cell_photos(REPORTS[label], event.model, int(event.row), int(event.column))
        return gr.update(value=text, visible=True), gr.update(value=files, visible=bool(files))

    private = {"api_visibility": "private", "show_progress": "hidden"}
    chosen.change(show, chosen, [overview, cell, photos, details, slider, coverage], **private)
    overview.cell(look_into, chosen, [cell, photos], **private)
    slider.input(
        lambda label, threshold: coverage_html(REPORTS[label], threshold),
        [chosen, slider],
        coverage,
        trigger_mode="always_last",
        **private,
    )


@cache
def _report(folder: Path) -> tuple[dict, pd.DataFrame, dict[str, pd.DataFrame]]:
    """Metrics, the predictions on test, and what would be decided of them."""
    metrics, predictions = read_metrics(folder), read_predictions(folder)
    test = predictions[predictions["split"] == "test"].reset_index(drop=True)
    return metrics, test, decisions(test, metrics)


def _usual_threshold(folder: Path) -> float:
    """That of both models for 95 % precision, where it was fitted."""
    rules = _report(folder)[0]["rules"]
    found = [rule["threshold"] for rule in rules if rule["by"] == "both"]
    return round(found[0], 2) if found and found[0] else 0.5


def overview_html(folder: Path) -> str:
    """What the comparison says, the table, and both confusion matrices."""
    metrics = _report(folder)[0]
    both = metrics["both"]["test"]
    matrices = "".join(
        matrix_html(model, metrics[model]["model"], np.array(counts), buttons=True)
        for model in MODELS
        for counts in [metrics[model]["test"]["confusion_matrix"]]
    )
    return f"""
<p class="verdict">{escape(both["in_words"])}</p>
<p>On {both["n"]} photos that neither model has seen: both agree on {both["agree"]}, and are right
on {both["right_where_they_agree"]} of these. One of the two at least is right on
{both["one_is_right"]}.</p>
{_models_table(metrics)}
<h3>What is taken for what <small>a number shows its photos</small></h3>
<div class="pair">{matrices}</div>"""


def details_html(folder: Path) -> str:
    """Per-class bars, calibration and importance."""
    metrics = _report(folder)[0]
    name = metrics["zero_shot"]["model"]
    return f"""
<h3>Each category <small>F1: 1 is never wrong</small></h3>
{_bars(metrics)}
<h3>As right as it is sure? <small>on the line: yes; below it: too sure</small></h3>
<div class="pair">{"".join(_reliability(model, metrics[model]) for model in MODELS)}</div>
<h3>Global importance <small>mean cosine similarity of {name} with each text</small></h3>
{_importance(metrics)}
<h3>How much can be sorted without a person?</h3>"""


def coverage_html(folder: Path, threshold: float) -> str:
    """How many photos reach a confidence, and how many mistakes are among them, for each way."""
    metrics, test, decided = _report(folder)
    rows = []
    for way in WAYS:
        reached = decided[way]["confidence"] >= max(threshold, 1e-9)
        mistakes = int((reached & ~decided[way]["right"]).sum())
        rows.append(
            f'<tr class="{way.replace("_", "-")}"><th scope="row">{_name(metrics, way)}</th>'
            f"<td>{bar_html(reached.mean())}</td><td>{reached.sum()} of {len(test)}</td>"
            f"<td>{mistakes}</td><td>{len(test) - reached.sum()}</td></tr>"
        )
    return f"""<table class="coverage" aria-live="polite"><thead><tr><th scope="col">decided by</th>
<th scope="col" aria-hidden="true"></th><th scope="col">sorted</th>
<th scope="col">mistakes among them</th><th scope="col">to a person</th></tr></thead>
<tbody>{"".join(rows)}</tbody></table>"""


def cell_photos(
    folder: Path, model: str, row: int, column: int
) -> tuple[str, list[tuple[Path, str]]]:
    """What is in a cell of a confusion matrix: a sentence, and the photos that are at hand."""
    metrics, test, _ = _report(folder)
    said, true = CATEGORIES[column], CATEGORIES[row]
    found = test[(test["label"] == true) & (test[model] == said)]
    found = found.sort_values(f"{model}_probability", ascending=False)
    what = f"{len(found)} photos of {true}, which {metrics[model]['model']} calls {said}"
    files = [
        (SAMPLE / image, f"{probability:.0%}")
        for image, probability in zip(found["image"], found[f"{model}_probability"], strict=True)
        if (SAMPLE / image).is_file()
    ]
    names = ", ".join(Path(image).name for image in found["image"])
    absent = f" (not shipped with the demo): {names}" if len(found) and not files else ""
    return f"<p>{escape(what + absent)}.</p>", files


def _name(metrics: dict, way: str) -> str:
    return "both, where they agree" if way == "both" else metrics[way]["model"]


def bar_html(share: float) -> str:
    """A bar as wide as the share, in [0, 1]."""
    return f'<span class="bar"><span style="width:{share:.1%}"></span></span>'


def _models_table(metrics: dict) -> str:
    rows = ""
    for model in MODELS:
        test = metrics[model]["test"]
        low, high = test["accuracy_ci95"]
        rows += (
            f'<tr class="{model.replace("_", "-")}"><th scope="row">{metrics[model]["model"]} '
            f"<small>{escape(metrics[model]['checkpoint'])}</small></th>"
            f"<td><b>{test['accuracy']:.1%}</b></td><td>{low:.1%} to {high:.1%}</td>"
            + "".join(
                f"<td>{test[f'macro_{key}']:.3f}</td>" for key in ("precision", "recall", "f1")
            )
            + f"<td>{test['ece_calibrated']:.3f}</td></tr>"
        )
    heads = ("model", "right", "95% interval", "precision", "recall", "F1", "calibration error")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return f'<table class="figures"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def matrix_html(model: str, name: str, matrix: np.ndarray, buttons: bool = False) -> str:
    """A confusion matrix as a table, shaded by the shares of each row.

    Args:
        model: `vgg16` or `zero_shot`, whose colour it has.
        name: what the model is called.
        matrix: (7, 7) counts; rows are true categories, columns what the model says.
        buttons: whether each count can be asked for its photos.
    """
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    body = ""
    for row, category in enumerate(CATEGORIES):
        body += f'<tr><th scope="row">{escape(category)}</th>'
        for column, said in enumerate(CATEGORIES):
            count = matrix[row, column]
            what = f"{count} photos of {escape(category)}, called {escape(said)}"
            button = f'type="button" data-model="{model}" data-row="{row}" data-column="{column}"'
            tag, attributes = ("button", button) if buttons else ("span", 'role="img"')
            body += (
                f'<td style="--share:{shares[row, column]:.2f}">'
                f'<{tag} class="count" {attributes} aria-label="{what}">{count or "·"}</{tag}></td>'
            )
        body += "</tr>"
    heads = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in CATEGORIES)
    return f"""<table class="matrix {model.replace("_", "-")}">
<caption>{name} <small>rows: what it is; columns: what {name} says</small>
</caption><thead><tr><td></td>{heads}</tr></thead><tbody>{body}</tbody></table>"""


def _bars(metrics: dict) -> str:
    body = ""
    for category in CATEGORIES:
        cells = "".join(
            f'<td class="{model.replace("_", "-")}"><span class="line">{bar_html(f1)}'
            f"<span>{f1:.2f}</span></span></td>"
            for model in MODELS
            for f1 in [metrics[model]["test"]["per_class"][category]["f1"]]
        )
        body += f'<tr><th scope="row">{escape(category)}</th>{cells}</tr>'
    heads = "".join(f'<th scope="col">{metrics[model]["model"]}</th>' for model in MODELS)
    return (
        f'<table class="bars"><thead><tr><th></th>{heads}</tr></thead><tbody>{body}</tbody></table>'
    )


def _reliability(model: str, figures: dict) -> str:
    """Confidence against the share that is right, as a drawing of 100 × 100."""
    test = figures["test"]
    dots = "".join(
        f'<circle cx="{100 * row["confidence"]:.1f}" cy="{100 - 100 * row["accuracy"]:.1f}" '
        f'r="{0.6 + 0.45 * row["n"] ** 0.5:.1f}"><title>{row["n"]} photos: {row["confidence"]:.0%} '
        f"sure, {row['accuracy']:.0%} right</title></circle>"
        for row in test["reliability_calibrated"]
    )
    return f"""<figure class="{model.replace("_", "-")}"><svg viewBox="-3 -3 106 106" role="img"
aria-label="Reliability of {figures["model"]}"><rect width="100" height="100"/>
<line x1="0" y1="100" x2="100" y2="0"/>{dots}</svg><figcaption>{figures["model"]}: how sure
(from left to right), how often right (upwards); a dot is the larger, the more photos it stands for.
Expected calibration error {test["ece"]:.3f} as it is, {test["ece_calibrated"]:.3f} with its
temperature ({figures["temperature"]:.2f}).</figcaption></figure>"""


def _importance(metrics: dict) -> str:
    body = "".join(
        f'<tr class="zero-shot"><th scope="row">{escape(category)}</th>'
        f"<td>{bar_html(row['own'])}</td>"
        f"<td>{row['own']:.3f}</td><td>{row['others']:.3f}</td><td>{row['margin']:+.3f}</td></tr>"
        for category, row in metrics["importance"].items()
    )
    return f"""<table class="importance"><thead><tr><th scope="col">text of</th><th></th>
<th scope="col">its own photos</th><th scope="col">the others</th><th scope="col">margin</th></tr>
</thead><tbody>{body}</tbody></table>"""
