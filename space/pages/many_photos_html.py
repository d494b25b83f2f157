"""Many photos as HTML: a table in three groups, and beside it the photo that is looked at.

many.js makes it work; the order of the categories is that of the keys 1 to 7.
"""

import base64
import io
from html import escape

from PIL import Image

from data.categories import CATEGORIES
from space.report.report import MODELS
from space.sorting.rule import PERSON, Rule

# Enough to tell what a photo shows, and 200 of them are three megabytes.
PICTURE_SIZE = (320, 320)


def progress_html(done: int, total: int) -> str:
    """How far the sorting is."""
    return f"""<p class="verdict">{done} of {total} photos are sorted.</p><div class="bar"
role="progressbar" aria-label="Photos sorted" aria-valuemax="{total}" aria-valuenow="{done}">
<span style="width:{done / total:.0%}"></span></div>"""


def table_html(rows: list[dict], rule: Rule) -> str:
    """The photos in three groups, and beside them the one that is looked at, which many.js fills.

    Args:
        rows: of `sort_batch`.
        rule: knows the models' names.
    """
    names = {model.replace("_", "-"): rule.models[model]["model"] for model in MODELS}
    groups = {title: group for title, group in _groups(rows).items() if group}
    counts = ", ".join(f"{len(group)} {title}" for title, group in groups.items())
    heads = "".join(f'<th scope="col" class="{key}">{name}</th>' for key, name in names.items())
    photos = "".join(
        f'<tbody><tr><th colspan="4" scope="rowgroup">{len(group)} {title}</th></tr>'
        f"{''.join(_row(index, rows[index], names) for index in group)}</tbody>"
        for title, group in groups.items()
    )
    return f"""<p class="verdict">{counts}. <small role="status"></small></p>
<p class="downloads">Download <button type="button" data-file="sorted.csv">the table (CSV)</button>
<button type="button" data-file="sorted.zip">all photos with a category (zip)</button>
<button type="button" data-file="corrections.zip" disabled>those that you set (zip)</button></p>
<div class="pair">
  <table class="photos" role="grid" aria-label="Photos" aria-describedby="many-keys">
    <thead><tr><th scope="col">photo</th>{heads}<th scope="col">category</th></tr></thead>{photos}
  </table>
  {_panel(names, heads)}
</div>"""


def _panel(names: dict[str, str], heads: str) -> str:
    """The chosen photo, and a row a category: its key, and both models' bars."""
    cells = "".join(
        f'<td class="{key}"><span class="line"><span class="which" aria-hidden="true">{name}</span>'
        '<span class="bar"><span></span></span><span></span></span></td>'
        for key, name in names.items()
    )
    bars = "".join(
        f'<tr><th scope="row"><button type="button" data-label="{label}" aria-pressed="false">'
        f"<kbd>{label + 1}</kbd> <span>{escape(category)}</span></button></th>{cells}</tr>"
        for label, category in enumerate(CATEGORIES)
    )
    return f"""<section class="panel" aria-label="The chosen photo" hidden>
  <img alt=""><p class="why"></p>
  <table><thead><tr><th scope="col">category</th>{heads}</tr></thead><tbody>{bars}</tbody></table>
  <p id="many-keys"><kbd>j</kbd> or <kbd>↓</kbd> next photo, <kbd>k</kbd> or <kbd>↑</kbd> the one
  before; <kbd>1</kbd> to <kbd>{len(CATEGORIES)}</kbd> set the category and go on, <kbd>0</kbd>
  takes it back.</p></section>"""


def _groups(rows: list[dict]) -> dict[str, list[int]]:
    """Which rows are left to a person, sorted, and broken; the most doubtful first."""
    good = sorted(
        (index for index, row in enumerate(rows) if "shares" in row),
        key=lambda index: rows[index]["shares"].mean(axis=0).max(),
    )
    return {
        "for you to look at": [row for row in good if rows[row]["decision"] == PERSON],
        "sorted without a person": [row for row in good if rows[row]["decision"] != PERSON],
        "that cannot be read": [row for row in range(len(rows)) if row not in good],
    }


def _row(index: int, row: dict, names: dict[str, str]) -> str:
    path, why = escape(row["path"]), escape(row["why"])
    if "shares" not in row:
        return f'<tr><th scope="row">{path}</th><td colspan="3">{why}</td></tr>'
    said = "".join(
        f'<td class="{key}"><span class="which" aria-hidden="true">{name} </span>'
        f"{escape(row[model])} <small>{row[f'{model}_confidence']:.0%}</small></td>"
        for model, (key, name) in zip(MODELS, names.items(), strict=True)
    )
    decision = "" if row["decision"] == PERSON else escape(row["decision"])
    percent = " ".join(f"{100 * share:.1f}" for share in row["shares"].flatten())
    return f"""<tr tabindex="-1" data-row="{index}" data-decision="{decision}" data-why="{why}"
data-shares="{percent}"><th scope="row"><span class="line">
<img src="{row["picture"]}" alt="" loading="lazy"><span class="path">{path}</span></span></th>
{said}<td class="category">{decision or "not set"}</td></tr>"""


def small_picture(photo: Image.Image) -> str:
    """A data URI of the photo, which is shrunk for it."""
    photo.thumbnail(PICTURE_SIZE)
    buffer = io.BytesIO()
    photo.save(buffer, "WEBP", quality=75)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
