"""Labelled photos from anywhere, as one DatasetDict: CSV, folder, zip or Hub -> splits.

    from data.labelled import load_photos
    photos = load_photos("products.csv")     # photos["train"][0] -> image, label, description

data/sources.py says what can be loaded, and how it is laid out.
"""

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from PIL import Image
from tqdm.auto import tqdm

from data.categories import CATEGORIES
from data.photos import PhotoError, read_photo
from data.sources import DataError, open_source

SAMPLE = Path(__file__).parent / "sample"


@dataclass
class Photo(datasets.Image):
    """A photo, kept as its file; the picture is what `read_photo` makes of it."""

    def decode_example(self, value: dict, token_per_repo_id: object = None) -> Image.Image:
        try:
            return read_photo(value["bytes"] or value["path"])
        except PhotoError as error:
            raise PhotoError(f"{value['path']}: {error}") from error


FEATURES = Features(
    image=Photo(),
    label=ClassLabel(names=CATEGORIES),
    description=Value("string"),  # may be empty
    sha256=Value("string"),  # of the photo's bytes
    name=Value("string"),  # the photo's folder and file
)
# Of the different photos of each category, for each of validation and test.
HELD_OUT_SHARE = 0.15


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every script that loads labelled photos takes."""
    parser.add_argument("--dataset", help="a CSV, a folder, a zip, or a Hub id (default: sample)")
    parser.add_argument("--skip-broken", action="store_true", help="leave out unreadable photos")


def load_photos(
    source: str | Path | None = None, *, skip_broken: bool = False, all_test: bool = False
) -> DatasetDict:
    """Load labelled photos (None: the bundled sample) and split them.

    Byte-identical photos always land in the same split, each category is split in the same
    proportions (train 70, validation 15 and test 15 %), and the split depends on nothing but the
    photos themselves: not on their order, their names, a seed, or the layout they came in. With
    `all_test` all of them are in the split `test`, for photos that no model has seen. With
    `skip_broken` those that cannot be read are left out, and how many is printed.

    Raises:
        DataError: no such source, no categories or unknown ones, photos that cannot be read, or
            too few different ones of a category to split.
    """
    rows = _checked_rows(SAMPLE if source is None else source, skip_broken)
    splits = pd.Series("test", rows.index) if all_test else _splits(rows)
    names = ["test"] if all_test else ["train", "validation", "test"]
    return DatasetDict({name: _dataset(rows[splits == name]) for name in names})


def add_corrections(
    photos: DatasetDict, source: str | Path, *, skip_broken: bool = False
) -> DatasetDict:
    """Join photos that a person has sorted to the training split, and to no other.

    A photo that is byte-identical to one of train takes its place; one that is identical to a
    photo of validation or test is left out. How many of each is printed.
    """
    held_out = {photo for split in photos if split != "train" for photo in photos[split]["sha256"]}
    rows = _checked_rows(source, skip_broken).drop_duplicates("sha256", keep="last")
    corrected = rows[~rows["sha256"].isin(held_out)]
    others = np.flatnonzero(~pd.Series(photos["train"]["sha256"]).isin(corrected["sha256"]))
    print(
        f"Corrections: {len(corrected)} join train ({len(photos['train']) - len(others)} in place "
        f"of identical photos), {len(rows) - len(corrected)} left out (identical to photos of "
        "validation or test)."
    )
    train = datasets.concatenate_datasets([photos["train"].select(others), _dataset(corrected)])
    return DatasetDict({**photos, "train": train})


def summary(photos: DatasetDict) -> str:
    """Class counts and split sizes as a table, and how many photos are copies of another."""
    counts = {
        split: np.bincount(dataset["label"], minlength=len(CATEGORIES))
        for split, dataset in photos.items()
    }
    table = pd.DataFrame(counts, index=CATEGORIES)
    table.loc["all"] = table.sum()
    copies = pd.concat([pd.Series(rows["sha256"]) for rows in photos.values()]).duplicated().sum()
    return f"{table.to_string()}\n{copies} photos are copies of another, kept in its split."


def fingerprint(photos: Dataset) -> str:
    """A SHA-256 that follows from the photos, their order and their labels."""
    rows = zip(photos["sha256"], photos["label"], strict=True)
    return hashlib.sha256("".join(f"{photo}{label}" for photo, label in rows).encode()).hexdigest()


def _checked_rows(source: str | Path, skip_broken: bool) -> pd.DataFrame:
    """The rows of readable photos, with the columns of FEATURES."""
    opened = open_source(source)
    rows = _with_labels(opened.table, source)
    images, digests = [], []
    for row in tqdm(rows.itertuples(), "Checking photos", len(rows), unit="photo"):
        try:
            content = opened.read(row.name)
            read_photo(content)
        except PhotoError:
            content = None
        digests.append(content and hashlib.sha256(content).hexdigest())
        # A photo on the disk is referred to by its path, not copied.
        images.append({"path": row.file or row.name, "bytes": None if row.file else content})
    names = rows["name"].str.split("/").str[-2:].str.join("/")
    broken = rows["name"][pd.isna(digests)]
    if len(broken) and not skip_broken:
        raise DataError(
            f"{source}: {len(broken)} photos are missing or unreadable, first "
            f"{', '.join(broken[:3])}: mend them, or leave them out with --skip-broken."
        )
    if len(broken):
        print(f"{len(broken)} missing or unreadable photos left out.")
    return rows.assign(image=images, sha256=digests, name=names).drop(broken.index)


def _with_labels(table: pd.DataFrame, source: str | Path) -> pd.DataFrame:
    """The rows that have a category, with it as CATEGORIES write it."""
    if "category" not in table:
        raise DataError(
            f"{source} says no categories: a CSV needs the column main_category (or "
            "product_category_tree), a data set on the Hub the column label."
        )
    columns = ["name", "file", "category", "description"]
    rows = table.reindex(columns=columns, fill_value="").dropna(subset="category")
    if rows.empty:
        raise DataError(f"{source} holds no photos in folders: expected <category>/<photo>.")
    if len(rows) < len(table):
        print(f"{len(table) - len(rows)} files that lie in no category's folder left out.")
    known = {name.casefold(): name for name in CATEGORIES}
    label = rows["category"].str.strip().str.casefold().map(known)
    unknown = sorted(set(rows.loc[label.isna(), "category"]))
    if unknown:
        raise DataError(
            f"{source}: unknown category {', '.join(map(repr, unknown[:5]))}; the categories are "
            f"{', '.join(CATEGORIES)}."
        )
    return rows.assign(label=label)


def _splits(rows: pd.DataFrame) -> pd.Series:
    """The split of each row, decided by the digest of its photo.

    Digests in alphabetical order are a shuffle that needs no seed: the first of a category go to
    test, the next to validation, the others to train.
    """
    photos = rows.drop_duplicates("sha256").sort_values("sha256")
    of_category = photos.groupby("label")["sha256"]
    for category, number in of_category.size().reindex(CATEGORIES, fill_value=0).items():
        if number < 3:
            raise DataError(
                f"{category} has {number} different photos; 3 are needed, one each for training, "
                "validation and test, at least."
            )
    rank, number = of_category.cumcount(), of_category.transform("size")
    share = (HELD_OUT_SHARE * number).round().clip(lower=1)
    splits = np.select([rank < share, rank < 2 * share], ["test", "validation"], "train")
    return rows["sha256"].map(dict(zip(photos["sha256"], splits, strict=True)))


def _dataset(rows: pd.DataFrame) -> Dataset:
    return Dataset.from_dict({name: rows[name].tolist() for name in FEATURES}, features=FEATURES)
