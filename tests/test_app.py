"""The running app, as people meet it: in a real browser, and through the real gradio_client."""

import re
import runpy
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import BrowserContext, Locator, Page, expect

from data.categories import CATEGORIES, DESCRIPTIONS
from data.labelled import SAMPLE
from data.photos import read_photo
from space.models.classifiers import Models
from space.pages.compare import compare
from tests.conftest import ROOT, RunningApp, open_page
from tests.odd_files import ODD, write_odd_file

MUG = SAMPLE / "kitchen & dining" / "mug-1.jpg"


# --- start ---------------------------------------------------------------------------------------


def test_app_starts_within_30_seconds_without_a_hub(app: RunningApp) -> None:
    assert app.start_seconds < 30


def test_memory_stays_under_a_gigabyte_and_a_half(app: RunningApp, client: Client) -> None:
    for _ in range(3):
        client.predict(handle_file(MUG), api_name="/compare")
    status = Path(f"/proc/{app.process.pid}/status")
    if not status.exists():
        pytest.skip("peak memory is read from /proc, which this system has not")
    peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert int(peak[1]) < 1.5 * 1024**2


def test_vgg16_that_cannot_be_had_ends_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGG16_MODEL", "no/folder")
    with pytest.raises(SystemExit, match=r"^no/folder is not in the cache") as stop:
        runpy.run_path(str(ROOT / "app.py"))
    # What Python prints of it, without a traceback.
    assert isinstance(stop.value.code, str) and "\n" not in stop.value.code


# --- API -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(app: RunningApp) -> Client:
    return Client(app.url, verbose=False, analytics_enabled=False)


def test_compare_answers_what_the_function_behind_it_says(client: Client, models: Models) -> None:
    probabilities, zero_shot, details = client.predict(handle_file(MUG), api_name="/compare")
    expected = compare(models, read_photo(MUG))
    assert list(probabilities) == list(zero_shot) == CATEGORIES
    for answer, reference in zip((probabilities, zero_shot), expected, strict=False):
        assert sum(answer.values()) == pytest.approx(1, abs=1e-5)
        assert answer == pytest.approx(reference, abs=1e-4)
    assert details["cosine_similarities"] == pytest.approx(
        expected[2]["cosine_similarities"], abs=1e-4
    )
    assert details["agree"] == (
        max(probabilities, key=probabilities.get) == max(zero_shot, key=zero_shot.get)
    )
    assert details["models"]["vgg16"]["name"] == "VGG16"
    assert 0 < details["seconds"]["vgg16"] < 30


def test_only_compare_is_exposed(client: Client) -> None:
    endpoints = client.view_api(return_format="dict", print_info=False)
    assert list(endpoints["named_endpoints"]) == ["/compare"]
    assert not endpoints["unnamed_endpoints"]
    compare_info = endpoints["named_endpoints"]["/compare"]
    assert [parameter["parameter_name"] for parameter in compare_info["parameters"]] == ["photo"]
    # Not even an example stands in for the photo.
    assert not any(parameter["parameter_has_default"] for parameter in compare_info["parameters"])
    assert len(compare_info["returns"]) == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.jpg", b"just some text"),
        ("empty.png", b""),
        ("cut.jpg", MUG.read_bytes()[:900]),
        ("phone.heic", b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00heicmif1"),
    ],
)
def test_what_is_not_a_photo_is_answered_in_one_sentence(
    client: Client, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AppError, match=r"This file is (not a photo that can be read here|empty)"):
        client.predict(handle_file(tmp_path / name), api_name="/compare")


@pytest.mark.parametrize(("name", "sentence"), ODD)
def test_odd_file_is_answered(client: Client, tmp_path: Path, name: str, sentence: str) -> None:
    ask = partial(client.predict, handle_file(write_odd_file(tmp_path, name)), api_name="/compare")
    if sentence:
        with pytest.raises(AppError, match=sentence):
            ask()
    else:
        assert max(ask()[0].values()) > 0.2


def test_no_photo_is_answered_in_one_sentence(client: Client) -> None:
    with pytest.raises(AppError, match="Please give a photo"):
        client.predict(None, api_name="/compare")
    with pytest.raises(TypeError, match="photo"):
        client.predict(api_name="/compare")


def test_deleted_upload_is_answered_in_one_sentence(app: RunningApp) -> None:
    gone = {"path": str(app.uploads / "gone.jpg"), "meta": {"_type": "gradio.FileData"}}
    call = f"{app.url}/gradio_api/call/compare"
    event = httpx.post(call, json={"data": [gone]}).json()["event_id"]
    assert "This file is not there" in httpx.get(f"{call}/{event}", timeout=60).text


def test_configuration_names_no_place_on_the_server(app: RunningApp) -> None:
    for page in ("", "config", "gradio_api/info"):
        said = httpx.get(f"{app.url}/{page}").text
        assert len(said) > 1000
        assert str(ROOT) not in said and str(app.uploads) not in said


@pytest.mark.parametrize(
    "payload",
    [
        {"path": str(ROOT / "README.md")},
        {"path": str(MUG)},
        {"url": "data:image/png;base64,iVBORw0KGgo="},
    ],
    ids=["text of the server", "photo of the server", "data url"],
)
def test_only_uploads_are_opened(client: Client, payload: dict[str, str]) -> None:
    with pytest.raises(AppError) as error:
        client.predict(payload, api_name="/compare")
    assert str(ROOT) not in str(error.value)


def test_a_photo_turned_by_exif_is_seen_upright(client: Client, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(MUG).rotate(180).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright = client.predict(handle_file(MUG), api_name="/compare")[0]
    turned = client.predict(handle_file(tmp_path / "turned.jpg"), api_name="/compare")[0]
    assert turned == pytest.approx(upright, abs=0.1)


# --- page ----------------------------------------------------------------------------------------


@pytest.fixture
def page(browser: BrowserContext, app: RunningApp) -> Iterator[Page]:
    page = open_page(browser, app.url)
    expect(_row(page, "watches").locator(".bar").first).to_be_visible()
    yield page
    page.close()


def _row(page: Page, category: str) -> Locator:
    return page.locator(f'#answer tr[data-trained="{category}"]')


def _score(page: Page, category: str) -> str:
    return _row(page, category).locator(".zero-shot .number").inner_text()


def _upload(page: Page, file: Path) -> None:
    page.locator("#photo input[type=file]").set_input_files(file)


def test_page_opens_with_the_answer_for_an_example(page: Page) -> None:
    expect(page.locator("#answer .verdict")).to_contain_text("say")
    assert page.locator("#answer tbody tr").count() == 7
    # Each model marks one first choice, with a shape and in words.
    assert page.locator("#answer .mark").count() == 2
    expect(page.locator("#answer .mark").first).to_contain_text("first choice")
    expect(page.locator("#answer")).to_contain_text("stands in for CLIP")
    expect(page.locator("#answer")).to_contain_text("did not answer within 2 s")


def test_upload_shows_both_models_bars(page: Page, models: Models) -> None:
    _upload(page, MUG)
    probabilities, zero_shot, _ = compare(models, read_photo(MUG))
    for category in CATEGORIES:
        row = _row(page, category)
        expect(row.locator(".vgg16 .number")).to_have_text(f"{probabilities[category]:.0%}")
        expect(row.locator(".zero-shot .number")).to_contain_text(f"{zero_shot[category]:.0%}")
        bar = row.locator(".vgg16 .bar span")
        width = float(bar.evaluate("bar => bar.style.width").removesuffix("%"))
        assert width == pytest.approx(100 * probabilities[category], abs=0.1)


def test_example_photo_is_a_click_away(page: Page) -> None:
    before = page.locator("#answer .verdict").inner_text()
    page.get_by_alt_text("Example photo: mug").click()
    expect(page.locator("#answer .verdict")).not_to_have_text(before)


def test_edited_description_moves_the_zero_shot_bars_alone(page: Page) -> None:
    vgg16 = [_row(page, name).locator(".vgg16 .number").inner_text() for name in CATEGORIES]
    before = _score(page, "watches")
    field = _row(page, "watches").locator(".text")
    field.fill("a banana")
    expect(_row(page, "watches").locator(".zero-shot .number")).not_to_have_text(before)
    # The field keeps what was typed, and the focus.
    expect(field).to_have_value("a banana")
    expect(field).to_be_focused()
    assert vgg16 == [_row(page, name).locator(".vgg16 .number").inner_text() for name in CATEGORIES]
    page.get_by_role("button", name="Restore the study's texts").click()
    expect(_row(page, "watches").locator(".zero-shot .number")).to_have_text(before)
    expect(field).to_have_value(DESCRIPTIONS["watches"])


def test_edits_survive_the_next_photo(page: Page) -> None:
    _row(page, "watches").locator(".text").fill("a banana")
    page.get_by_alt_text("Example photo: mug").click()
    expect(page.locator("#answer .verdict")).to_contain_text("kitchen")
    expect(_row(page, "watches").locator(".text")).to_have_value("a banana")


def test_category_is_added_renamed_and_removed_with_the_keyboard(page: Page) -> None:
    page.get_by_role("button", name="Add a category").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#answer tbody tr")).to_have_count(8)
    expect(_row(page, "").locator(".name")).to_be_focused()
    page.keyboard.type("fruit")
    page.keyboard.press("Tab")
    page.keyboard.type("an analog clock on a strap")
    expect(_row(page, "").locator(".zero-shot .number")).to_contain_text("%")
    expect(_row(page, "")).to_contain_text("not trained on it")
    expect(page.locator("#answer .verdict")).to_contain_text("fruit")

    _row(page, "watches").locator(".name").fill("clocks")
    expect(_row(page, "watches")).to_contain_text("trained as “watches”")

    page.get_by_role("button", name="Remove fruit").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#answer tbody tr")).to_have_count(7)
    page.get_by_role("button", name="Remove computers").click()
    expect(_row(page, "computers")).to_contain_text("no text")
    expect(_row(page, "computers").locator(".vgg16 .number")).to_contain_text("%")


def test_heat_maps_of_a_category_are_a_click_away(page: Page) -> None:
    explanation = page.locator("#answer .explanation")
    expect(explanation).to_be_hidden()
    page.get_by_role("button", name="Why: watches").click()
    expect(explanation.locator("img[alt^='Heat map']")).to_have_count(2)
    watches = explanation.locator("img").first.get_attribute("src")
    page.get_by_role("button", name="Why: computers").click()
    expect(explanation).to_contain_text("VGG16: computers, probability")
    assert explanation.locator("img").first.get_attribute("src") != watches
    # Another photo has other maps.
    page.get_by_alt_text("Example photo: mug").click()
    expect(explanation).to_be_hidden()


def test_disagreement_is_explained_and_put_away_with_the_keyboard(page: Page) -> None:
    """Each model's map of its own first choice."""
    texts = [_row(page, name).locator(".text") for name in ("watches", "computers")]
    texts[0].fill(DESCRIPTIONS["computers"])
    texts[1].fill(DESCRIPTIONS["watches"])
    why = page.get_by_role("button", name="Why: each model's first choice")
    why.focus()
    page.keyboard.press("Enter")
    explanation = page.locator("#answer .explanation")
    expect(explanation).to_be_focused()
    expect(explanation.locator(".vgg16")).to_contain_text("VGG16: watches, probability")
    expect(explanation.locator(".zero-shot")).to_contain_text("ConSE: computers, cosine similarity")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(explanation).to_be_hidden()
    expect(why).to_be_focused()


def test_markup_in_a_description_is_shown_not_run(page: Page) -> None:
    page.evaluate("window.ran = false")
    text = '"><img src=x onerror="window.ran = true">'
    _row(page, "watches").locator(".name").fill(text)
    _row(page, "watches").locator(".text").fill(text)
    # The answer names the row as it is called now.
    expect(page.get_by_role("button", name=f"Why: {text}")).to_be_visible()
    expect(_row(page, "watches").locator(".text")).to_have_value(text)
    assert page.evaluate("window.ran") is False


def test_photo_of_a_camera_roll_is_answered(page: Page, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((4000, 3000)).save(tmp_path / "large.jpg", quality=80)
    _upload(page, tmp_path / "large.jpg")
    expect(page.locator("#answer .verdict")).not_to_contain_text("Both say watches")
    expect(page.locator("#answer figure img").first).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_phone_scrolls_down_only_and_folds_the_texts_away(
    browser: BrowserContext, app: RunningApp, theme: str
) -> None:
    page = open_page(browser, f"{app.url}/?__theme={theme}", 360, 740)
    name, bar = _row(page, "watches").locator(".name"), _row(page, "watches").locator(".bar").first
    expect(bar).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert name.bounding_box()["y"] < bar.bounding_box()["y"]
    text = _row(page, "watches").locator(".text")
    expect(text).to_be_hidden()
    page.get_by_role("button", name="Edit the texts").click()
    expect(text).to_be_visible()
    page.get_by_role("button", name="Why: watches").click()
    maps = page.locator("#answer .explanation img[alt^='Heat map']")
    expect(maps).to_have_count(2)
    assert maps.nth(0).bounding_box()["y"] == maps.nth(1).bounding_box()["y"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()
