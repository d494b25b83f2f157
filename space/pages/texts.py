"""The Descriptions tab: other words for the categories, and what they are worth, at once.

The photos' embeddings are computed once: only the texts are encoded anew.
"""

import json
from collections.abc import Callable
from functools import partial
from html import escape
from typing import NamedTuple

import gradio as gr
import numpy as np
from safetensors.numpy import load_file

from data.categories import CATEGORIES
from data.labelled import load_photos
from data.texts import STUDY, Texts, TextsError, as_lines, from_lines, load_texts, parse_texts
from space.models.classifiers import category_embeddings, embed_all
from space.models.scoring import Models
from space.pages.evaluation import bar_html, matrix_html
from space.report.report import EMBEDDINGS, REPORT, read_metrics, read_predictions
from space.report.statistics import difference_in_words, paired_difference, wilson_interval

PRESETS = ("study", "better")
SAMPLE_PHOTOS = "the bundled sample of rendered photos"


class Photos(NamedTuple):
    """Labelled photos as the zero-shot model sees them."""

    # (n, d) float32, of unit length
    embeddings: np.ndarray
    # (n,) indices of categories
    labels: np.ndarray


def lab_tab(
    models: Models, on_gpu: Callable[[Callable], Callable]
) -> tuple[gr.Button, list[gr.Textbox]]:
    """Build the tab inside gr.Blocks; the button that carries the texts over, and their boxes."""
    name = models.zero_shot_identity.model
    known = reported_photos(models)
    advice = (
        "Choose words by the validation photos; the test photos tell what they are worth."
        if known
        else ""
    )
    with gr.Tab("Descriptions") as tab:
        gr.Markdown(
            f"What {name} compares a photo with is up to you. Several texts for a category go on "
            f"lines of their own: the photo is compared with their mean. {advice}"
        )
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                with gr.Row():
                    presets = {key: gr.Button(f"The {key} wording", size="sm") for key in PRESETS}
                boxes = [
                    gr.Textbox(lines, label=category, lines=1, max_lines=8)
                    for category, lines in zip(CATEGORIES, as_lines(STUDY), strict=True)
                ]
                use = gr.Button("Use in Compare", variant="primary")
                as_json = gr.Textbox(
                    label="As JSON: copy it, or paste another set here",
                    lines=3,
                    max_lines=6,
                    buttons=["copy"],
                    elem_id="texts-as-json",
                )
                read = gr.Button("Use this JSON", size="sm")
            with gr.Column(
                scale=3, min_width=320, elem_classes="evaluation", elem_id="words-column"
            ):
                choices = list(known) or [SAMPLE_PHOTOS]
                chosen = gr.Radio(choices, value=choices[0], label="Measured on")
                result = gr.HTML(elem_id="words")

    @on_gpu
    def measure(
        chosen: str,
        *lines: str,
        progress: gr.Progress = gr.Progress(track_tqdm=True),  # noqa: B008
    ) -> tuple[str, str]:
        if chosen not in known:
            known[chosen] = _sample(models)
        texts = dict(zip(CATEGORIES, map(from_lines, lines), strict=True))
        if empty := [category for category, listed in texts.items() if not listed]:
            return f"<p>Please write a text for {escape(', '.join(empty))}.</p>", ""
        return figures_html(models, known[chosen], texts), _as_json(texts)

    def preset(key: str) -> list[str]:
        return list(as_lines(load_texts(key)))

    def parse(text: str) -> list[str]:
        try:
            return list(as_lines(parse_texts(text, "This set")))
        except TextsError as error:
            raise gr.Error(str(error), print_exception=False) from error

    private = {"api_visibility": "private", "show_progress": "minimal"}
    gr.on(
        [tab.select, chosen.change, *(box.change for box in boxes)],
        measure,
        [chosen, *boxes],
        [result, as_json],
        trigger_mode="always_last",
        **private,
    )
    for key, button in presets.items():
        button.click(partial(preset, key), outputs=boxes, **private)
    read.click(parse, as_json, boxes, **private)
    return use, boxes


def figures_html(models: Models, photos: Photos, texts: Texts) -> str:
    """Accuracy, the difference to the study's wording, recall and the confusion matrix."""
    said = _first_choices(models, photos, texts)
    right, n = said == photos.labels, len(said)
    low, high = wilson_interval(int(right.sum()), n)
    verdict = (
        f"Right on <b>{right.mean():.1%}</b> of {n} photos (95% interval {low:.1%} to {high:.1%})."
    )
    study = _first_choices(models, photos, STUDY) == photos.labels
    found = paired_difference(right, study)
    difference = difference_in_words(found, "This wording", "the study's")
    matrix = np.zeros((len(CATEGORIES), len(CATEGORIES)), dtype=int)
    np.add.at(matrix, (photos.labels, said), 1)
    rows = "".join(
        f'<tr class="zero-shot"><th scope="row">{escape(category)}</th>'
        f'<td><span class="line">{bar_html(share)}<span>{share:.2f}</span></span></td></tr>'
        for category, share in zip(
            CATEGORIES, matrix.diagonal() / np.maximum(matrix.sum(1), 1), strict=True
        )
    )
    return f"""<p class="verdict" role="status">{verdict}</p><p>{escape(difference)}</p>
{matrix_html("zero_shot", models.zero_shot_identity.model, matrix)}
<h3>Recall <small>the share of a category's photos that is found</small></h3>
<table><tbody>{rows}</tbody></table>"""


def _first_choices(models: Models, photos: Photos, texts: Texts) -> np.ndarray:
    embeddings = category_embeddings(models.zero_shot, texts.values())
    return (photos.embeddings @ embeddings.T).argmax(1)


def reported_photos(models: Models) -> dict[str, Photos]:
    """The unseen photos of the report that ships, where it was made with this model."""
    if read_metrics()["zero_shot"]["revision"] != models.zero_shot_identity.revision:
        return {}
    predictions = read_predictions()
    embeddings = load_file(REPORT / EMBEDDINGS)["image_embeddings"]
    labels = predictions["label"].map(CATEGORIES.index).to_numpy()
    return {
        f"{split}, real product photos": Photos(embeddings[rows], labels[rows])
        for split in ("validation", "test")
        for rows in [predictions["split"] == split]
    }


def _sample(models: Models) -> Photos:
    """The bundled sample, embedded."""
    photos = load_photos(all_test=True)["test"]
    return Photos(embed_all(models.zero_shot, photos), np.array(photos["label"]))


def _as_json(texts: Texts) -> str:
    return json.dumps(texts, indent=1, ensure_ascii=False)
