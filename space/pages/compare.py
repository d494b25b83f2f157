"""The answer as one HTML table: a row a category, both models' bars side by side in it."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

from data.categories import DESCRIPTIONS
from data.texts import from_lines
from space.models.checkpoints import Identity
from space.models.classifiers import category_embeddings
from space.models.heat_maps import UnexplainedError, draw, explain_classifier, explain_zero_shot
from space.models.scoring import Models, PhotoScores, score_texts
from space.report.report import held_out_accuracy

MAX_ROWS = 20
MAX_NAME, MAX_TEXT = 80, 2000
# A model whose two first choices are closer than this is called unsure.
CLOSE = 0.15


@dataclass(frozen=True)
class Row:
    """A row of the table: a category of VGG16, one of the zero-shot model, or of both."""

    # What VGG16 was trained to call it; empty for a category that the user added.
    trained: str
    name: str
    # What the zero-shot model compares with, one text a line; empty where it is not offered it.
    text: str


@dataclass(frozen=True)
class Choice:
    """What a model says of a photo, row by row; NaN where it cannot say anything."""

    shares: np.ndarray
    similarities: np.ndarray

    @property
    def first(self) -> int | None:
        """The row of the highest share, if there is one."""
        return None if np.isnan(self.shares).all() else int(np.nanargmax(self.shares))


def study_rows(categories: list[str]) -> list[Row]:
    """The rows before anything is edited: VGG16's categories with the study's descriptions."""
    return [Row(name, name, DESCRIPTIONS.get(name, name)) for name in categories]


def render(
    models: Models,
    scores: PhotoScores | None,
    rows: list[Row],
    explained: tuple[int, int] | None = None,
) -> str:
    """The table, the sentence above it and the notes below it, as HTML.

    Args:
        models: the two models.
        scores: what they made of the photo, where there is one.
        rows: the rows of the table.
        explained: the rows whose heat maps are shown, VGG16's and the zero-shot model's.
    """
    vgg16, zero_shot = _choices(models, scores, rows)
    texts = tuple(row.text for row in rows if row.text)
    name = models.zero_shot_identity.model
    cut = [row.name for row in rows if any(map(models.zero_shot.is_cut, from_lines(row.text)))]
    body = "".join(_row(index, row, vgg16, zero_shot, name) for index, row in enumerate(rows))
    return f"""
<p class="verdict" role="status">{_verdict(rows, vgg16, zero_shot, name)}</p>
{_stand_in(models.zero_shot_identity)}
<table>
  <thead><tr>
    <th scope="col">Category</th>
    <th scope="col" class="vgg16">VGG16, fine-tuned <small>probability</small></th>
    <th scope="col" class="zero-shot">{name}, zero-shot
      <small>cosine similarity · share</small></th>
    <th scope="col" class="ask"><span class="hidden">Why</span></th>
    <th scope="col" class="words">The text that {name} compares with <small>edit it</small></th>
  </tr></thead>
  <tbody>{body}</tbody>
</table>
{_explanation(models, scores, rows, explained)}
<p class="edit">
  <button type="button" class="fold">✎ Edit the texts</button>
  <button type="button" class="add" {"disabled" if len(rows) >= MAX_ROWS else ""}>+ Add a category
  </button>
  <button type="button" class="restore">Restore the study's texts</button>
  {_cut(cut, name)}
  <span>Texts and categories change {name} alone: VGG16 was trained on labelled photos of its
  {len(models.vgg16.categories)} categories, and knows no others until it is trained again.</span>
</p>
<div class="models">
  {_model("vgg16", "VGG16, fine-tuned", models.vgg16_identity, scores, ())}
  {_model("zero_shot", f"{name}, zero-shot", models.zero_shot_identity, scores, texts)}
</div>
<p class="notes"><b>What the numbers mean.</b> VGG16 gives a probability to each category that it
was trained on. {name} measures how near the photo lies to each text (cosine similarity, −1 to 1);
its share is the softmax of {models.zero_shot.logit_scale:.0f} × similarity, where
{models.zero_shot.logit_scale:.0f} is the logit scale (1 / temperature): the higher it is, the more
a small lead counts. The two are not on one scale: 80% of one is not 80% of the other.</p>
"""


def _choices(models: Models, scores: PhotoScores | None, rows: list[Row]) -> tuple[Choice, Choice]:
    empty = np.full(len(rows), np.nan)
    if scores is None:
        return Choice(empty, empty), Choice(empty, empty)
    probability_of = dict(zip(models.vgg16.categories, scores.probabilities, strict=True))
    probabilities = np.array([probability_of.get(row.trained, np.nan) for row in rows])
    similarities, shares = empty.copy(), empty.copy()
    offered = [index for index, row in enumerate(rows) if row.text]
    if offered:
        texts = tuple(rows[index].text for index in offered)
        similarities[offered], shares[offered] = score_texts(models, scores, texts)
    return Choice(probabilities, empty), Choice(shares, similarities)


def _verdict(rows: list[Row], vgg16: Choice, zero_shot: Choice, name: str) -> str:
    if vgg16.first is None:
        return (
            "Drop a product photo, and both models say what it is. "
            "<small>Or paste it, photograph it, or click on an example.</small>"
        )
    says = f"VGG16 says <b>{escape(rows[vgg16.first].trained)}</b>"
    if zero_shot.first is None:
        verdict = f"{says}; {name} has no text to compare with."
    elif vgg16.first == zero_shot.first:
        verdict = f"Both say <b>{escape(rows[vgg16.first].name)}</b>."
    else:
        why = _why(vgg16.first, zero_shot.first, "each model's first choice", "Why?")
        verdict = f"{says}, {name} says <b>{escape(rows[zero_shot.first].name)}</b>. {why}"
    doubts = [
        _doubt("VGG16", vgg16, [row.trained for row in rows]),
        _doubt(name, zero_shot, [row.name for row in rows]),
    ]
    sure = "" if zero_shot.first is None else "Both are sure."
    return f"{verdict} <small>{' '.join(filter(None, doubts)) or sure}</small>"


def _doubt(model: str, choice: Choice, names: list[str]) -> str:
    order = np.argsort(-np.nan_to_num(choice.shares, nan=-1))[:2]
    shares = choice.shares[order]
    if len(order) < 2 or not shares[0] - shares[1] < CLOSE:
        return ""
    first, second = (f"{escape(names[i])} ({choice.shares[i]:.0%})" for i in order)
    return f"{model} is unsure between {first} and {second}."


def _row(index: int, row: Row, vgg16: Choice, zero_shot: Choice, model: str) -> str:
    label = escape(row.name or row.trained, quote=True)
    name, text = escape(row.name, quote=True), escape(row.text, quote=True)
    trained = escape(row.trained, quote=True)
    vgg16_cell = _score(
        ("vgg16", "VGG16"),
        vgg16.shares[index],
        f"{vgg16.shares[index]:.0%}",
        index == vgg16.first,
        "not trained on it"
        if not trained
        else f"trained as “{trained}”"
        if name != trained
        else "",
    )
    zero_shot_cell = _score(
        ("zero-shot", model),
        zero_shot.shares[index],
        f"{zero_shot.similarities[index]:.2f} · {zero_shot.shares[index]:.0%}",
        index == zero_shot.first,
        "" if text else "no text",
    )
    known = not np.isnan([vgg16.shares[index], zero_shot.shares[index]]).all()
    return f"""
<tr data-trained="{trained}">
  <th scope="row"><span class="hidden">{label}</span>
    <textarea class="name" rows="1" maxlength="{MAX_NAME}" value="{name}" placeholder="name"
     aria-label="Name of the category {label}">{name}</textarea></th>
  {vgg16_cell}
  {zero_shot_cell}
  <td class="ask">{_why(index, index, label, "why") if known else ""}</td>
  <td class="words"><textarea class="text" rows="1" maxlength="{MAX_TEXT}" value="{text}"
     placeholder="describe it in a few words" aria-label="Text of {label} for {model}"
     >{text}</textarea>
    <button type="button" class="remove" title="Remove for {model}"
     aria-label="Remove {label} for {model}">×</button></td>
</tr>"""


def _score(model: tuple[str, str], share: float, number: str, first: bool, note: str) -> str:
    """A cell: the bar, its number, a mark on the first choice, and a note where there is one."""
    column, name = model
    known = not np.isnan(share)
    width = f"{share:.1%}" if known else "0"
    mark = '<span class="mark">▶<span class="hidden"> first choice: </span></span>'
    return f"""<td class="score {column} {"first" if first else ""}"><span class="line">
    {mark if first else ""}<span class="which" aria-hidden="true">{name}</span>
    <span class="bar"><span style="width:{width}"></span></span>
    <span class="number">{number if known else ""}</span></span><small>{note}</small></td>"""


def _why(vgg16_row: int, zero_shot_row: int, label: str, text: str) -> str:
    """A button that asks for the heat maps of a row for each model; label is escaped."""
    return f"""<button type="button" class="why" aria-label="Why: {label}"
    data-vgg16="{vgg16_row}" data-zero-shot="{zero_shot_row}">{text}</button>"""


def _explanation(
    models: Models, scores: PhotoScores | None, rows: list[Row], explained: tuple[int, int] | None
) -> str:
    """Both models' heat maps side by side; nothing where none is asked for."""
    if scores is None or explained is None:
        return '<section class="explanation" hidden></section>'
    vgg16_row, zero_shot_row = (rows[index] for index in explained)
    legend = draw(Image.new("RGB", (128, 8), "grey"), np.tile(np.linspace(0, 1, 128), (8, 1)))
    return f"""<section class="explanation" tabindex="-1" aria-label="Why">
  <div class="maps">
    {_vgg16_map(models, scores, vgg16_row)}
    {_zero_shot_map(models, scores, zero_shot_row)}
  </div>
  <p class="legend">least <img src="{_data_uri(legend)}" alt="from dark to yellow"> most</p>
  <p>Yellow is where the photo spoke most for the category. Each map has its own scale: compare
  places, not brightness.</p>
  <button type="button" class="close">Close</button>
</section>"""


def _vgg16_map(models: Models, scores: PhotoScores, row: Row) -> str:
    if row.trained not in models.vgg16.categories:
        return f'<p class="vgg16">VGG16 was not trained on {escape(row.name)}.</p>'
    index = models.vgg16.categories.index(row.trained)
    return _map(
        "vgg16",
        f"VGG16: {row.trained}, probability {scores.probabilities[index]:.0%}",
        scores.vgg16_saw,
        lambda: explain_classifier(models.vgg16, scores.vgg16_saw, index),
    )


def _zero_shot_map(models: Models, scores: PhotoScores, row: Row) -> str:
    model = models.zero_shot_identity.model
    if not row.text:
        return f'<p class="zero-shot">{model} has no text of {escape(row.name)}.</p>'
    embedding = category_embeddings(models.zero_shot, [from_lines(row.text)])[0]
    return _map(
        "zero-shot",
        f"{model}: {row.name}, cosine similarity {embedding @ scores.image_embedding:.2f}",
        scores.zero_shot_saw,
        lambda: explain_zero_shot(models.zero_shot, scores.zero_shot_saw, embedding),
    )


def _map(column: str, caption: str, saw: Image.Image, explain: Callable[[], np.ndarray]) -> str:
    """A heat map over what the model saw; where there is none, the reason in its place."""
    caption = escape(caption, quote=True)
    try:
        heat = explain()
    except UnexplainedError as error:
        return f'<p class="{column}">{caption}. {error}</p>'
    if not heat.any():
        caption += "; nothing in the photo spoke for it"
    return f"""<figure class="{column}">
    <img src="{_data_uri(draw(saw, heat))}" alt="Heat map. {caption}">
    <figcaption>{caption}</figcaption></figure>"""


def _model(
    key: str, title: str, identity: Identity, scores: PhotoScores | None, texts: tuple[str, ...]
) -> str:
    """What a model is, how long it took, how often it is right, and what it saw."""
    measured = held_out_accuracy(key, identity, texts)
    if measured:
        low, high = measured["accuracy_ci95"]
        accuracy = (
            f"Right on <b>{measured['accuracy']:.0%}</b> of {measured['n']} held-out photos "
            f"(95% interval {low:.0%} to {high:.0%})"
        )
    else:
        what = "This checkpoint was" if key == "vgg16" else "This checkpoint with these texts was"
        accuracy = (
            f"{what} not measured on held-out photos; "
            "<code>python training/compare_models.py --dataset PHOTOS --output space/report</code> "
            "does it"
        )
    seconds, picture = "", ""
    if scores:
        saw = scores.vgg16_saw if key == "vgg16" else scores.zero_shot_saw
        took = scores.vgg16_seconds if key == "vgg16" else scores.zero_shot_seconds
        seconds = f"<li>{1000 * took:.0f} ms for this photo</li>"
        picture = (
            f'<figure><img src="{_data_uri(saw)}" alt="The photo as {title} saw it" width="112">'
            f"<figcaption>what it saw, {saw.width} × {saw.height}</figcaption></figure>"
        )
    return f"""<div class="model {key.replace("_", "-")}">{picture}<div>
    <h3>{title}</h3>
    <ul><li>{accuracy}</li>{seconds}
    <li>{escape(identity.checkpoint)}, revision {escape(identity.revision[:8])},
    {identity.parameters / 1e6:.1f} M parameters, {identity.bytes / 1e6:.0f} MB</li></ul>
  </div></div>"""


def _stand_in(identity: Identity) -> str:
    if not identity.stands_in:
        return ""
    return f"""<p class="stand-in">{identity.model}, a smaller zero-shot model that is bundled,
stands in for CLIP: {escape(identity.stands_in)}</p>"""


def _cut(names: list[str], model: str) -> str:
    if not names:
        return ""
    return f"""<span class="stand-in" role="status">The text of {escape(", ".join(names))} is longer
than {model} can read; its end is cut.</span>"""


def _data_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
