"""The page: a photo on the left, the answer of both models on the right, and the API beside it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gradio as gr
from gradio.data_classes import ImageData
from gradio.utils import is_in_or_equal
from PIL import Image

from data.categories import CATEGORIES
from data.labelled import SAMPLE
from data.photos import PhotoError, read_photo
from space.models.scoring import Models, PhotoScores, compare, score_photo
from space.pages.compare import MAX_NAME, MAX_ROWS, MAX_TEXT, Row, render, study_rows
from space.pages.evaluation import evaluation_tab
from space.pages.many_photos import many_tab
from space.pages.texts import lab_tab

HERE = Path(__file__).parent
EXAMPLES = [
    "watches/wristwatch-1.jpg",
    "baby care/teddy-bear-4.jpg",
    "beauty and personal care/lotion-4.jpg",
    "computers/laptop-2.jpg",
    "home decor & festive needs/vase-4.jpg",
    "home decor & festive needs/framed-picture-2.jpg",
    "home furnishing/cushion-2.jpg",
    "home furnishing/curtain-3.jpg",
    "kitchen & dining/mug-1.jpg",
    "kitchen & dining/place-setting-2.jpg",
]
FIRST_EXAMPLE = EXAMPLES[0]
UPLOAD_SECONDS = 600
LAUNCH = {
    # The visitor's own fonts: nothing to fetch, and every weight is there.
    "theme": gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    "css_paths": HERE / "page.css",
    "max_file_size": "100mb",
    "enable_monitoring": False,
    # No list of a visitor's photos is kept in the browser.
    "run_history": False,
    "footer_links": ["api", "gradio", "settings"],
}


class PhotoInput(gr.Image):
    """An image input that reads every photo right and answers a broken one in a sentence."""

    is_template = True

    def preprocess(self, payload: ImageData | None) -> Image.Image | None:
        """Open an upload as an RGB image.

        Raises:
            gr.Error: the payload is not an upload, or not a photo.
        """
        if payload is None:
            return None
        # A client may name any file of the server; only what was uploaded is opened.
        if not payload.path or not is_in_or_equal(payload.path, self.GRADIO_CACHE):
            raise gr.Error("Please upload the photo.", print_exception=False)
        try:
            return read_photo(payload.path)
        except PhotoError as error:
            raise gr.Error(str(error), print_exception=False) from error


def build_demo(models: Models, on_gpu: Callable[[Callable], Callable]) -> gr.Blocks:
    """Build the page.

    Args:
        models: the two models; the example that greets visitors is scored here, once.
        on_gpu: a decorator for what runs the networks (ZeroGPU's; elsewhere it does nothing).
    """
    rows = study_rows(models.vgg16.categories)
    first = read_photo(SAMPLE / FIRST_EXAMPLE)
    # The first pass is slow, and its seconds would greet the visitors.
    score_photo(models, first)
    example = score_photo(models, first)

    @on_gpu
    def draw(
        scores: PhotoScores | None, rows: list[Row], explained: tuple[int, int] | None = None
    ) -> str:
        return render(models, scores, rows, explained)

    @on_gpu
    def show(photo: Image.Image | None, rows: list[Row]) -> tuple[str, PhotoScores | None]:
        scores = score_photo(models, photo) if photo else None
        return render(models, scores, rows), scores

    def describe(
        scores: PhotoScores | None, event: gr.EventData
    ) -> tuple[str, PhotoScores | None, list[Row]]:
        edited = _rows(event.rows)
        return draw(scores, edited, event.explained), scores, edited

    def restore(scores: PhotoScores | None) -> tuple[str, PhotoScores | None, list[Row]]:
        return draw(scores, rows), scores, rows

    def carry_over(
        scores: PhotoScores | None, *texts: str
    ) -> tuple[str, PhotoScores | None, list[Row], gr.Tabs]:
        words = dict(zip(CATEGORIES, texts, strict=True))
        edited = [replace(row, text=words.get(row.trained, row.text)) for row in rows]
        return draw(scores, edited), scores, edited, gr.Tabs(selected="compare")

    with gr.Blocks(title="VGG16 or CLIP?", delete_cache=(60, UPLOAD_SECONDS)) as demo:
        gr.Markdown("# VGG16 or CLIP?\nTwo ways to sort a product photo, side by side.")
        described = gr.State(rows)
        # Kept from the last edit on as long as an upload is; what is shown then asks for a photo.
        scored = gr.State(None, time_to_live=UPLOAD_SECONDS)
        with gr.Tabs() as tabs, gr.Tab("Compare", id="compare"), gr.Row(equal_height=False):
            with gr.Column(scale=1, min_width=260, elem_id="photo"):
                photo = _photo_input()
            with gr.Column(scale=3, min_width=320):
                answer = gr.HTML(
                    render(models, example, rows),
                    js_on_load=(HERE / "compare.js").read_text(encoding="utf-8"),
                    elem_id="answer",
                )
        with tabs:
            with gr.Tab("Many photos"):
                many_tab(models, on_gpu)
            with gr.Tab("Evaluation"):
                evaluation_tab()
            use, boxes = lab_tab(models, on_gpu)

        private = {"api_visibility": "private", "show_progress": "minimal"}
        latest = {**private, "trigger_mode": "always_last"}
        photo.change(show, [photo, described], [answer, scored], **latest)
        answer.describe(describe, scored, [answer, scored, described], **latest)
        answer.restore(restore, scored, [answer, scored, described], **private)
        demo.load(lambda: example, outputs=scored, **private)
        use.click(carry_over, [scored, *boxes], [answer, scored, described, tabs], **private)

        _endpoint(models, on_gpu, photo)
    demo.queue(max_size=32, api_open=False)
    return demo


def _photo_input() -> PhotoInput:
    """Where a photo is dropped, and examples below it."""
    photo = PhotoInput(
        SAMPLE / FIRST_EXAMPLE,
        label="Product photo",
        sources=["upload", "clipboard", "webcam"],
        webcam_options=gr.WebcamOptions(mirror=False),
        buttons=["fullscreen"],
        height=300,
    )
    gr.Examples(
        [[SAMPLE / name] for name in EXAMPLES],
        inputs=photo,
        label="Or try one of these",
        cache_examples=False,
        api_visibility="private",
        examples_per_page=len(EXAMPLES),
    )
    return photo


def _endpoint(models: Models, on_gpu: Callable[[Callable], Callable], photo: PhotoInput) -> None:
    """The API: what it says of itself is the docstring of compare_photo."""

    @on_gpu
    def compare_photo(photo: Image.Image | None) -> tuple[dict, dict, dict]:
        """Sort a product photo into seven categories with fine-tuned VGG16 and zero-shot CLIP.

        Returns VGG16's probability and the zero-shot model's softmax share of each category, and
        the rest: first choices, agreement, cosine similarities, seconds, and what the models are.
        """
        if photo is None:
            raise gr.Error("Please give a photo.", print_exception=False)
        return compare(models, photo)

    # Its components are never shown.
    gr.Button(visible=False).click(
        compare_photo,
        photo,
        [
            gr.JSON(label="VGG16: probability of each category", visible=False),
            gr.JSON(label="Zero-shot: softmax share of each category", visible=False),
            gr.JSON(label="Similarities, agreement, seconds, models", visible=False),
        ],
        api_name="compare",
    )


def _rows(described: list[dict[str, str]]) -> list[Row]:
    """What the browser says of the rows, held to the limits that it shows."""
    return [
        Row(
            str(row["trained"])[:MAX_NAME],
            str(row["name"]).strip()[:MAX_NAME],
            str(row["text"]).strip()[:MAX_TEXT],
        )
        for row in described[:MAX_ROWS]
    ]
