"""The loader: every layout to the same splits, copies kept together, every fault named."""

import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, DatasetDict, Image, concatenate_datasets
from PIL import Image as PILImage

from data.categories import CATEGORIES, DESCRIPTIONS
from data.labelled import SAMPLE, add_corrections, load_photos, summary
from data.photos import PhotoError, read_photo
from data.sources import DataError
from tests.loopback_hub import LoopbackHub, run_with_hub
from tests.odd_files import ODD, write_odd_file

RAW = Image(decode=False)
PER_CATEGORY = 10


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A small shop in both CSV layouts; in each category the last two photos are copies."""
    rows = []
    (tmp_path / "Images").mkdir()
    for label, category in enumerate(CATEGORIES):
        for number in range(PER_CATEGORY):
            file = f"{label}-{number}.png"
            seed = label * PER_CATEGORY + min(number, PER_CATEGORY - 2)
            pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
            PILImage.fromarray(pixels).save(tmp_path / "Images" / file)
            rows.append({"image": file, "category": category, "description": f"photo {file}"})
    table = pd.DataFrame(rows)
    table.assign(main_category=table["category"], path_image="Images\\" + table["image"]).to_csv(
        tmp_path / "products.csv"
    )
    table.assign(
        product_category_tree=[f'["{name.title()} >> Sub >> Sub"]' for name in table["category"]]
    ).drop(columns="category").to_csv(tmp_path / "original.csv", index=False)
    return tmp_path


def contents(photos: DatasetDict) -> dict[str, list[list]]:
    """What each split holds, whatever its order: digests of the pixels, and labels."""
    return {
        split: sorted(
            [hashlib.sha256(row["image"].tobytes()).hexdigest(), row["label"]] for row in dataset
        )
        for split, dataset in photos.items()
    }


def test_descriptions_are_the_studys() -> None:
    assert len(DESCRIPTIONS) == 7
    assert DESCRIPTIONS["kitchen & dining"] == "kitchen tools, dining accessories, and mugs"


def test_features_are_image_label_description(shop: Path) -> None:
    photos = load_photos(shop / "products.csv")
    assert photos["train"].features["label"] == ClassLabel(names=CATEGORIES)
    row = photos["test"][0]
    assert row["image"].mode == "RGB" and row["description"].startswith("photo ")
    file = shop / row["name"]
    assert file.parent.name == "Images" and file.suffix == ".png"
    assert row["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_network_is_shown_what_the_demo_shows(tmp_path: Path) -> None:
    """A transparent cut-out is on white, 16-bit grey is scaled, a rotated photo is upright."""
    exif = PILImage.Exif()
    exif[0x0112] = 6
    grey = np.full((8, 8), 60000, dtype=np.uint16)
    files = {
        "cut-out.png": (PILImage.new("RGBA", (8, 8), (0, 0, 0, 0)), {}),
        "grey.png": (PILImage.fromarray(grey), {}),
        "turned.jpg": (PILImage.new("RGB", (16, 8)), {"exif": exif}),
    }
    for name, (picture, options) in files.items():
        (tmp_path / "watches").mkdir(exist_ok=True)
        picture.save(tmp_path / "watches" / name, **options)
    shown = {row["name"]: row["image"] for row in load_photos(tmp_path, all_test=True)["test"]}
    assert shown["watches/cut-out.png"].getpixel((4, 4)) == (255, 255, 255)
    assert shown["watches/grey.png"].getpixel((4, 4)) == (233, 233, 233)
    assert shown["watches/turned.jpg"].size == (8, 16)
    for name, picture in shown.items():
        assert np.array_equal(picture, read_photo(tmp_path / name))


def test_columns_decode_no_picture_and_what_breaks_later_is_named(shop: Path) -> None:
    photos = load_photos(shop / "products.csv")["train"]
    gone = shop / photos[0]["name"]
    gone.write_bytes(b"")
    assert len(set(photos["sha256"])) > 40 and photos["name"][0] == f"Images/{gone.name}"
    with pytest.raises(PhotoError, match=f"{gone.name}: This file is empty"):
        photos[0]


def test_both_csv_layouts_and_the_folder_give_the_same_splits(shop: Path, tmp_path: Path) -> None:
    expected = contents(load_photos(shop / "products.csv"))
    assert contents(load_photos(shop / "original.csv")) == expected
    folder = tmp_path / "folder"
    for row in pd.read_csv(shop / "products.csv").itertuples():
        (folder / row.category).mkdir(parents=True, exist_ok=True)
        shutil.copy(shop / "Images" / row.image, folder / row.category)
    assert contents(load_photos(folder)) == expected


@pytest.fixture
def archive(shop: Path) -> Path:
    """The shop as a zip of `<category>/<photo>` in a folder, with what macOS adds."""
    file = shop / "shop.zip"
    with ZipFile(file, "w") as archive:
        for row in pd.read_csv(shop / "products.csv").itertuples():
            archive.write(shop / "Images" / row.image, f"my shop/{row.category}/{row.image}")
        archive.writestr("my shop/watches/.DS_Store", b"x")
        archive.writestr("__MACOSX/my shop/watches/._6-0.png", b"x")
    return file


def test_zip_gives_the_splits_of_the_csv(archive: Path) -> None:
    photos = load_photos(archive)
    assert contents(photos) == contents(load_photos(archive.with_name("products.csv")))
    # What is read is not on the disk, and is published and trained on all the same.
    archive.unlink()
    assert photos["train"][0]["image"].size == (8, 8)


def test_faults_of_a_zip_are_named(archive: Path) -> None:
    content = archive.read_bytes()
    with ZipFile(archive) as opened:
        start = opened.getinfo("my shop/watches/6-0.png").header_offset + 60
    archive.write_bytes(content[:start] + bytes(20) + content[start + 20 :])
    with pytest.raises(DataError, match=r"shop\.zip: 1 photos .*first my shop/watches/6-0\.png"):
        load_photos(archive)
    assert sum(load_photos(archive, skip_broken=True).num_rows.values()) == 7 * PER_CATEGORY - 1
    archive.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"shop\.zip cannot be read as a zip"):
        load_photos(archive)
    with ZipFile(archive, "w") as emptied:
        emptied.writestr("../watches/outside.png", b"x")
    with pytest.raises(DataError, match="holds no photos"):
        load_photos(archive)


@pytest.fixture
def corrections(archive: Path) -> Path:
    """One photo of each split, and one that is new, sorted as watches."""
    file = archive.with_name("corrections.zip")
    with ZipFile(file, "w") as corrected:
        for split, dataset in load_photos(archive).items():
            photo = dataset.filter(lambda row: row["label"] == 0).cast_column("image", RAW)[0]
            corrected.writestr(f"watches/{split}.png", photo["image"]["bytes"])
        content = io.BytesIO()
        PILImage.new("RGB", (8, 8)).save(content, "PNG")
        corrected.writestr("watches/new.png", content.getvalue())
    return file


def test_corrections_reach_train_alone(
    archive: Path, corrections: Path, capsys: pytest.CaptureFixture
) -> None:
    photos = load_photos(archive)
    corrected = add_corrections(photos, corrections)
    assert "2 join train (1 in place" in capsys.readouterr().out
    for split in ("validation", "test"):
        assert contents(corrected)[split] == contents(photos)[split]
    before, after = (dict(contents(dataset)["train"]) for dataset in (photos, corrected))
    assert len(after) == len(before) + 1
    moved = [photo for photo, label in after.items() if before.get(photo) != label]
    assert [after[photo] for photo in moved] == [6, 6]
    assert sorted(str(before.get(photo)) for photo in moved) == ["0", "None"]


def test_training_takes_corrections(
    archive: Path,
    corrections: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from space.models.checkpoints import CheckpointError
    from training import train_vgg

    options = {"--dataset": archive, "--corrections": corrections, "--init": "nowhere"}
    arguments = [str(part) for option in options.items() for part in option]
    monkeypatch.setattr("sys.argv", ["train_vgg.py", *arguments])
    with pytest.raises(CheckpointError, match="nowhere"):
        train_vgg.main()
    printed = capsys.readouterr().out
    assert "Corrections: 2 join train" in printed
    assert re.search(r"all +54 +9 +8\n", printed)


def test_split_is_stratified_and_does_not_depend_on_the_order(shop: Path) -> None:
    photos = load_photos(shop / "products.csv")
    for dataset, expected in ((photos["validation"], {1, 2}), (photos["test"], {1, 2})):
        assert set(np.bincount(dataset["label"], minlength=7)) <= expected
    pd.read_csv(shop / "products.csv").sample(frac=1, random_state=3).to_csv(shop / "mixed.csv")
    assert contents(load_photos(shop / "mixed.csv")) == contents(photos)


def test_copies_stay_on_one_side(shop: Path) -> None:
    photos = load_photos(shop / "products.csv")
    assert sum(map(len, photos.values())) == 7 * PER_CATEGORY
    seen = [{digest for digest, _ in rows} for rows in contents(photos).values()]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    assert "7 photos are copies of another" in summary(photos)


def test_hub_data_set_gives_the_same_splits(shop: Path, tmp_path: Path) -> None:
    photos = load_photos(shop / "products.csv")
    repository = tmp_path / "repository"
    (repository / "data").mkdir(parents=True)
    concatenate_datasets(list(photos.values())).to_parquet(
        repository / "data" / "train-00000-of-00001.parquet"
    )
    with LoopbackHub({"datasets/user/name@main": repository}) as hub:
        printed = run_with_hub(
            "import json; from data.labelled import load_photos;"
            "from tests.test_labelled import contents;"
            "print(json.dumps(contents(load_photos('user/name'))))",
            hub.url,
            tmp_path,
        )
    assert json.loads(printed.splitlines()[-1]) == contents(photos)


def _edit(shop: Path, change: Callable[[pd.DataFrame], object]) -> Path:
    table = pd.read_csv(shop / "products.csv", index_col=0)
    changed = change(table)
    (table if changed is None else changed).to_csv(shop / "edited.csv")
    return shop / "edited.csv"


def _set(value: str, *columns: str) -> Callable[[pd.DataFrame], None]:
    def change(table: pd.DataFrame) -> None:
        table.loc[0, list(columns)] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="main_category"), "needs the column main_category"),
        (lambda table: table.drop(columns="image"), "needs the column image"),
        (_set("garden", "main_category"), "unknown category 'garden'"),
        (_set("none.png", "path_image", "image"), "1 photos are missing or unreadable.*none.png"),
        (lambda table: table[table["main_category"] != "watches"], "watches has 0 different"),
    ],
    ids=["category", "image", "unknown", "missing", "empty class"],
)
def test_faults_of_a_csv_are_named(
    shop: Path, change: Callable[[pd.DataFrame], object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_photos(_edit(shop, change))


def test_photo_is_found_beside_the_csv_where_its_path_leads_nowhere(shop: Path) -> None:
    moved = load_photos(_edit(shop, _set("elsewhere/photo.png", "path_image")))
    assert contents(moved) == contents(load_photos(shop / "products.csv"))


def test_semicolons_and_other_encodings_are_named(shop: Path) -> None:
    table = pd.read_csv(shop / "products.csv")
    table.to_csv(shop / "semicolons.csv", sep=";")
    with pytest.raises(DataError, match="separated by commas"):
        load_photos(shop / "semicolons.csv")
    table.to_csv(shop / "utf16.csv", encoding="utf-16")
    with pytest.raises(DataError, match="UTF-8"):
        load_photos(shop / "utf16.csv")


def test_broken_photo_is_named_or_skipped(shop: Path, capsys: pytest.CaptureFixture) -> None:
    broken = shop / "Images" / "3-4.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(DataError, match=r"3-4\.png.*--skip-broken"):
        load_photos(shop / "products.csv")
    photos = load_photos(shop / "products.csv", skip_broken=True)
    assert sum(map(len, photos.values())) == 7 * PER_CATEGORY - 1
    assert "1 missing or unreadable photos left out" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "sentence"), ODD)
def test_odd_photo_is_named_or_loaded(shop: Path, name: str, sentence: str) -> None:
    write_odd_file(shop / "Images", name)
    edited = _edit(shop, _set(name, "image", "path_image"))
    if sentence:
        with pytest.raises(DataError, match=f"1 photos are missing or unreadable.*{name}"):
            load_photos(edited)
    else:
        assert sum(load_photos(edited).num_rows.values()) == 7 * PER_CATEGORY


@pytest.mark.parametrize("source", ["nowhere.csv", "no/such/folder", "plain-name"])
def test_unknown_source_is_named(source: str) -> None:
    with pytest.raises(DataError, match=source):
        load_photos(source)


def test_data_set_that_the_hub_does_not_give_is_named() -> None:
    with pytest.raises(DataError, match="user/name cannot be loaded"):
        load_photos("user/name")


def test_the_bundled_sample_is_the_default() -> None:
    photos = load_photos()
    assert sum(map(len, photos.values())) == len(list(SAMPLE.glob("*/*.jpg")))
    for split in ("train", "validation", "test"):
        assert set(photos[split]["label"]) == set(range(7))


def test_the_bundled_sample_is_small_and_complete() -> None:
    files = list(SAMPLE.glob("*/*.jpg"))
    assert sum(file.stat().st_size for file in files) < 4e6
    for category in CATEGORIES:
        names = [file.stem for file in SAMPLE.glob(f"{category}/*.jpg")]
        assert len(names) >= 12
        assert len({name.rsplit("-", 1)[0] for name in names}) >= 2
    assert {PILImage.open(file).size for file in files} == {(320, 320)}


def test_real_photos_in_both_layouts(flipkart: Path) -> None:
    first = load_photos(flipkart / "products.csv")
    second = load_photos(flipkart / "flipkart_com-ecommerce_sample.csv")
    assert {split: len(dataset) for split, dataset in first.items()} == {
        "train": 584,
        "validation": 129,
        "test": 124,
    }
    for split in first:
        assert sorted(first[split]["description"]) == sorted(second[split]["description"])
    assert "16 photos are copies of another" in summary(first)
