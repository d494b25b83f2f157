"""The tab "Many photos": up to 200 sorted at once, the doubtful first, the result to take home.

    uploads --find_photos--> photos --sort_batch--> rows --the person's keys--> CSV, zips

The page keeps what the person sets (many.js) and sends it with each download. The photos stay where
Gradio puts uploads, and are deleted from there ten minutes after the last key.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from zipfile import ZipFile, ZipInfo

import gradio as gr
import numpy as np
import pandas as pd
import torch
from gradio.components.file import ListFiles
from gradio.data_classes import FileData
from gradio.utils import is_in_or_equal

from data.categories import CATEGORIES
from data.photos import PhotoError, read_photo
from data.sources import DataError, read_member, zip_photos
from space.models.classifiers import prepare
from space.models.scoring import Models
from space.pages.many_photos_html import progress_html, small_picture, table_html
from space.report.report import MODELS, calibrated
from space.sorting.rule import PERSON, Rule, RuleError, decide, find_rule, score_pixels

HERE = Path(__file__).parent
PRECISION = 0.99
MAX_PHOTOS = 200
MAX_UNPACKED = 200 * 1024**2
# Larger ones are no faster on a processor, and take more memory.
BATCH = 4
# As long as the interface keeps uploads.
KEPT_SECONDS = 600
GONE = "These photos are gone, ten minutes after your last key: please drop them again."


class Photo(NamedTuple):
    """A photo that was dropped, by itself or in a zip."""

    name: str
    file: Path
    member: ZipInfo | None = None

    def read(self) -> bytes:
        """Its bytes; none where the zip is broken there."""
        if self.member is None:
            return self.file.read_bytes()
        with ZipFile(self.file) as archive:
            return read_member(archive, self.member)


class PhotosInput(gr.File):
    """An input for many photos, and zips of them."""

    is_template = True

    def preprocess(self, payload: ListFiles) -> list[Photo]:
        """Find the photos in what was uploaded.

        Raises:
            gr.Error: the payload is not an upload, a zip is broken, or there are too many photos.
        """
        # A client may name any file of the server; only what was uploaded is opened.
        if not all(is_in_or_equal(file.path, self.GRADIO_CACHE) for file in payload):
            raise gr.Error("Please upload the photos.", print_exception=False)
        try:
            return find_photos(payload)
        except DataError as error:
            raise gr.Error(str(error), print_exception=False) from error


def many_tab(models: Models, on_gpu: Callable[[Callable], Callable]) -> None:
    """Build the tab inside gr.Blocks; the arguments are those of `build_demo`."""
    try:
        rule = find_rule(PRECISION, models)
    except RuleError as error:
        gr.Markdown(str(error))
        return

    @on_gpu
    def score(vgg16_pixels: torch.Tensor, zero_shot_pixels: torch.Tensor) -> pd.DataFrame:
        return score_pixels(models, vgg16_pixels, zero_shot_pixels)

    # Between two batches others have their turn, and a visitor who leaves ends it.
    def sort(photos: list[Photo]) -> Iterator[tuple]:
        rows = []
        for start in range(0, len(photos), BATCH):
            yield None, progress_html(start, len(photos)), None
            rows += sort_batch(models, rule, photos[start : start + BATCH], score)
        kept = pd.DataFrame(rows).drop(columns=["picture", "shares"], errors="ignore")
        yield None, table_html(rows, rule), kept

    def keep(found: pd.DataFrame | None) -> pd.DataFrame | None:
        for photo in [] if found is None else found["photo"]:
            with suppress(OSError):
                os.utime(photo.file)
        return found

    def save(found: pd.DataFrame | None, event: gr.EventData) -> Path:
        if found is None:
            raise gr.Error(GONE, print_exception=False)
        # In its cache, Gradio deletes what it is given.
        folder = Path(tempfile.mkdtemp(dir=saved.GRADIO_CACHE))
        corrections = {int(row): CATEGORIES[label] for row, label in event.corrections.items()}
        try:
            return write_result(found, corrections, folder / Path(event.file).name)
        except OSError as error:
            raise gr.Error(GONE, print_exception=False) from error

    with gr.Column(elem_id="many", elem_classes="evaluation"):
        gr.Markdown(
            "Photos that the models are sure of are sorted, the others listed for you, the most "
            f"doubtful first. {rule.in_words()}"
        )
        label = f"Up to {MAX_PHOTOS} photos, or a zip of them"
        files = PhotosInput(label=label, file_count="multiple", height=150)
        table = gr.HTML(js_on_load=(HERE / "many_photos.js").read_text(encoding="utf-8"))
        saved = gr.DownloadButton(visible="hidden", elem_id="many-saved")
        found = gr.State(None, time_to_live=KEPT_SECONDS)

    private = {"api_visibility": "private", "show_progress": "hidden"}
    files.upload(sort, files, [files, table, found], **private)
    table.keep(keep, found, found, queue=False, **private)
    table.download(save, found, saved, **private).success(
        None, js="() => document.getElementById('many-saved').click()", **private
    )


def find_photos(files: list[FileData]) -> list[Photo]:
    """The photos among uploads; zips are looked into, and not unpacked.

    Raises:
        DataError: a broken zip, too many or too large photos, or none.
    """
    photos = []
    for file in files:
        path = Path(file.path)
        if path.suffix.lower() == ".zip":
            photos += [Photo(member.filename, path, member) for member in zip_photos(path)]
        else:
            photos.append(Photo(file.orig_name or path.name, path))
    advice = "Drop fewer, or sort them all with python space/sort_photos.py."
    if len(photos) > MAX_PHOTOS:
        raise DataError(f"More than {MAX_PHOTOS} photos: these are {len(photos)}. {advice}")
    if sum(photo.member.file_size for photo in photos if photo.member) > MAX_UNPACKED:
        raise DataError(f"More than {MAX_UNPACKED >> 20} MB of photos in a zip. {advice}")
    if not photos:
        raise DataError("There are no photos in this zip.")
    return photos


def sort_batch(models: Models, rule: Rule, photos: list[Photo], score: Callable) -> list[dict]:
    """Decide of some photos, in their order; only one at a time is held at its full size.

    Args:
        models: prepare the photos.
        rule: decides.
        photos: not read yet.
        score: `score_pixels` of the models.

    Returns:
        A row a photo: photo, path, the columns of `decide`, shares (both models' calibrated
        probabilities, (2, 7)) and picture (a data URI); photo, path, decision and why alone where
        it cannot be read.
    """
    rows, good, pixels = [], [], []
    for photo in photos:
        rows.append({"photo": photo, "path": photo.name, "decision": PERSON})
        try:
            image = read_photo(photo.read())
        except PhotoError as error:
            rows[-1]["why"] = str(error)
            continue
        good.append(rows[-1])
        processors = models.vgg16.processor, models.zero_shot.processor
        pixels.append([prepare([image], processor) for processor in processors])
        rows[-1]["picture"] = small_picture(image)
    if good:
        scores = score(*map(torch.cat, zip(*pixels, strict=True)))
        shares = np.stack([calibrated(scores, model, rule.models) for model in MODELS], axis=1)
        decided = decide(rule, scores).to_dict("records")
        for row, share, decision in zip(good, shares, decided, strict=True):
            row |= {"shares": share, **decision}
    return rows


def write_result(found: pd.DataFrame, corrections: dict[int, str], file: Path) -> Path:
    """Write what came of the photos, as the name of the file says.

    Args:
        found: the rows of `sort_batch`.
        corrections: the category that the person has set, by row.
        file: sorted.csv, all rows, with `category` and by whom it is set; sorted.zip, holding
            `<category>/<photo>` for each photo that has one; corrections.zip, for those that the
            person has set.

    Raises:
        OSError: a photo was deleted.
    """
    decided = found["decision"] != PERSON
    category, set_by = found["decision"].where(decided), np.where(decided, "rule", "")
    found = found.assign(category=category, set_by=set_by)
    for row, corrected in corrections.items():
        found.loc[row, ["category", "set_by"]] = corrected, "person"
    if file.suffix == ".csv":
        found.drop(columns="photo").to_csv(file, index=False)
        return file
    wanted = ["person"] if file.stem == "corrections" else ["person", "rule"]
    with ZipFile(file, "w") as archive:
        for row in found[found["set_by"].isin(wanted)].itertuples():
            # The number tells photos of one name in several folders apart.
            name = f"{row.Index + 1:03}-{PurePosixPath(row.path).name}"
            archive.writestr(f"{row.category}/{name}", row.photo.read())
    return file
