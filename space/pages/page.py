"""The page: a photo on the left, the answer of both models on the right, and the API beside it.

A photo is chosen --> compare.js sends a Question (event `ask`) --> `answer` --> a hidden component
takes the HTML --> compare.js puts it into the table where it answers the newest question.
"""

import base64
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gradio as gr
from gradio.data_classes import ImageData
from gradio.utils import get_upload_folder, is_in_or_equal
from PIL import Image
from pydantic import ValidationError

from data.labelled import SAMPLE
from data.photos import PhotoError, read_photo
from space.models.checkpoints import CheckpointError
from space.models.classifiers import Models
from space.pages import NETWORKS, PRIVATE
from space.pages.compare import LIMITS, Question, answer, compare, study_rows
from space.pages.evaluation import evaluation_tab
from space.pages.many_photos import many_tab
from space.pages.templates import HERE, render, script
from space.pages.texts import texts_tab

JPEG = "data:image/jpeg;base64,"
EXAMPLES: list[str] = json.loads(script("examples.json"))
LAUNCH = {
    # The visitor's own fonts: nothing to fetch, and every weight is there.
    "theme": gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    "css_paths": sorted(HERE.glob("*.css"), key=lambda file: file.name != "page.css"),
    "max_file_size": "100mb",
    "enable_monitoring": False,
    "run_history": False,  # no list of a visitor's photos is kept in the browser
    "footer_links": ["api", "gradio", "settings"],
}
# The page's own script (compare.js) listens; what Gradio's events bring is handed to it.
TELL = "(detail) => {{ document.dispatchEvent(new CustomEvent('compare-{}', {{ detail }})); }}"


class PhotoInput(gr.Image):
    """An image input that reads every photo right and answers a broken one in a sentence."""

    is_template = True

    def preprocess(self, payload: ImageData | None) -> Image.Image | None:
        """Open an upload as an RGB picture; gr.Error says why that fails."""
        try:
            return read_photo(_find_photo(payload.path)) if payload else None
        except PhotoError as error:
            raise gr.Error(str(error), print_exception=False) from error


def build_demo(models: Models, on_gpu: Callable[[Callable], Callable]) -> gr.Blocks:
    """Build the page; `on_gpu` decorates what runs the networks, as ZeroGPU's decorator does.

    Raises:
        CheckpointError: a model has more categories than the page can show.
    """
    if (number := len(models.vgg16.categories)) > LIMITS["rows"]:
        raise CheckpointError(
            f"{models.vgg16.identity.checkpoint} has {number} categories; the page shows at most "
            f"{LIMITS['rows']}."
        )
    with gr.Blocks(title="VGG16 or CLIP?", delete_cache=(60, 600)) as demo:
        gr.Markdown(script("page.md"))
        with gr.Tabs() as tabs:
            with gr.Tab("Compare", id="compare"), gr.Row(equal_height=False):
                _compare_tab(models, on_gpu)
            with gr.Tab("Many photos"):
                many_tab(models, on_gpu)
            with gr.Tab("Evaluation"):
                evaluation_tab(models)
            use, boxes = texts_tab(models, on_gpu)
        use.click(None, boxes, tabs, js=script("carry_over.js"))
        _endpoint(models, on_gpu)
    demo.queue(max_size=32, api_open=False)
    return demo


def _compare_tab(models: Models, on_gpu: Callable[[Callable], Callable]) -> None:
    with gr.Column(scale=1, min_width=260, elem_id="photo"):
        photo = gr.Image(
            label="Product photo",
            sources=["upload", "clipboard", "webcam"],
            webcam_options=gr.WebcamOptions(mirror=False),
            buttons=["fullscreen"],
            height=300,
            interactive=True,
        )
        uris = {
            name: JPEG + base64.b64encode((SAMPLE / name).read_bytes()).decode()
            for name in EXAMPLES
        }
        examples = gr.HTML(
            render("examples.html", examples=uris),
            js_on_load=script("examples.js"),
            elem_id="examples",
        )
        # Set here, the example is named by its place in the sample, not on this server.
        photo.value = {"path": EXAMPLES[0], "url": uris[EXAMPLES[0]], "orig_name": "example"}
    reply_to = partial(answer, models, find=_find_photo)
    first = Question(rows=study_rows(models), photo=EXAMPLES[0])
    reply_to(first)  # slow, and its seconds would greet the visitors
    with gr.Column(scale=3, min_width=320):
        table = gr.HTML(reply_to(first), js_on_load=script("compare.js"), elem_id="answer")
        # An answer goes here first, and into the table where it is one to the newest question.
        reply = gr.HTML(visible=False)

    @on_gpu
    def answer_to(question: Question) -> str:
        return reply_to(question)

    def ask(event: gr.EventData) -> str:
        try:
            return answer_to(Question.model_validate(event._data))
        except ValidationError as error:
            raise gr.Error("Please reload the page.", print_exception=False) from error

    asked = table.ask(ask, outputs=reply, trigger_mode="multiple", **NETWORKS, **PRIVATE)
    asked.success(None, reply, js=TELL.format("answer"))
    asked.failure(None, js=TELL.format("failed"))
    photo.change(None, photo, js=TELL.format("photo"))
    examples.pick(None, outputs=photo, js="() => window.pickedExample")


def _endpoint(models: Models, on_gpu: Callable[[Callable], Callable]) -> None:
    """The API: what it says of itself is the docstring of compare_photo."""

    @on_gpu
    def compare_photo(photo: Image.Image | None) -> tuple[dict, dict, dict]:
        """Sort a product photo into seven categories with fine-tuned VGG16 and zero-shot CLIP.

        Returns each model's probability of each category, VGG16's first, and the rest: first
        choices, agreement, cosine similarities, seconds, and what the models are.
        """
        if photo is None:
            raise gr.Error("Please give a photo.", print_exception=False)
        return compare(models, photo)

    # Its components are never shown.
    gr.Button(visible=False).click(
        compare_photo,
        PhotoInput(label="Product photo", visible=False),
        [
            gr.JSON(label="VGG16: probability of each category", visible=False),
            gr.JSON(label="Zero-shot: probability of each category", visible=False),
            gr.JSON(label="Similarities, agreement, seconds, models", visible=False),
        ],
        api_name="compare",
        **NETWORKS,
    )


def _find_photo(path: str | None) -> Path:
    """The file of an example or of an upload, as the browser names it."""
    if path in EXAMPLES:
        return SAMPLE / path
    # A client may name any file of the server; only what was uploaded is opened.
    if not path or not is_in_or_equal(path, get_upload_folder()):
        raise PhotoError("Please upload the photo.")
    return Path(path)
