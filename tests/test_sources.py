"""The reader of sources: every layout to the same rows, and a reason for whatever is no photo."""

import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import datasets
import pytest

from data.labelled import SAMPLE
from data.photos import PhotoError
from data.sources import DataError, Source, open_source
from tests.loopback_hub import LoopbackHub, run_with_hub


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A few photos in two folders of a folder, and what is not listed."""
    for category in ("watches", "computers"):
        shutil.copytree(SAMPLE / category, tmp_path / "shop" / "deep" / category)
    (tmp_path / "shop" / ".hidden.jpg").touch()
    (tmp_path / "shop" / "__MACOSX").mkdir()
    (tmp_path / "shop" / "__MACOSX" / "x.jpg").touch()
    (tmp_path / "shop" / "circle").symlink_to(tmp_path / "shop")
    return tmp_path / "shop"


def contents(source: Source) -> dict[str, tuple[str, bytes]]:
    """Category and bytes by name, read as another process would."""
    read, table = pickle.loads(pickle.dumps(source.read)), source.table
    rows = zip(table["name"], table["category"], strict=True)
    return {name: (category, read(name)) for name, category in rows}


def reasons(source: Source) -> dict[str, str]:
    """Why rows cannot be read, by name."""
    found = {}
    for name in source.table["name"]:
        try:
            source.read(name)
        except PhotoError as error:
            found[name] = str(error)
    return found


def zipped(folder: Path, file: Path) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder))
    return file


def test_every_layout_gives_the_same_rows(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {
        file.relative_to(shop).as_posix(): (file.parent.name, file.read_bytes())
        for file in (shop / "deep").glob("*/*")
    }
    assert contents(open_source(shop)) == expected
    shutil.rmtree(shop / "circle", ignore_errors=True)
    (shop / "circle").unlink()
    zipped(shop, tmp_path / "shop.zip")
    assert contents(open_source(tmp_path / "shop.zip")) == expected
    assert contents(open_source(f"file://{shop}")) == expected
    # A zip of a relative path is read from another folder, too.
    monkeypatch.chdir(tmp_path)
    zip_source = open_source("shop.zip")
    monkeypatch.chdir("/")
    assert contents(zip_source) == expected
    lines = [f"x.jpg,{name.replace('/', chr(92))},{row[0]}" for name, row in expected.items()]
    (shop / "products.csv").write_text("\n".join(["image,path_image,main_category", *lines]))
    assert contents(open_source(shop / "products.csv")) == expected


def test_threads_that_read_a_zip_at_once_find_all_of_it(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """As on a cluster, where each actor is sent the reader and begins with several threads."""
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for number in range(3000):
            archive.writestr(f"{number}.jpg", str(number))
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(1e-5)
    for copy in range(8):
        source = open_source(shutil.copy(tmp_path / "photos.zip", tmp_path / f"{copy}.zip"))
        read, names = pickle.loads(pickle.dumps(source.read)), source.table["name"][-8:]
        with ThreadPoolExecutor(len(names)) as pool:
            assert [*pool.map(read, names)] == [Path(name).stem.encode() for name in names]


def test_csv_keeps_its_columns_and_all_of_its_rows(shop: Path) -> None:
    file = shop / "products.csv"
    file.write_text(
        "SKU,image,name,path_image\n"
        "007,a.jpg,A watch,deep/watches/wristwatch-1.jpg\n"
        "008,,Nothing,\n"
        "009,b.jpg,Gone,\n"
        "010,a.jpg,The same watch,deep\\watches\\wristwatch-1.jpg\n"
    )
    source = open_source(file)
    assert source.columns == ["SKU", "image", "name (CSV)", "path_image"]
    assert source.table["SKU"].tolist() == ["007", "008", "009", "010"]
    names = source.table["name"].tolist()
    watch = "deep/watches/wristwatch-1.jpg"
    assert names == [watch, "row 3", "Images/b.jpg", f"{watch} (row 5)"]
    assert source.read(names[0]) == source.read(names[3]) == (shop / watch).read_bytes()
    assert reasons(source) == {
        "row 3": "No photo is named in row 3.",
        "Images/b.jpg": "This file is not there.",
    }


def test_csv_that_is_a_link_names_photos_beside_the_link(shop: Path, tmp_path: Path) -> None:
    """As in the Hub's cache."""
    photo = "deep/watches/wristwatch-1.jpg"
    (tmp_path / "kept.csv").write_text(f"image,path_image\nx.jpg,{photo}\n")
    (shop / "products.csv").symlink_to(tmp_path / "kept.csv")
    assert open_source(shop / "products.csv").read(photo) == (shop / photo).read_bytes()


def test_what_is_no_file_has_its_row_and_hangs_nothing(shop: Path, tmp_path: Path) -> None:
    os.mkfifo(shop / "deep" / "watches" / "pipe.jpg")
    os.mkfifo(tmp_path / "a.csv")
    source = open_source(shop)
    assert reasons(source) == {"deep/watches/pipe.jpg": "This is not a file."}
    with pytest.raises(DataError, match="neither a folder, nor"):
        open_source(tmp_path / "a.csv")


def test_folder_that_cannot_be_listed_has_its_row(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's refusal, invented: tests may run as root, whom nothing is refused."""
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("computers"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    source = open_source(shop)
    assert reasons(source) == {"deep/computers/": "This folder cannot be listed."}
    assert "deep/watches/wristwatch-1.jpg" in set(source.table["name"])


def test_zip_with_a_password_has_reasons(shop: Path, tmp_path: Path) -> None:
    if not shutil.which("zip"):
        pytest.skip("no zip command is installed")
    command = ["zip", "-q", "-r", "-P", "secret", str(tmp_path / "locked.zip"), "watches"]
    subprocess.run(command, cwd=shop / "deep", check=True)
    found = reasons(open_source(tmp_path / "locked.zip"))
    assert len(found) == len(list((shop / "deep" / "watches").iterdir()))
    assert set(found.values()) == {"This file cannot be read (it needs a password)."}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("products.xlsx", "is a spreadsheet: save it as CSV"),
        ("photos.zip", "cannot be read as a zip"),
        ("products.csv", "cannot be read: save it as comma-separated values in UTF-8"),
        ("no/such/folder", "neither a folder"),
        ("photos/", "neither a folder"),
        ("", "neither a folder"),
        ("longer.csv", "needs a name of its own for each column"),
        ("twice.csv", "needs a name of its own for each column"),
        ("none://bucket/folder", "cannot be listed"),
    ],
)
def test_what_is_no_source_is_one_sentence(name: str, sentence: str, tmp_path: Path) -> None:
    if "." in name:
        (tmp_path / "longer.csv").write_text("image,note\na.jpg,1,\nb.jpg,2,\n")
        (tmp_path / "twice.csv").write_text("image,name,name (CSV)\na.jpg,1,2\n")
        # A spreadsheet is a zip, too.
        zipped(SAMPLE / "watches", tmp_path / "products.xlsx")
        (tmp_path / "photos.zip").write_bytes(b"no zip")
        (tmp_path / "products.csv").write_bytes(b"image\n\xff\xfe")
        name = str(tmp_path / name)
    with pytest.raises(DataError, match=sentence) as raised:
        open_source(name)
    assert str(raised.value).endswith(".") and "\n" not in str(raised.value)


def test_photos_of_a_data_set_on_the_hub(tmp_path: Path) -> None:
    photos = [str(file) for file in sorted((SAMPLE / "watches").iterdir())]
    (tmp_path / "repository" / "data").mkdir(parents=True)
    datasets.Dataset.from_dict({"image": photos}).cast_column("image", datasets.Image()).to_parquet(
        tmp_path / "repository" / "data" / "train-00000-of-00001.parquet"
    )
    with LoopbackHub({"datasets/user/name@main": tmp_path / "repository"}) as hub:
        printed = run_with_hub(
            "from data.sources import open_source; source = open_source('user/name');"
            "name = list(source.table['name'])[-1]; print(name, source.read(name).hex())",
            hub.url,
            tmp_path / "home",
        )
    assert printed.splitlines()[-1] == f"train/13 {Path(photos[-1]).read_bytes().hex()}"
