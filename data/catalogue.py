"""All photos of a catalogue, named first and read one by one: folder, bucket, zip, CSV or Hub.

    names, read = find_photos("photos.zip")
    read(names[0])                              # the bytes of the first file

A source is one of

* a folder, with all folders in it, or a zip of one;
* the address of a bucket that pyarrow's file systems read, such as `s3://bucket/folder`;
* a CSV with the column `image`; its photos are found as data/load.py does, no category is needed;
* the id of a data set on the Hub (`user/name`) with the column `image`.
"""

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from zipfile import is_zipfile

from datasets import DatasetDict
from fsspec.implementations.zip import ZipFileSystem
from pyarrow.fs import (
    FileSelector,
    FileSystem,
    FileType,
    FSSpecHandler,
    LocalFileSystem,
    PyFileSystem,
)

from data.sources import DataError, csv_photos, hub_splits, is_hub_id


def find_photos(source: str) -> tuple[list[str], Callable[[str], bytes]]:
    """Name the photos of a catalogue, and say how to read them.

    Hidden files are left out; whether the others are photos shows when they are read.

    Args:
        source: see the module.

    Returns:
        The names, each once: paths from the source, or `split/row` on the Hub. And what gives the
        bytes of a name; threads may share it, and other processes be sent it. It raises what the
        file system raises.

    Raises:
        DataError: no such source, or one that cannot be listed or holds no photos.
    """
    path = Path(source)
    if path.is_dir():
        names, read = _walk(path), partial(_read, LocalFileSystem(), path.resolve())
    elif path.is_file() and is_zipfile(path):
        names, read = _listed(PyFileSystem(FSSpecHandler(ZipFileSystem(path))), "")
    elif path.is_file() and path.suffix.lower() == ".csv":
        names = (os.path.relpath(file, path.parent) for file in csv_photos(path))
        read = partial(_read, LocalFileSystem(), path.resolve().parent)
    elif "://" in source:
        names, read = _bucket(source)
    elif is_hub_id(source):
        splits = hub_splits(source, "image")
        names = (f"{split}/{row}" for split in splits for row in range(len(splits[split])))
        read = partial(_read_row, splits)
    else:
        raise DataError(
            f"{source} is neither a folder, nor a zip or CSV file, nor an address such as "
            "s3://bucket/folder, nor a data set id such as user/name."
        )
    different = list(dict.fromkeys(names))
    if not different:
        raise DataError(f"{source} holds no photos.")
    return different, read


def _walk(folder: Path) -> Iterable[str]:
    """As pyarrow lists a folder, but not round in circles through links."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if _is_shown(name))
        for name in sorted(filter(_is_shown, files)):
            # A name that is not UTF-8 is found by nobody, and gets its row all the same.
            relative = os.path.relpath(Path(place, name), folder)
            yield os.fsencode(relative).decode(errors="replace")


def _bucket(address: str) -> tuple[Iterable[str], Callable[[str], bytes]]:
    try:
        return _listed(*FileSystem.from_uri(address))
    except Exception as error:  # file systems raise dozens of kinds
        raise DataError(f"{address} cannot be listed: {str(error).splitlines()[0]}") from error


def _listed(files: FileSystem, root: str) -> tuple[Iterable[str], Callable[[str], bytes]]:
    found = files.get_file_info(FileSelector(root, recursive=True))
    names = [
        os.path.relpath(file.path, root or ".") for file in found if file.type == FileType.File
    ]
    shown = (name for name in sorted(names) if all(map(_is_shown, Path(name).parts)))
    return shown, partial(_read, files, root)


def _is_shown(name: str) -> bool:
    """Neither hidden, nor what macOS puts into a zip beside the files."""
    return not name.startswith((".", "__MACOSX"))


def _read(files: FileSystem, root: str | Path, name: str) -> bytes:
    with files.open_input_stream(os.path.normpath(Path(root, name))) as file:
        return file.read()


def _read_row(splits: DatasetDict, name: str) -> bytes:
    split, row = name.split("/")
    image = splits[split][int(row)]["image"]
    return image["bytes"] or Path(image["path"]).read_bytes()
