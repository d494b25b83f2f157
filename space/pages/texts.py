"""The Texts tab: other texts for the categories, and what they are worth, at once.

The photos' embeddings are computed once: only the texts are encoded anew.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import gradio as gr
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from data.categories import CATEGORIES
from data.labelled import load_photos
from data.texts import STUDY, Texts, TextsError, as_lines, from_lines, load_texts, parse_texts
from space.models.classifiers import Models, ZeroShot
from space.models.pixels import map_photos
from space.pages import NETWORKS, PRIVATE
from space.pages.compare import LIMITS
from space.pages.templates import render, script
from space.report.figures import as_svg, draw_matrix
from space.report.report import REPORT, ReportError, load_embeddings, load_report
from space.report.statistics import accuracy, difference_in_words, paired_difference

PRESETS = ("study", "better")
SAMPLE_PHOTOS = "the bundled sample of rendered photos"
NO_VALIDATION = "No validation photos: texts chosen by test photos look better than they are."
# Of a category.
MAX_TEXTS = 50
PROGRESS = gr.Progress(track_tqdm=True)
SHOWN = PRIVATE | {"show_progress": "minimal"}


class Photos(NamedTuple):
    """Photos as the zero-shot model sees them, (n, d) float32, and indices of CATEGORIES, (n,)."""

    embeddings: np.ndarray
    labels: np.ndarray


def texts_tab(
    models: Models, on_gpu: Callable[[Callable], Callable]
) -> tuple[gr.Button, list[gr.Textbox]]:
    """Build the tab inside gr.Blocks; the button that carries the texts over, and their boxes."""
    model = models.zero_shot
    known, notice = reported_photos(model)
    with gr.Tab("Texts") as tab:
        gr.Markdown(render("texts.html", part="advice", name=model.identity.name, notice=notice))
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                presets, boxes, use, as_json, read = _fields()
            with gr.Column(
                scale=3, min_width=320, elem_classes="evaluation", elem_id="texts-column"
            ):
                choices = list(known) or [SAMPLE_PHOTOS]
                chosen = gr.Radio(choices, value=choices[0], label="Measured on")
                result = gr.HTML(elem_id="texts-result")

    @on_gpu
    def measure(chosen: str, *lines: str, progress: gr.Progress = PROGRESS) -> str:
        try:
            texts = bounded(dict(zip(CATEGORIES, map(from_lines, lines), strict=True)))
        except TextsError as error:
            return render("texts.html", part="problem", problem=str(error))
        if chosen not in known:
            known[chosen] = sample_photos(model)
        return figures_html(model, known[chosen], texts)

    measured = gr.on(
        [tab.select, chosen.change, *(box.change for box in boxes)],
        measure,
        [chosen, *boxes],
        result,
        trigger_mode="always_last",
        **NETWORKS,
        **SHOWN,
    )
    busy = render("texts.html", part="problem", problem="The demo is busy: change a text again.")
    measured.failure(None, outputs=result, js=f"() => {json.dumps(busy)}")
    to_json = script("texts.js").replace("CATEGORIES", json.dumps(CATEGORIES))
    # In the browser: nothing that comes later overwrites what is pasted meanwhile.
    gr.on([box.change for box in boxes], None, boxes, as_json, js=to_json, **SHOWN)
    for key, button in presets.items():
        button.click(partial(as_lines, load_texts(key)), outputs=boxes, **SHOWN)
    read.click(_parse, as_json, boxes, **SHOWN)
    return use, boxes


def _fields() -> tuple[dict[str, gr.Button], list[gr.Textbox], gr.Button, gr.Textbox, gr.Button]:
    """The sets of texts by name, the texts, what carries them over, and the same as JSON."""
    with gr.Row():
        presets = {key: gr.Button(f"The {key} texts", size="sm") for key in PRESETS}
    boxes = [
        gr.Textbox(lines, label=category, lines=1, max_lines=8, max_length=LIMITS["text"])
        for category, lines in zip(CATEGORIES, as_lines(STUDY), strict=True)
    ]
    use = gr.Button("Use in Compare", variant="primary")
    as_json = gr.Textbox(
        json.dumps(STUDY, indent=1, ensure_ascii=False),
        label="As JSON: copy it, or paste another set here",
        lines=3,
        max_lines=6,
        max_length=2 * len(CATEGORIES) * LIMITS["text"],
        buttons=["copy"],
        elem_id="texts-as-json",
    )
    read = gr.Button("Use this JSON", size="sm")
    return presets, boxes, use, as_json, read


def _parse(text: str) -> tuple[str, ...]:
    try:
        return as_lines(bounded(parse_texts(text, "This set")))
    except TextsError as error:
        raise gr.Error(str(error), print_exception=False) from error


def bounded(texts: Texts) -> Texts:
    """The same texts; a TextsError where a category has none, or too many or too long ones."""
    if empty := [category for category, listed in texts.items() if not listed]:
        raise TextsError(f"Please write a text for {', '.join(empty)}.")
    for category, listed in texts.items():
        if len(listed) > MAX_TEXTS or len("\n".join(listed)) > LIMITS["text"]:
            raise TextsError(
                f"The texts for {category} are too long: at most {MAX_TEXTS} lines and "
                f"{LIMITS['text']} characters in all."
            )
    return texts


def figures_html(model: ZeroShot, photos: Photos, texts: Texts) -> str:
    """Accuracy, the difference to the study's texts, the confusion matrix and recall."""
    choices, study = (
        model.with_texts(each).logits_of(photos.embeddings).argmax(1) for each in (texts, STUDY)
    )
    right = choices == photos.labels
    found = paired_difference(right, study == photos.labels)
    matrix = confusion_matrix(photos.labels, choices, labels=range(len(CATEGORIES)))
    title = f"{model.identity.name}: confusion matrix with these texts"
    figure = Figure((5.6, 5.2), layout="constrained")
    draw_matrix(figure.subplots(), matrix, CATEGORIES, model.key, title)
    return render(
        "texts.html",
        part="figures",
        accuracy=accuracy(right),
        difference="" if texts == STUDY else difference_in_words(found, "this set", "the study's"),
        matrix=as_svg(figure, "texts", title, pressed=False),
        recall=zip(CATEGORIES, matrix.diagonal() / np.maximum(matrix.sum(1), 1), strict=True),
    )


def reported_photos(model: ZeroShot) -> tuple[dict[str, Photos], str]:
    """The unseen photos of the report that ships, and a sentence where they cannot be used."""
    try:
        report = load_report(REPORT)
        embeddings = load_embeddings(REPORT, report, model)
        labels = report.predictions["label"].map(CATEGORIES.index).to_numpy()
    except (ReportError, ValueError) as error:
        return {}, f"{error} The texts are measured on {SAMPLE_PHOTOS} instead."
    photos = {
        f"{split}, real product photos": Photos(embeddings[rows], labels[rows])
        for split in ("validation", "test")
        for rows in [(report.predictions["split"] == split).to_numpy()]
        if rows.any()
    }
    return photos, "" if "validation" in report.splits else NO_VALIDATION


def sample_photos(model: ZeroShot) -> Photos:
    """The bundled sample, embedded."""
    photos = load_photos(all_test=True)["test"]
    encode = model.encoder.encode_photos
    embeddings = map_photos(photos, model.processor, encode, model.identity.name)
    return Photos(embeddings, np.array(photos["label"]))
