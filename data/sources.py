"""Where labelled photos come from: a CSV, a folder, a zip or the Hub -> one row a photo.

A source is one of

* a CSV with the columns `image` and either `main_category` or `product_category_tree` (whose
  first level is the category); the photo is found by `path_image`, relative to the CSV, or in
  `Images/` beside it; `description` is taken where it exists;
* a folder `<category>/<photo>`, or a zip of one, which is read and never unpacked;
* the id of a data set on the Hub (`user/name`) with the columns `image` and `label`.
"""

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo

import pandas as pd
from datasets import DatasetDict, Image, concatenate_datasets, load_dataset

from data.categories import CATEGORIES


class DataError(ValueError):
    """Photos that cannot be loaded as asked; the text says what to mend."""


def read_rows(source: str | Path) -> pd.DataFrame:
    """One row a photo: image ({"path", "bytes"}), category (text), description (text).

    Raises:
        DataError: no such source, a missing column, or an unknown category.
    """
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
