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

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo, is_zipfile

import pandas as pd
from datasets import DatasetDict, Image, concatenate_datasets, load_dataset
from pyarrow import fs

from data.errors import UserError
from data.photos import PhotoError, open_photo, reading_faults


class DataError(UserError):
    """Photos that cannot be loaded as asked."""


@dataclass(frozen=True)
class Source:
    """The photos of a source: named, and read one by one."""

    # A row a photo: `name`, each once (a path from the source, `split/row` on the Hub); `file`, its
    # absolute path, where photos are files; `category` and `description` where the source has them;
    # and the columns of a CSV, all of them text.
    table: pd.DataFrame
    # The bytes of a name, or PhotoError. Threads may share it, and other processes be sent it.
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
    if text and path.is_dir():
        root = path.resolve()
        opened = _named(_walk(path), partial(_read, fs.LocalFileSystem(), root, {}), root)
    elif path.suffix.lower() in (".xls", ".xlsx", ".xlsm", ".ods") and path.is_file():
        raise DataError(f"{path} is a spreadsheet: save it as CSV (UTF-8, separated by commas).")
    elif path.is_file() and (is_zipfile(path) or path.suffix.lower() == ".zip"):
        # Absolute, so that other processes find it.
        opened = _named([photo.filename for photo in zip_photos(path)], _Zip(path.resolve()).read)
    elif path.is_file():
        opened = _csv(path)
    elif "://" in text:
        opened = _bucket(text)
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", text) and not path.suffix:
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


class _Zip:
    """A zip that is opened once, by whoever reads from it; another process opens it anew."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @cached_property
    def archive(self) -> ZipFile:
        return ZipFile(self.file)

    def __reduce__(self) -> tuple:
        return _Zip, (self.file,)

    @reading_faults()
    def read(self, name: str) -> bytes:
        return self.archive.read(name)


def _named(
    names: Iterable[str], read: Callable[[str], bytes], folder: Path | None = None
) -> Source:
    """Photos whose category is the name of the folder that they are in."""
    table = pd.DataFrame({"name": list(dict.fromkeys(names))}, dtype=object)
    table["category"] = [name.split("/")[-2] if "/" in name else None for name in table["name"]]
    if folder:
        table["file"] = [str(folder / name) for name in table["name"]]
    return Source(table, read)


def _walk(folder: Path) -> list[str]:
    """As pyarrow lists a folder, but without following links to folders."""
    found: list[Path] = []
    closed: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=closed.append):
        folders[:] = sorted(filter(_is_shown, folders))
        found += [Path(place, name) for name in sorted(filter(_is_shown, files))]
    names = [os.path.relpath(file, folder) for file in found]
    names += [f"{os.path.relpath(error.filename, folder)}/" for error in closed]
    # A name that is not UTF-8 cannot be opened later; it gets a row all the same.
    return [os.fsencode(name).decode(errors="replace") for name in names]


def _bucket(address: str) -> Source:
    try:
        files, root = fs.FileSystem.from_uri(address)
        found = files.get_file_info(fs.FileSelector(root, recursive=True))
    except Exception as error:  # file systems raise dozens of kinds
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{address} cannot be listed: {reason}.") from error
    paths = [file.path for file in found if file.type is fs.FileType.File]
    names = sorted(os.path.relpath(path, root or ".") for path in paths)
    return _named(filter(_is_shown, names), partial(_read, files, root, {}))


@reading_faults()
def _read(files: fs.FileSystem, root: str | Path, paths: Mapping[str, str], name: str) -> bytes:
    """The bytes of a name, which is its path from the root where `paths` gives no other."""
    path = paths.get(name, name)
    if not path:
        raise PhotoError(f"No photo is named in {name}.")
    if path.endswith("/"):
        raise PhotoError("This folder cannot be listed.")
    place = os.path.normpath(Path(root, path))
    is_local = isinstance(files, fs.LocalFileSystem)
    with open_photo(place) if is_local else files.open_input_stream(place) as file:
        return file.read()


def _csv(file: Path) -> Source:
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        sentence = f"{file} cannot be read: save it as comma-separated values in UTF-8."
        raise DataError(sentence) from error
    if "image" not in table:
        found = ", ".join(map(str, table.columns))
        raise DataError(f"{file} needs the column image, separated by commas; it has {found}.")
    # Columns that are called as ours are get another name.
    table = table.rename(columns={name: f"{name} (CSV)" for name in ("name", "file", "category")})
    if table.columns.has_duplicates or not isinstance(table.index, pd.RangeIndex):
        raise DataError(f"{file} needs a name of its own for each column, also for the last ones.")
    columns = list(table)
    given = table.get("path_image", [""] * len(table))
    paths = pd.Series(map(partial(_find, file.parent), given, table["image"]), dtype=object)
    rows = pd.Series([f"row {row}" for row in range(2, len(paths) + 2)], dtype=object)
    unique = paths.mask(paths.duplicated(), paths + " (" + rows + ")")
    table["name"] = unique.mask(paths == "", rows)
    other = {name: path for name, path in zip(table["name"], paths, strict=True) if name != path}
    if "main_category" in table:
        table["category"] = table["main_category"]
    elif "product_category_tree" in table:
        table["category"] = table["product_category_tree"].map(_first_level)
    root = file.parent.resolve()
    table["file"] = [str(root / path) for path in paths]
    return Source(table, partial(_read, fs.LocalFileSystem(), root, other), columns)


def _find(folder: Path, given: str, image: str) -> str:
    """The path given or that in `Images/`: the first that is a file, or else the first there is."""
    places = [path.replace("\\", "/") for path in (given, image and f"Images/{image}") if path]
    found = next((path for path in places if (folder / path).is_file()), (*places, "")[0])
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
    names = [f"{split}/{row}" for split, rows in splits.items() for row in range(len(rows))]
    table = pd.DataFrame({"name": names})
    if "label" in columns:
        name_of = getattr(everything.features["label"], "int2str", str)
        table["category"] = [name_of(label) for label in everything["label"]]
    if "description" in columns:
        table["description"] = list(everything["description"])
    return Source(table, partial(_read_row, splits.cast_column("image", Image(decode=False))))


@reading_faults()
def _read_row(splits: DatasetDict, name: str) -> bytes:
    split, row = name.split("/")
    image = splits[split][int(row)]["image"]
    return image["bytes"] or Path(image["path"]).read_bytes()
