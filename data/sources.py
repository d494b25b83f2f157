"""Where photos come from: a folder, a zip, a CSV, a bucket or the Hub -> one row a photo.

    source = open_source("photos.zip")
    source.read(source.table["name"][0])        # the bytes of the first photo

A source is one of

* a folder, with all folders in it, or a zip of one, which is never unpacked: `<category>/<photo>`;
* a CSV with the column `image`, and `main_category` or `product_category_tree` (whose first level
  is the category); the photo is found by `path_image`, relative to the CSV, or in `Images/` beside
  it; `description` is taken where it exists, and other columns are kept;
* the address of a bucket that pyarrow's file systems read, such as `s3://bucket/folder`;
* the id of a data set on the Hub (`user/name`) with the column `image`, and `label`.
"""

import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from zipfile import BadZipFile, ZipFile, ZipInfo, is_zipfile

import pandas as pd
from datasets import DatasetDict, Image, concatenate_datasets, load_dataset
from fsspec.implementations.zip import ZipFileSystem
from pyarrow.fs import (
    FileSelector,
    FileSystem,
    FileType,
    FSSpecHandler,
    LocalFileSystem,
    PyFileSystem,
)

from data.errors import UserError
from data.photos import PhotoError

SPREADSHEETS = (".xls", ".xlsx", ".xlsm", ".ods")


class DataError(UserError):
    """Photos that cannot be loaded as asked."""


@dataclass(frozen=True)
class Source:
    """The photos of a source: named, and read one by one."""

    # A row a photo: `name`, each once (a path from the source, `split/row` on the Hub); `file`, its
    # absolute path, where photos are files; `category` and `description` where the source has them;
    # and the columns of a CSV, all of them text.
    table: pd.DataFrame
    # Gives the bytes of a name, or raises PhotoError. Threads may share it, and other processes
    # be sent it.
    read: Callable[[str], bytes]
    # What a CSV calls its own columns in the table.
    columns: list[str] = field(default_factory=list)


def open_source(source: str | Path) -> Source:
    """Name the photos of a source. Whether they are photos shows when they are read.

    Hidden files are left out; a folder that cannot be listed has a row, as a file has.

    Raises:
        DataError: no such source, or one that cannot be listed or holds no photos.
    """
    path, text = Path(source), str(source)
    if path.is_dir():
        opened = _named(_walk(path), LocalFileSystem(), path.resolve())
    elif path.suffix.lower() in SPREADSHEETS and path.is_file():
        raise DataError(f"{path} is a spreadsheet: save it as CSV (UTF-8, separated by commas).")
    elif path.is_file() and (is_zipfile(path) or path.suffix.lower() == ".zip"):
        names = [photo.filename for photo in zip_photos(path)]
        # As another process finds it, wherever that runs.
        opened = _named(names, PyFileSystem(FSSpecHandler(ZipFileSystem(path.resolve()))))
    elif path.is_file():
        opened = _csv(path)
    elif "://" in text:
        opened = _bucket(text)
    elif text.count("/") == 1 and not path.suffix:
        opened = _hub(text)
    else:
        raise DataError(
            f"{source} is neither a folder, nor a zip or CSV file, nor an address such as "
            "s3://bucket/folder, nor a data set id such as user/name."
        )
    if opened.table.empty:
        raise DataError(f"{source} holds no photos.")
    return opened


def zip_photos(file: Path) -> list[ZipInfo]:
    """The files of a zip, in any folder, sorted; without hidden ones and what macOS adds.

    Raises:
        DataError: it is not a zip.
    """
    try:
        with ZipFile(file) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.filename)
    except (BadZipFile, OSError, NotImplementedError) as error:
        raise DataError(f"{file.name} cannot be read as a zip: make it anew.") from error
    return [member for member in members if not member.is_dir() and _is_shown(member.filename)]


def _is_shown(path: str) -> bool:
    """Neither hidden, nor what macOS puts into a zip beside the files."""
    return not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(path).parts)


def _named(names: Iterable[str], files: FileSystem, root: str | Path = "") -> Source:
    """Photos whose category is the name of the folder that they are in."""
    table = pd.DataFrame({"name": list(dict.fromkeys(names))}, dtype=object)
    table["category"] = [name.split("/")[-2] if "/" in name else None for name in table["name"]]
    if isinstance(files, LocalFileSystem):
        table["file"] = [str(Path(root, name)) for name in table["name"]]
    return Source(table, partial(_read, partial(_open, files, root, {})))


def _walk(folder: Path) -> Iterator[str]:
    """As pyarrow lists a folder, but not round in circles through links."""
    closed: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=closed.append):
        folders[:] = sorted(filter(_is_shown, folders))
        for name in sorted(filter(_is_shown, files)):
            yield _shown(Path(place, name), folder)
    for error in closed:
        yield f"{_shown(error.filename, folder)}/"


def _shown(path: str | Path, folder: Path) -> str:
    """A name that is not UTF-8 is found by nobody, and gets its row all the same."""
    return os.fsencode(os.path.relpath(path, folder)).decode(errors="replace")


def _bucket(address: str) -> Source:
    try:
        files, root = FileSystem.from_uri(address)
        found = files.get_file_info(FileSelector(root, recursive=True))
    except Exception as error:  # file systems raise dozens of kinds
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{address} cannot be listed: {reason}.") from error
    names = (
        os.path.relpath(file.path, root or ".") for file in found if file.type is FileType.File
    )
    return _named(filter(_is_shown, sorted(names)), files, root)


def _read(find: Callable[[str], BinaryIO], name: str) -> bytes:
    try:
        with find(name) as file:
            return file.read()
    except PhotoError:
        raise
    except FileNotFoundError as error:
        raise PhotoError("This file is not there.") from error
    except Exception as error:  # disks, archives and buckets raise dozens of kinds
        locked = "password" in str(error)
        reason = "it needs a password" if locked else type(error).__name__
        raise PhotoError(f"This file cannot be read ({reason}).") from error


def _open(files: FileSystem, root: str | Path, paths: Mapping[str, str], name: str) -> BinaryIO:
    """Open a name, which is its path from the root where `paths` gives no other."""
    path = paths.get(name, name)
    if not path:
        raise PhotoError(f"No photo is named in {name}.")
    if path.endswith("/"):
        raise PhotoError("This folder cannot be listed.")
    place = Path(os.path.normpath(Path(root, path)))
    # A pipe would be waited for.
    if isinstance(files, LocalFileSystem) and place.exists() and not place.is_file():
        raise PhotoError("This is not a file.")
    return files.open_input_stream(str(place))


def _csv(file: Path) -> Source:
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file} cannot be read: save it as comma-separated values in UTF-8."
        ) from error
    if "image" not in table:
        raise DataError(
            f"{file} needs the column image, separated by commas; it has "
            f"{', '.join(map(str, table.columns))}."
        )
    # What is named as ours keeps a name of its own.
    table = table.rename(columns={name: f"{name} (CSV)" for name in ("name", "file", "category")})
    columns = list(table)
    beside = ["Images/" + image if image else "" for image in table["image"]]
    places = zip(table.get("path_image", beside), beside, strict=True)
    paths = pd.Series([_find(file.parent, pair) for pair in places], dtype=object)
    rows = pd.Series([f"row {row}" for row in range(2, len(paths) + 2)], dtype=object)
    again = paths.duplicated()
    table["name"] = paths.where(~again, paths + " (" + rows + ")").where(paths != "", rows)
    other = {name: path for name, path in zip(table["name"], paths, strict=True) if name != path}
    if "main_category" in table:
        table["category"] = table["main_category"]
    elif "product_category_tree" in table:
        table["category"] = table["product_category_tree"].map(_first_level)
    root = file.resolve().parent
    table["file"] = [str(root / path) for path in paths]
    return Source(table, partial(_read, partial(_open, LocalFileSystem(), root, other)), columns)


def _find(folder: Path, places: Iterable[str]) -> str:
    """The first of the places that is a file, from the folder; the first of all where none is."""
    given = [place.replace("\\", "/") for place in places if place]
    found = next((place for place in given if (folder / place).is_file()), (*given, "")[0])
    return found and os.path.relpath(folder / found, folder)


def _first_level(tree: str) -> str:
    """The first level of a tree written as '["Watches >> Wrist Watches >> …"]'."""
    try:
        return json.loads(tree)[0].split(">>")[0].strip()
    except (ValueError, LookupError, AttributeError, TypeError):
        return tree


def _hub(repository: str) -> Source:
    try:
        splits = load_dataset(repository)
    except Exception as error:  # the Hub, the network and the readers raise dozens of kinds
        raise DataError(
            f"The data set {repository} cannot be loaded: check the name and the connection "
            f"({type(error).__name__})."
        ) from error
    columns = next(iter(splits.values())).column_names
    if "image" not in columns:
        raise DataError(f"{repository} needs the column image; it has {', '.join(columns)}.")
    everything = concatenate_datasets(list(splits.values()))
    names = [f"{split}/{row}" for split in splits for row in range(len(splits[split]))]
    table = pd.DataFrame({"name": names})
    if "label" in columns:
        name_of = getattr(everything.features["label"], "int2str", str)
        table["category"] = [name_of(label) for label in everything["label"]]
    if "description" in columns:
        table["description"] = list(everything["description"])
    undecoded = splits.cast_column("image", Image(decode=False))
    return Source(table, partial(_read, partial(_open_row, undecoded)))


def _open_row(splits: DatasetDict, name: str) -> BinaryIO:
    split, row = name.split("/")
    image = splits[split][int(row)]["image"]
    return io.BytesIO(image["bytes"]) if image["bytes"] else Path(image["path"]).open("rb")
