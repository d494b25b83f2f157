"""Labelled photos from anywhere, as one DatasetDict: CSV, folder, zip or Hub -> splits.

    from data.load import load_photos
    photos = load_photos("products.csv")     # photos["train"][0] -> image, label, description

A source is one of

* a CSV with the columns `image` and either `main_category` or `product_category_tree` (whose
  first level is the category); the photo is found by `path_image`, relative to the CSV, or in
  `Images/` beside it; `description` is taken where it exists;
* a folder `<category>/<photo>`, or a zip of one, which is read and never unpacked;
* the id of a data set on the Hub (`user/name`) with the columns `image` and `label`;
* nothing: the bundled sample.
"""

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo

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
    load_dataset,
)
from tqdm.auto import tqdm

from data.categories import CATEGORIES
from data.photos import PhotoError, read_photo

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


class DataError(ValueError):
    """Photos that cannot be loaded as asked; the text says what to mend."""


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
        source: see the module; None loads the bundled sample.
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


def _rows(source: str | Path) -> pd.DataFrame:
    """One row a photo: image ({"path", "bytes"}), category (text), description (text)."""
    path = Path(source)
    if path.is_dir():
        rows = _folder_rows(path)
    elif path.suffix.lower() == ".zip" and path.is_file():
        rows = _zip_rows(path)
    elif path.is_file():
        rows = _csv_rows(path)
    elif is_hub_id(str(source)):
        rows = _hub_rows(str(source))
    else:
        raise DataError(
            f"{source} is neither a CSV or zip file, nor a folder, nor a data set id such as "
            "user/name."
        )
    known = {name.casefold(): name for name in CATEGORIES}
    names = rows["category"].astype(str).str.strip().str.casefold()
    unknown = sorted(set(rows["category"][~names.isin(known)].astype(str)))
    if unknown:
        raise DataError(
            f"{source}: unknown category {', '.join(map(repr, unknown[:5]))}; the categories are "
            f"{', '.join(CATEGORIES)}."
        )
    return rows.assign(category=names.map(known))


def is_hub_id(source: str) -> bool:
    """Whether a source that is no file is named like a repository of the Hub."""
    return source.count("/") == 1 and not Path(source).suffix


def _folder_rows(folder: Path) -> pd.DataFrame:
    files = sorted(
        file
        for file in folder.glob("*/*")
        if file.is_file() and not file.name.startswith(".") and not file.parent.name.startswith(".")
    )
    if not files:
        raise DataError(f"{folder} holds no photos: expected {folder}/<category>/<photo>.")
    return pd.DataFrame(
        {
            "image": [{"path": str(file), "bytes": None} for file in files],
            "category": [file.parent.name for file in files],
            "description": "",
        }
    )


def _zip_rows(file: Path) -> pd.DataFrame:
    photos = zip_photos(file)
    if not photos:
        raise DataError(f"{file} holds no photos: expected <category>/<photo> in it.")
    with ZipFile(file) as archive:
        return pd.DataFrame(
            {
                # A path below a file leads nowhere: the bytes count, and the name where it is bad.
                "image": [
                    {"path": f"{file}/{photo.filename}", "bytes": read_member(archive, photo)}
                    for photo in photos
                ],
                "category": [PurePosixPath(photo.filename).parent.name for photo in photos],
                "description": "",
            }
        )


def zip_photos(file: Path) -> list[ZipInfo]:
    """The files of a zip, in any folder, sorted; without hidden ones and what macOS adds.

    Raises:
        DataError: it is not a zip.
    """
    try:
        with ZipFile(file) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.filename)
    except (BadZipFile, OSError) as error:
        raise DataError(f"{file.name} cannot be read as a zip: make it anew.") from error
    return [
        member
        for member in members
        if not member.is_dir()
        and not any(
            part.startswith((".", "__MACOSX")) for part in PurePosixPath(member.filename).parts
        )
    ]


def read_member(archive: ZipFile, member: ZipInfo) -> bytes:
    """The bytes of a file in a zip, never more than it declares; none where it is broken."""
    try:
        return archive.read(member)
    except Exception:  # a password, and each way of packing, raise their own kinds
        return b""


def _csv_rows(csv: Path) -> pd.DataFrame:
    table = _read_csv(csv)
    if "main_category" in table:
        category = table["main_category"]
    elif "product_category_tree" in table:
        category = table["product_category_tree"].map(_first_level)
    else:
        category = None
    if category is None or "image" not in table:
        raise DataError(
            f"{csv} needs the columns image and main_category (or product_category_tree), "
            f"separated by commas; it has {', '.join(map(str, table.columns))}."
        )
    description = table["description"].fillna("") if "description" in table else ""
    return pd.DataFrame(
        {
            "image": [{"path": str(file), "bytes": None} for file in _files(csv, table)],
            "category": category,
            "description": description,
        }
    )


def csv_photos(csv: Path) -> list[Path]:
    """The photos that a CSV names in its column `image` (and `path_image`), category or not.

    Raises:
        DataError: no CSV in UTF-8, or one without that column.
    """
    table = _read_csv(csv)
    if "image" not in table:
        raise DataError(
            f"{csv} needs the column image, separated by commas; it has "
            f"{', '.join(map(str, table.columns))}."
        )
    return _files(csv, table)


def _read_csv(csv: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(csv)
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(
            f"{csv} cannot be read: save it as comma-separated values in UTF-8."
        ) from error


def _files(csv: Path, table: pd.DataFrame) -> list[Path]:
    beside = "Images/" + table["image"].astype(str)
    places = zip(table.get("path_image", beside), beside, strict=True)
    return [_first_file(csv.parent, *map(str, pair)) for pair in places]


def _first_file(folder: Path, *places: str) -> Path:
    """The first of the places that is a file; the first of all where none is."""
    files = [folder / place.replace("\\", "/") for place in places]
    return next(filter(Path.is_file, files), files[0])


def _first_level(tree: object) -> str:
    """The first level of a tree written as '["Watches >> Wrist Watches >> …"]'."""
    try:
        return json.loads(str(tree))[0].split(">>")[0].strip()
    except (ValueError, LookupError, AttributeError):
        return str(tree)


def hub_splits(repository: str, *columns: str) -> DatasetDict:
    """A data set of the Hub with these columns; `image` as {"bytes", "path"}, not decoded.

    Raises:
        DataError: the Hub does not give it, or it lacks a column.
    """
    try:
        splits = load_dataset(repository)
    except Exception as error:  # the Hub, the network and the readers raise dozens of kinds
        raise DataError(
            f"The data set {repository} cannot be loaded: check the name and the connection "
            f"({type(error).__name__})."
        ) from error
    found = next(iter(splits.values())).column_names
    if not set(columns) <= set(found):
        raise DataError(
            f"{repository} needs the columns {' and '.join(columns)}; it has {', '.join(found)}."
        )
    return splits.cast_column("image", Image(decode=False))


def _hub_rows(repository: str) -> pd.DataFrame:
    splits = hub_splits(repository, "image", "label")
    dataset = concatenate_datasets(list(splits.values()))
    name_of: Callable[[object], str] = getattr(dataset.features["label"], "int2str", str)
    texts = dataset["description"] if "description" in dataset.column_names else ""
    return pd.DataFrame(
        {
            "image": list(dataset["image"]),
            "category": [name_of(label) for label in dataset["label"]],
            "description": list(texts) if texts else "",
        }
    )


def _checked_rows(source: str | Path, skip_broken: bool) -> pd.DataFrame:
    """The rows of readable photos, each with the digest of its bytes."""
    rows = _rows(source)
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
