"""Labelled photos from anywhere, as one DatasetDict: CSV, folder, zip or Hub -> splits.

    from data.labelled import load_photos
    photos = load_photos("products.csv")     # photos["train"][0] -> image, label, description

data/sources.py says what can be loaded, and how it is laid out.
"""

import argparse
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Image,
    Value,
    concatenate_datasets,
)
from tqdm.auto import tqdm

from data.categories import CATEGORIES
from data.photos import PhotoError, read_photo
from data.sources import DataError, read_rows

SAMPLE = Path(__file__).parent / "sample"
FEATURES = Features(
    {
        "image": Image(mode="RGB"),
        "label": ClassLabel(names=CATEGORIES),
        "description": Value("string"),
    }
)
# Shares of the different photos of each category; what is left is for training.
TEST_SHARE = VALIDATION_SHARE = 0.15


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every script that loads labelled photos takes."""
    parser.add_argument("--dataset", help="a CSV, a folder, a zip, or a Hub id (default: sample)")
    parser.add_argument("--skip-broken", action="store_true", help="leave out unreadable photos")


def load_photos(
    source: str | Path | None = None, *, skip_broken: bool = False, all_test: bool = False
) -> DatasetDict:
    """Load labelled photos and split them into train, validation and test.

    Byte-identical photos always land in the same split, each category is split in the same
    proportions (70, 15 and 15 %), and the split depends on nothing but the photos themselves:
    not on their order, their names, a seed, or the layout they came in.

    Args:
        source: see data/sources.py; None loads the bundled sample.
        skip_broken: leave out photos that are missing or unreadable, and print how many.
        all_test: put all of them into the split `test`, for photos that no model has seen.

    Returns:
        Splits `train`, `validation`, `test` with the features `image` (decoded to RGB), `label`
        (ClassLabel, in the order of CATEGORIES) and `description` (may be empty).

    Raises:
        DataError: no such source, a missing column, a missing or unreadable photo (named), an
            unknown category, or a category with too few different photos to split.
    """
    rows = _checked_rows(SAMPLE if source is None else source, skip_broken)
    if all_test:
        return DatasetDict({"test": _dataset(rows)})
    splits = _splits(rows)
    return DatasetDict(
        {name: _dataset(rows[splits == name]) for name in ("train", "validation", "test")}
    )


def add_corrections(
    photos: DatasetDict, source: str | Path, *, skip_broken: bool = False
) -> DatasetDict:
    """Join photos that a person has sorted to the training split, and to no other.

    A photo that is byte-identical to one of train takes its place; one that is identical to a
    photo of validation or test is left out. How many of each is printed.

    Args:
        photos: of `load_photos`.
        source: of any kind that `load_photos` takes, however few photos it has.
        skip_broken: as there.

    Raises:
        DataError: as `load_photos` does.
    """
    held_out = {photo for split in photos if split != "train" for photo in digests(photos[split])}
    rows = _checked_rows(source, skip_broken).drop_duplicates("digest", keep="last")
    corrected = rows[~rows["digest"].isin(held_out)]
    others = np.flatnonzero(~np.isin(digests(photos["train"]), corrected["digest"].tolist()))
    print(
        f"Corrections: {len(corrected)} join train ({len(photos['train']) - len(others)} in place "
        f"of identical photos), {len(rows) - len(corrected)} left out (identical to photos of "
        "validation or test)."
    )
    train = concatenate_datasets([photos["train"].select(others), _dataset(corrected)])
    return DatasetDict({**photos, "train": train})


def summary(photos: DatasetDict) -> str:
    """Class counts and split sizes as a table, and how many photos are copies of another."""
    names = photos["test"].features["label"].names
    counts = {split: Counter(dataset["label"]) for split, dataset in photos.items()}
    table = pd.DataFrame(
        {split: [count[label] for label in range(len(names))] for split, count in counts.items()},
        index=names,
    )
    table.loc["all"] = table.sum()
    everything = digests(concatenate_datasets(list(photos.values())))
    copies = len(everything) - len(set(everything))
    return f"{table.to_string()}\n{copies} photos are copies of another, kept in its split."


def digests(photos: Dataset) -> list[str]:
    """The SHA-256 of each photo's bytes: equal for copies of one photo."""
    return [_digest(image) for image in photos.cast_column("image", Image(decode=False))["image"]]


def fingerprint(photos: Dataset) -> str:
    """A SHA-256 that follows from the photos, their order and their labels."""
    rows = zip(digests(photos), photos["label"], strict=True)
    return hashlib.sha256("".join(f"{photo}{label}" for photo, label in rows).encode()).hexdigest()


def _checked_rows(source: str | Path, skip_broken: bool) -> pd.DataFrame:
    """The rows of readable photos, each with the digest of its bytes."""
    rows = read_rows(source)
    checked = _checked_digests(rows, skip_broken)
    return rows[checked.notna()].assign(digest=checked.dropna())


def _checked_digests(rows: pd.DataFrame, skip_broken: bool) -> pd.Series:
    """SHA-256 of each photo's bytes; None where it is missing or broken and may be skipped."""
    found, broken = [], []
    for image in tqdm(rows["image"], desc="Checking photos", unit="photo"):
        try:
            read_photo(image["bytes"] or image["path"])
            found.append(_digest(image))
        except PhotoError:
            found.append(None)
            broken.append(image["path"])
    if broken and not skip_broken:
        raise DataError(
            f"{len(broken)} photos are missing or unreadable, first {', '.join(broken[:3])}: "
            "mend them, or leave them out with --skip-broken."
        )
    if broken:
        print(f"{len(broken)} missing or unreadable photos left out.")
    return pd.Series(found, index=rows.index, dtype=object)


def _digest(image: dict[str, bytes | str | None]) -> str:
    return hashlib.sha256(image["bytes"] or Path(str(image["path"])).read_bytes()).hexdigest()


def _splits(rows: pd.DataFrame) -> pd.Series:
    """The split of each row, decided by the digest of its photo.

    Digests in alphabetical order are a shuffle that needs no seed: the first of a category go to
    test, the next to validation, the others to train.
    """
    photos = rows.drop_duplicates("digest").sort_values("digest")
    split_of: dict[str, str] = {}
    for category in CATEGORIES:
        different = photos.loc[photos["category"] == category, "digest"].tolist()
        if len(different) < 3:
            raise DataError(
                f"{category} has {len(different)} different photos; 3 are needed, one each "
                "for training, validation and test, at least."
            )
        test = max(1, round(TEST_SHARE * len(different)))
        validation = max(1, round(VALIDATION_SHARE * len(different)))
        train = len(different) - test - validation
        names = ["test"] * test + ["validation"] * validation + ["train"] * train
        split_of |= dict(zip(different, names, strict=True))
    return rows["digest"].map(split_of)


def _dataset(rows: pd.DataFrame) -> Dataset:
    return Dataset.from_dict(
        {
            "image": rows["image"].tolist(),
            "label": rows["category"].tolist(),
            "description": rows["description"].astype(str).tolist(),
        },
        features=FEATURES,
    )
