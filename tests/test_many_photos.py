"""Many photos: a zip of the sample sorted in a real browser, corrected by keyboard, taken home."""

import io
import shutil
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from itertools import chain
from pathlib import Path

import gradio as gr
import pandas as pd
import pytest
from datasets import Dataset
from gradio.components.file import ListFiles
from gradio.data_classes import FileData
from gradio_client import Client, handle_file
from playwright.sync_api import BrowserContext, Locator, Page, expect

from data.categories import CATEGORIES
from data.labelled import SAMPLE, load_photos
from data.sources import DataError
from space.models.classifiers import Models
from space.pages.many_photos import (
    BATCH,
    MAX_PHOTOS,
    Drop,
    PhotosInput,
    many_tab,
    photos_in,
    write_result,
)
from space.sorting.batches import sort_photos
from space.sorting.rule import Rule, find_rule
from tests.conftest import ROOT, RunningApp, open_page
from tests.odd_files import ODD, write_odd_file
from tests.test_catalogue import sort_in_memory

PHOTOS = sorted(SAMPLE.glob("*/*.jpg"))
# How often the page asks again by itself, for a batch that a full queue forgot.
TICK_SECONDS = 3
BROKEN = '<img src=x onerror="window.ran = true">.jpg'


def write_zip(file: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return file


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample in nested folders of a zip, a broken photo, and what macOS adds."""
    content = {f"shop/{file.parent.name}/{file.name}": file.read_bytes() for file in PHOTOS}
    content |= {f"shop/{BROKEN}": PHOTOS[0].read_bytes()[:900], "shop/.DS_Store": b"x"}
    content |= {"__MACOSX/shop/._mug.jpg": b"x", "../../outside.jpg": PHOTOS[0].read_bytes()}
    return write_zip(tmp_path_factory.mktemp("catalogue") / "catalogue.zip", content)


@pytest.fixture(scope="module")
def rule(models: Models) -> Rule:
    """The tab's."""
    return find_rule(0.99, models)


def open_tab(
    browser: BrowserContext, app: RunningApp, width: int = 1280, theme: str = "light"
) -> Page:
    page = open_page(browser, f"{app.url}/?__theme={theme}", width)
    page.get_by_role("tab", name="Many photos").click()
    expect(page.locator("#many input[type=file]")).to_be_attached()
    return page


def drop(page: Page, *files: Path) -> None:
    page.locator("#many input[type=file]").set_input_files(files)


def rows(page: Page) -> Locator:
    return page.locator("#many tr[data-row]")


def download(page: Page, file: str) -> bytes:
    with page.expect_download() as started:
        page.locator(f"#many button[data-file='{file}']").click()
    assert started.value.suggested_filename == file
    return Path(started.value.path()).read_bytes()


@pytest.fixture(scope="module")
def answered() -> list[dict]:
    """What /compare answered while the catalogue was sorted."""
    return []


@pytest.fixture(scope="module")
def page(
    browser: BrowserContext, app: RunningApp, catalogue: Path, answered: list[dict]
) -> Iterator[Page]:
    """The tab, with the catalogue sorted."""
    client = Client(app.url, verbose=False, analytics_enabled=False)
    page = open_tab(browser, app)
    page.evaluate("window.ran = false")
    drop(page, catalogue)
    progress = page.get_by_role("progressbar", name="Photos sorted")
    expect(progress).to_be_visible()
    start = time.monotonic()
    while progress.is_visible():
        answer = client.predict(handle_file(PHOTOS[0]), api_name="/compare")
        if progress.is_visible():
            answered.append(answer)
        page.wait_for_timeout(200)
    expect(rows(page)).to_have_count(len(PHOTOS))
    # Each batch is asked for as soon as the one before is there, not when the page's clock ticks.
    assert time.monotonic() - start < 0.5 * TICK_SECONDS * len(PHOTOS) / BATCH
    yield page
    page.close()


def test_a_single_photo_is_answered_while_a_hundred_are_sorted(
    page: Page, answered: list[dict]
) -> None:
    """In one queue for the networks, others have their turn between two batches."""
    assert len(answered) > 3


def test_rows_are_what_the_rule_decides_the_doubtful_first(page: Page, models: Models) -> None:
    shown = pd.DataFrame(rows(page).evaluate_all("rows => rows.map((row) => ({...row.dataset}))"))
    left = (shown["decision"] == "").to_numpy()
    assert left.any() and left.tolist() == sorted(left, reverse=True)
    percents = shown["probabilities"].str.split(" ", expand=True).astype(float).to_numpy()
    confidence = pd.Series(percents.reshape(len(shown), 2, 7).mean(1).max(1))
    # Percents are rounded to a tenth.
    assert all(confidence[group].diff().dropna().min() > -0.11 for group in (left, ~left))
    # The photos at both ends of the list, as the command sorts them.
    ends = [rows(page).first, rows(page).last]
    files = [SAMPLE / end.locator(".path").inner_text().removeprefix("shop/") for end in ends]
    decided = sort_in_memory(models, find_rule(0.99, models), files)
    assert decided["why"].tolist() == shown["why"].iloc[[0, -1]].tolist()
    assert decided["decision"].replace("person", "").tolist() == shown["decision"][[0, 97]].tolist()


def test_broken_photo_is_a_row_with_its_reason_and_its_name_is_not_run(page: Page) -> None:
    broken = page.locator("#many .photos tbody").last
    expect(broken.locator("tr").first).to_have_text("1 that cannot be read")
    expect(broken.locator("tr").last).to_contain_text(f"shop/{BROKEN}")
    expect(broken.locator("tr").last).to_contain_text("This file is not a photo")
    assert page.evaluate("window.ran") is False


def test_chosen_photo_is_shown_with_both_models_bars(page: Page) -> None:
    row = rows(page).nth(5)
    row.click()
    panel = page.locator("#many .panel")
    expect(panel.locator("img")).to_have_attribute("src", row.locator("img").get_attribute("src"))
    expect(panel.get_by_role("img")).to_have_accessible_name(row.locator(".path").inner_text())
    percents = [float(text) for text in row.get_attribute("data-probabilities").split()]
    for index, model in enumerate(("vgg16", "zero-shot")):
        cells = panel.locator(f"td.{model}")
        assert sum(percents[7 * index : 7 * index + 7]) == pytest.approx(100, abs=0.5)
        for label, percent in enumerate(percents[7 * index : 7 * index + 7]):
            expect(cells.nth(label)).to_contain_text(f"{percent + 1e-9:.0f}%")
            bar = cells.nth(label).locator(".bar span")
            assert bar.evaluate("span => span.style.width") == f"{percent:g}%"


def test_keys_move_set_and_take_back(page: Page) -> None:
    first, second = rows(page).nth(0), rows(page).nth(1)
    go_to_the_first(page)
    page.keyboard.press("j")
    expect(second).to_be_focused()
    expect(second).to_have_attribute("aria-selected", "true")
    page.keyboard.press("k")
    expect(first).to_be_focused()
    page.keyboard.press("7")
    expect(first.locator(".category")).to_have_text("watches")
    expect(page.locator("#many").get_by_role("status")).to_contain_text(": watches")
    expect(second).to_be_focused()
    page.keyboard.press("3")
    assert names_in(download(page, "corrections.zip")) == {
        f"{category}/{number(row)}" for category, row in (("watches", first), ("computers", second))
    }
    table = pd.read_csv(io.BytesIO(download(page, "sorted.csv")))
    assert (table["set_by"] == "person").sum() == 2
    decided = table[table["decision"] != "person"]
    assert (decided["category"] == decided["decision"]).all() and (
        decided["set_by"] == "rule"
    ).all()
    assert table["category"].count() == len(decided) + 2
    assert len(names_in(download(page, "sorted.zip"))) == len(decided) + 2
    go_to_the_first(page)
    page.keyboard.press("0")
    expect(first.locator(".category")).to_have_text("not set")
    assert len(names_in(download(page, "corrections.zip"))) == 1


def test_category_is_set_with_a_click(page: Page) -> None:
    rows(page).nth(2).click()
    page.get_by_role("button", name="5 home furnishing").click()
    expect(rows(page).nth(2).locator(".category")).to_have_text("home furnishing")
    expect(rows(page).nth(3)).to_have_attribute("aria-selected", "true")


def test_what_the_keys_have_sorted_is_a_data_set(page: Page, tmp_path: Path) -> None:
    go_to_the_first(page)
    for path in rows(page).locator(".path").all_inner_texts():
        page.keyboard.press(str(1 + CATEGORIES.index(path.split("/")[1])))
    for name in ("corrections.zip", "sorted.zip"):
        (tmp_path / name).write_bytes(download(page, name))
        photos, sample = load_photos(tmp_path / name), load_photos()
        for split in sample:
            assert labels_of(photos[split]) == labels_of(sample[split])
    table = pd.read_csv(io.BytesIO(download(page, "sorted.csv")))
    assert len(table) == len(PHOTOS) + 1 and table["category"].isna().sum() == 1
    assert table.loc[table["category"].isna(), "path"].tolist() == [f"shop/{BROKEN}"]


def go_to_the_first(page: Page) -> None:
    rows(page).first.click()


def number(row: Locator) -> str:
    """What a photo is called in a zip."""
    name = Path(row.locator(".path").inner_text()).name
    return f"{int(row.get_attribute('data-row')) + 1:03}-{name}"


def names_in(archive: bytes) -> set[str]:
    return set(zipfile.ZipFile(io.BytesIO(archive)).namelist())


def labels_of(photos: Dataset) -> dict[str, int]:
    return dict(zip(photos["sha256"], photos["label"], strict=True))


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (390, "dark"), (1280, "dark")])
def test_photos_dropped_one_by_one_fit_the_screen(
    browser: BrowserContext, app: RunningApp, width: int, theme: str, tmp_path: Path
) -> None:
    page = open_tab(browser, app, width, theme)
    (tmp_path / "notes.txt").write_text("no photo")
    drop(page, *PHOTOS[::40], tmp_path / "notes.txt")
    expect(rows(page)).to_have_count(3)
    expect(page.locator("#many .verdict")).to_contain_text("1 that cannot be read")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # The photo that is looked at stands beside the list, on a phone above it.
    panel, listed = (page.locator(f"#many {part}").bounding_box() for part in (".panel", ".photos"))
    above = panel["y"] + panel["height"] <= listed["y"]
    assert above if width < 720 else panel["x"] >= listed["x"] + listed["width"]
    # It is in sight, and so is its last category.
    expect(page.locator("#many .panel img")).to_be_in_viewport()
    expect(page.get_by_role("button", name="7 watches")).to_be_in_viewport()
    page.close()


def test_refused_drop_leaves_the_box_as_it_was(
    browser: BrowserContext, app: RunningApp, tmp_path: Path
) -> None:
    page = open_tab(browser, app)
    (tmp_path / "broken.zip").write_bytes(b"PK nothing")
    drop(page, tmp_path / "broken.zip")
    expect(page.get_by_text("broken.zip cannot be read as a zip").first).to_be_visible()
    many = {f"{number}.jpg": b"x" for number in range(MAX_PHOTOS + 1)}
    drop(page, write_zip(tmp_path / "many.zip", many))
    expect(page.get_by_text("these are 201").first).to_be_visible()
    drop(page, write_zip(tmp_path / "good.zip", {"a.jpg": PHOTOS[0].read_bytes()}))
    expect(rows(page)).to_have_count(1)
    drop(page, tmp_path / "many.zip")
    expect(page.get_by_text("these are 201").last).to_be_visible()
    expect(rows(page)).to_have_count(1)
    page.close()


def test_newer_drop_is_sorted_though_an_older_one_is_not_yet(
    browser: BrowserContext, app: RunningApp, catalogue: Path
) -> None:
    page = open_tab(browser, app)
    drop(page, catalogue)
    expect(page.get_by_role("progressbar", name="Photos sorted")).to_be_visible()
    drop(page, PHOTOS[0])
    expect(rows(page)).to_have_count(1)
    page.close()


# --- what is refused, or has a row ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({f"{n}.jpg": b"" for n in range(MAX_PHOTOS + 1)}, "More than 200 photos: these are 201"),
        ({"bomb.jpg": bytes(201 * 1024**2)}, "More than 200 MB of photos in a zip"),
        ({"__MACOSX/a.jpg": b"x", "a/.b/c.jpg": b"x", "../d.jpg": b"x"}, "no photos in this zip"),
    ],
    ids=["many", "bomb", "hidden"],
)
def test_zips_that_are_too_much_are_refused(
    tmp_path: Path, content: dict[str, bytes], message: str
) -> None:
    file = write_zip(tmp_path / "photos.zip", content)
    with pytest.raises(DataError, match=message):
        photos_in([FileData(path=str(file))])


def test_long_list_in_a_zip_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number}.jpg", b"")
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="More than 200 photos are in"):
            photos_in([FileData(path=str(tmp_path / "photos.zip"))])
        assert tracemalloc.get_traced_memory()[1] < 1024**2
    finally:
        tracemalloc.stop()


def test_whatever_a_file_is_it_has_a_row(models: Models, rule: Rule, tmp_path: Path) -> None:
    """None of them ends the batch, and each is named."""
    for name, _ in ODD:
        write_odd_file(tmp_path, name)
    (tmp_path / "deleted.jpg").touch()
    (tmp_path / "notes.txt").write_text("no photo")
    shutil.copy(PHOTOS[0], tmp_path / "good.jpg")
    files = sorted(tmp_path.iterdir())
    photos = photos_in([FileData(path=str(file), orig_name=file.name) for file in files])
    (tmp_path / "deleted.jpg").unlink()
    found = pd.DataFrame(chain.from_iterable(sort_photos(models, rule, photos))).set_index("path")
    assert list(found.index) == [file.name for file in files]
    assert found.loc[["turned.jpg", "good.jpg"], "vgg16"].notna().all()
    assert found["why"]["deleted.jpg"] == "This file is not there."
    assert all(sentence in found["why"][name] for name, sentence in ODD)
    assert "not a photo" in found["why"]["notes.txt"]


def test_table_opens_in_a_spreadsheet(tmp_path: Path) -> None:
    names = ["crème.jpg", "1.jpg", *(f"{sign}1.jpg" for sign in "=+-@")]
    drop = Drop(1, [], [], [{"path": name, "decision": "person", "why": "-"} for name in names])
    file = write_result(drop, ["vgg16", "zero_shot"], {1: "watches"}, tmp_path / "sorted.csv")
    assert file.read_bytes().startswith(b"\xef\xbb\xbf")
    table = pd.read_csv(file)
    assert table["path"].tolist() == [*names[:2], *(f"'{name}" for name in names[2:])]
    assert table["category"].tolist()[1] == "watches" and table["set_by"].tolist()[1] == "person"


def test_tab_without_a_report_of_its_models_says_so(models: Models) -> None:
    vgg16 = copy(models.vgg16)
    vgg16.identity = replace(vgg16.identity, weights="another")
    other = models._replace(vgg16=vgg16)
    with gr.Blocks() as demo:
        many_tab(other, lambda function: function)
    texts = [block.value for block in demo.blocks.values() if isinstance(block, gr.Markdown)]
    assert len(texts) == 1 and "is of another VGG16" in texts[0]


@pytest.mark.parametrize("file", [ROOT / "README.md", PHOTOS[0]])
def test_files_of_the_server_are_not_opened(file: Path) -> None:
    with pytest.raises(gr.Error, match="Please upload the photos"):
        PhotosInput(file_count="multiple").preprocess(ListFiles([FileData(path=str(file))]))
