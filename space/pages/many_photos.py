"""The tab "Many photos": up to 200 sorted at once, the doubtful first, the result to take home.

    uploads --photos_in--> photos --sort_photos--> rows --the person's keys--> CSV, zips

The page asks for one batch after the other (many_photos.js), so that in the queue others have
their turn between two. It keeps what the person sets, and sends it with each download. The photos
stay where Gradio puts uploads, and are deleted from there ten minutes after the last key.
"""

import mmap
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from zipfile import ZipFile

import gradio as gr
import pyarrow as pa
from gradio.data_classes import FileData, ListFiles
from gradio.utils import get_upload_folder, is_in_or_equal
from PIL import Image

from data.errors import UserError
from data.photos import PhotoError
from data.sources import DataError, open_source, zip_photos
from space.models.classifiers import Models
from space.pages import NETWORKS, PRIVATE
from space.pages.templates import data_uri, render, script
from space.sorting.batches import Logits, Photo, Pixels, logits_of, sort_photos
from space.sorting.rule import PERSON, Rule, find_rule
from space.sorting.table import row_schema, write_table

PRECISION = 0.99
MAX_PHOTOS = 200
MAX_UNPACKED = 200 * 1024**2
MAX_ENTRIES = 10 * MAX_PHOTOS  # of a zip: also folders, and what macOS adds
BATCH = 4  # larger ones are no faster on a processor, and take more memory
GONE = "These photos are gone, ten minutes after your last key: please drop them again."
ADVICE = "Drop fewer, or sort them all with python space/sort_photos.py."


class Drop(NamedTuple):
    """Photos that were dropped, and the rows of those that are sorted."""

    number: int  # of later ones it is higher, also after the app was started again
    files: list[Path]
    photos: list[Photo]
    rows: list[dict]


class PhotosInput(gr.File):
    """An input for many photos, and zips of them."""

    is_template = True

    def preprocess(self, payload: ListFiles) -> list[FileData]:
        """Files that were uploaded, or gr.Error: a client may name any file of the server."""
        if not all(is_in_or_equal(file.path, self.GRADIO_CACHE) for file in payload):
            raise gr.Error("Please upload the photos.", print_exception=False)
        return list(payload)


def many_tab(models: Models, on_gpu: Callable[[Callable], Callable]) -> None:
    """Build the tab inside gr.Blocks; the arguments are those of `build_demo`."""
    try:
        rule = find_rule(PRECISION, models)
    except UserError as error:
        gr.Markdown(str(error))
        return

    @on_gpu
    def score(pixels: Pixels) -> Logits:
        return logits_of(models, rule.categories, pixels)

    sort = partial(sort_photos, models, rule, threads=1, score=score, show=small_picture)

    def save(drop: Drop | None, event: gr.EventData) -> Path:
        if drop is None:
            raise gr.Error(GONE, print_exception=False)
        corrections = {int(row): rule.categories[label] for row, label in event.corrections.items()}
        # In its cache, Gradio deletes what it is given.
        file = Path(tempfile.mkdtemp(dir=get_upload_folder()), Path(event.file).name)
        try:
            return write_result(drop, list(rule.names), corrections, file)
        except (OSError, PhotoError) as error:
            raise gr.Error(GONE, print_exception=False) from error

    with gr.Column(elem_id="many", elem_classes="evaluation"):
        gr.Markdown(render("many_photos.html", part="advice", rule=rule))
        label = f"Up to {MAX_PHOTOS} photos, or a zip of them"
        files = PhotosInput(label=label, file_count="multiple", height=150)
        table = gr.HTML(js_on_load=script("many_photos.js"))
        saved = gr.DownloadButton(visible="hidden", elem_id="many-saved")
        found = gr.State(None, time_to_live=600)  # as long as the interface keeps uploads

    files.upload(partial(_begin, rule), files, [files, table, found], **PRIVATE)
    more = partial(_go_on, rule, sort)
    table.more(more, found, table, trigger_mode="always_last", **NETWORKS, **PRIVATE)
    table.keep(_keep, found, found, queue=False, **PRIVATE)
    table.download(save, found, saved, **PRIVATE).success(
        None, js="() => document.getElementById('many-saved').click()", **PRIVATE
    )


def _begin(rule: Rule, files: list[FileData]) -> Iterator[tuple]:
    try:
        drop = Drop(time.time_ns(), [Path(file.path) for file in files], photos_in(files), [])
        yield None, table_html(drop, rule), drop
    except DataError as error:
        # The box is left empty, and everything else as it is.
        yield None, gr.skip(), gr.skip()
        raise gr.Error(str(error), print_exception=False) from error


def _go_on(rule: Rule, sort: Callable, drop: Drop | None) -> str:
    if drop is None:
        return render("many_photos.html", part="gone", gone=GONE)
    # The rows are kept in place: a drop that came meanwhile is not written over.
    drop.rows.extend(chain.from_iterable(sort(drop.photos[len(drop.rows) :][:BATCH])))
    return table_html(drop, rule)


def _keep(drop: Drop | None) -> Drop | None:
    for file in drop.files if drop else []:
        with suppress(OSError):
            os.utime(file)
    return drop


def photos_in(files: list[FileData]) -> list[Photo]:
    """The photos among uploads, or DataError; zips are looked into, and not unpacked."""
    photos, unpacked = [], 0
    for file in files[: MAX_PHOTOS + 1]:
        path = Path(file.path)
        if path.suffix.lower() != ".zip":
            photos.append(Photo(file.orig_name or path.name, path.read_bytes))
        elif entries(path) > MAX_ENTRIES:
            raise DataError(f"More than {MAX_PHOTOS} photos are in {path.name}. {ADVICE}")
        elif members := zip_photos(path):
            read = open_source(path).read
            names = [member.filename for member in members]
            photos += [Photo(name, partial(read, name)) for name in names]
            unpacked += sum(member.file_size for member in members)
    number = max(len(photos), len(files))
    if number > MAX_PHOTOS:
        raise DataError(f"More than {MAX_PHOTOS} photos: these are {number}. {ADVICE}")
    if unpacked > MAX_UNPACKED:
        raise DataError(f"More than {MAX_UNPACKED >> 20} MB of photos in a zip. {ADVICE}")
    if not photos:
        raise DataError("There are no photos in this zip.")
    return photos


def entries(file: Path) -> int:
    """How much a zip lists, counted up to MAX_ENTRIES + 1: reading the list costs memory."""
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as data:
            return sum(1 for _ in islice(re.finditer(b"PK\x01\x02", data), MAX_ENTRIES + 1))
    except (OSError, ValueError):  # not there, or empty: no zip
        return 0


def small_picture(photo: Image.Image) -> str:
    """A data URI of the photo, which is shrunk for it; 200 of them are three megabytes."""
    photo.thumbnail((320, 320))
    return data_uri(photo, "WEBP", quality=75)


def table_html(drop: Drop, rule: Rule) -> str:
    """How far the sorting is; then the photos in three groups, the most doubtful first."""
    rows = [{"row": number, **row} for number, row in enumerate(drop.rows)]
    good = [row for row in rows if "picture" in row]
    good.sort(key=lambda row: row["probabilities"].mean(axis=0).max())
    groups = {
        "for you to look at": [row for row in good if row["decision"] == PERSON],
        "sorted without a person": [row for row in good if row["decision"] != PERSON],
        "that cannot be read": [row for row in rows if "picture" not in row],
    }
    shown = {"drop": drop, "rule": rule, "groups": groups, "person": PERSON}
    return render("many_photos.html", part="table", **shown)


def write_result(drop: Drop, keys: list[str], corrections: dict[int, str], file: Path) -> Path:
    """Write what came of the photos and of a person's corrections (categories by row).

    sorted.csv holds all rows, with `category` and by whom it is set; sorted.zip holds
    `<category>/<photo>` for each photo that has one, corrections.zip for those that a person set.
    Raises OSError or PhotoError where a photo was deleted.
    """
    rows = []
    for number, row in enumerate(drop.rows):
        ruled = (None, "") if row["decision"] == PERSON else (row["decision"], "rule")
        category, set_by = (corrections[number], "person") if number in corrections else ruled
        rows.append({**row, "category": category, "set_by": set_by})
    if file.suffix == ".csv":
        schema = row_schema(keys, ["category", "set_by"])
        write_table(file, schema, pa.Table.from_pylist(rows, schema).to_batches())
        return file
    wanted = {"person"} if file.stem == "corrections" else {"person", "rule"}
    with ZipFile(file, "w") as archive:
        for number, (row, photo) in enumerate(zip(rows, drop.photos, strict=False), start=1):
            if row["set_by"] in wanted:
                # The number tells photos of one name in several folders apart.
                name = f"{number:03}-{PurePosixPath(photo.name).name}"
                archive.writestr(f"{row['category']}/{name}", photo.read())
    return file
