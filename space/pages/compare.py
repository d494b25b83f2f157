"""The answer for one photo: a row a category, each model's bars side by side in it.

The browser asks one question at a time (compare.js), and the server keeps nothing of it: a
question brings all that its answer needs, and the answer carries the question's number.
"""

import base64
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import AfterValidator, BaseModel, Field, NonNegativeInt
from scipy.special import softmax

from data.photos import PhotoError, read_photo
from data.texts import from_lines
from space.models.classifiers import Model, Models, ZeroShot
from space.models.heat_maps import UnexplainedError, draw, heat_map
from space.models.pixels import photo_shape, picture, pixels_of, prepare
from space.pages.templates import render
from space.report.report import COMMAND, accuracy_of

LIMITS = {"rows": 20, "name": 80, "text": 2000}
CLOSE = 0.15  # a model whose two first choices are closer than this is called unsure


class Row(BaseModel):
    """A row of the table: a category of VGG16, one of the zero-shot model, or of both."""

    trained: str  # what VGG16 was trained to call it; empty for one that the user added
    name: Annotated[str, AfterValidator(lambda name: name[: LIMITS["name"]])]
    # What the zero-shot model compares with, one text a line; empty where it is not offered it.
    text: Annotated[str, AfterValidator(lambda text: text[: LIMITS["text"]])]


class Question(BaseModel):
    """A photo, or what each model saw of it, and the rows to sort it into; or rows alone."""

    rows: Annotated[list[Row], Field(max_length=LIMITS["rows"])]
    number: NonNegativeInt = 0
    explained: list[NonNegativeInt] | None = None  # for each model, the row to draw a heat map of
    photo: str | None = None  # a file, as the browser names it
    seen: dict[str, str] = {}  # without a file: the pictures of an earlier answer, by model


@dataclass(frozen=True)
class Column:
    """What one model says of a photo, row by row."""

    model: Model  # bound to the texts of the rows, where it compares with texts
    places: dict[int, int]  # of the rows that it knows, the index among its categories
    saw: Image.Image | None = None
    logits: np.ndarray | None = None  # (categories,); None where there is no photo or no category
    # Of each row that it knows, the most probable first; empty where there are no logits.
    probabilities: dict[int, float] = field(default_factory=dict)
    seconds: float = 0.0

    def similarity(self, row: int) -> float:
        """The cosine similarity of a row, of a model that measures it."""
        return float(self.logits[self.places[row]]) / self.model.encoder.logit_scale

    @property
    def unsure(self) -> bool:
        nearest = list(self.probabilities.values())[:2]
        return len(nearest) == 2 and nearest[0] - nearest[1] < CLOSE

    def heat(self, row: int) -> tuple[Image.Image | None, str]:
        """Where the row's score comes from, drawn, and what is to be said of it."""
        try:
            heat = heat_map(self.model, self.saw, self.places[row])
        except UnexplainedError as error:
            return None, str(error)
        return draw(self.saw, heat), "" if heat.any() else "nothing in the photo spoke for it"


def study_rows(models: Models) -> list[Row]:
    """The rows before anything is edited: what VGG16 was trained on, with the study's texts."""
    texts = models.zero_shot.texts
    return [
        Row(trained=name, name=name, text="\n".join(texts.get(name, [name])))
        for name in models.vgg16.categories
    ]


def answer(models: Models, question: Question, find: Callable[[str], Path]) -> str:
    """The table, the sentence above it and the notes below it, as HTML.

    Of a photo that cannot be read, or that `find` refuses to look up, its sentence is the answer.
    """
    photo, seen, problem = None, {}, ""
    try:
        if question.photo:
            photo = read_photo(find(question.photo))
        elif question.seen:
            seen = {model.key: _read_seen(model, question.seen) for model in models}
    except PhotoError as error:
        problem = str(error)
    rows, explained = question.rows, question.explained or []
    if len(explained) != len(models) or max(explained) >= len(rows):
        explained = []
    is_cut = models.zero_shot.encoder.is_cut
    return render(
        "compare.html",
        question=question,
        problem=problem,
        explained=explained,
        columns=[_column(model, rows, photo, seen.get(model.key)) for model in models],
        legend=draw(Image.new("RGB", (128, 8), "grey"), np.tile(np.linspace(0, 1, 128), (8, 1))),
        accuracy_of=accuracy_of,
        command=COMMAND,
        models=models,
        cut=[row.name for row in rows if any(map(is_cut, from_lines(row.text)))],
        study=[row.model_dump() for row in study_rows(models)],
        limits=LIMITS,
    )


def compare(models: Models, photo: Image.Image) -> tuple[dict, dict, dict]:
    """Sort an RGB photo with each model and the study's texts.

    Returns each model's probability of each category, and the rest as plain values, of which
    `categories` are the models' first choices.
    """
    names = models.vgg16.categories
    columns = {model.key: _column(model, study_rows(models), photo) for model in models}
    vgg16, zero_shot = (
        {name: column.probabilities[row] for row, name in enumerate(names)}
        for column in columns.values()
    )
    first = {key: names[next(iter(column.probabilities))] for key, column in columns.items()}
    similarities = map(columns["zero_shot"].similarity, range(len(names)))
    details = {
        "categories": first,
        "agree": len(set(first.values())) == 1,
        "cosine_similarities": dict(zip(names, similarities, strict=True)),
        "logit_scale": models.zero_shot.encoder.logit_scale,
        "seconds": {key: round(column.seconds, 4) for key, column in columns.items()},
        "models": {model.key: asdict(model.identity) for model in models},
    }
    return vgg16, zero_shot, details


def _column(
    model: Model, rows: list[Row], photo: Image.Image | None, saw: Image.Image | None = None
) -> Column:
    # A name of each row that no other row has, whatever the user calls it.
    keys = [row.trained or f"row {index}" for index, row in enumerate(rows)]
    if isinstance(model, ZeroShot):
        texts = {key: from_lines(row.text) for key, row in zip(keys, rows, strict=True)}
        model = model.with_texts({key: listed for key, listed in texts.items() if listed})
    index = {category: place for place, category in enumerate(model.categories)}
    places = {row: index[key] for row, key in enumerate(keys) if key in index}
    if not index or not (photo or saw):
        return Column(model, places, saw)
    if isinstance(model, ZeroShot):
        _ = model.weights  # the texts are encoded before the clock starts
    start = time.perf_counter()
    pixels = pixels_of(saw, model.processor) if saw else prepare([photo], model.processor)
    logits = model.logits(pixels)[0]
    seconds = time.perf_counter() - start
    values = softmax(logits).tolist()
    ranked = sorted(places, key=lambda row: values[places[row]], reverse=True)
    probabilities = {row: values[places[row]] for row in ranked}
    saw = saw or picture(pixels[0], model.processor)
    return Column(model, places, saw, logits, probabilities, seconds)


def _read_seen(model: Model, seen: dict[str, str]) -> Image.Image:
    """What the model saw of a photo, as an earlier answer showed it."""
    try:
        png = base64.b64decode(seen[model.key].partition(",")[2], validate=True)
        saw = read_photo(png)
        if saw.size == tuple(photo_shape(model.processor)[:1:-1]):
            return saw
    except (KeyError, ValueError, PhotoError):
        pass
    raise PhotoError("What was seen of the photo is lost; please choose the photo again.")
