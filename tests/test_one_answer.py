"""One answer at a time: whatever is asked meanwhile, the answer that stays is the newest one.

The page runs in this process, and a gate stands before the networks, so that each test decides
which question is answered when.
"""

import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path

import gradio as gr
import pytest
from gradio.utils import get_upload_folder
from gradio_client import Client, handle_file
from playwright.sync_api import BrowserContext, Page, expect

from data.categories import CATEGORIES
from data.labelled import SAMPLE
from data.texts import STUDY
from space.models.classifiers import Models
from space.pages.page import LAUNCH, build_demo
from space.pages.texts import reported_photos
from tests.conftest import open_page

MUG = SAMPLE / "kitchen & dining" / "mug-1.jpg"
LONG = "a " * 950


class Gate:
    """Stands before whatever runs the networks, as ZeroGPU's decorator does."""

    def __init__(self) -> None:
        self._held = False
        self._waiting: queue.Queue[threading.Event] = queue.Queue()

    def __call__(self, function: Callable) -> Callable:
        @wraps(function)
        def gated(*args: object) -> object:
            if self._held:
                let_through = threading.Event()
                self._waiting.put(let_through)
                assert let_through.wait(60)
            return function(*args)

        return gated

    def hold(self) -> None:
        """From now on, every question waits."""
        self._held = True

    def next(self, timeout: float = 20) -> threading.Event:
        """The next question that has reached the networks; set it to let it through."""
        return self._waiting.get(timeout=timeout)

    def open(self) -> None:
        """Let all through that wait or come."""
        self._held = False
        while not self._waiting.empty():
            self._waiting.get().set()


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate()


@pytest.fixture(scope="module")
def demo(models: Models, gate: Gate) -> Iterator[gr.Blocks]:
    demo = build_demo(models, gate)
    demo.launch(prevent_thread_lock=True, quiet=True, **LAUNCH)
    yield demo
    gate.open()
    demo.close()


@pytest.fixture
def page(browser: BrowserContext, demo: gr.Blocks, gate: Gate) -> Iterator[Page]:
    page = _visit(browser, demo)
    yield page
    gate.open()
    page.close()


def _visit(browser: BrowserContext, demo: gr.Blocks) -> Page:
    page = open_page(browser, demo.local_url)
    expect(page.locator("#answer .bar").first).to_be_visible()
    return page


def _example(page: Page, name: str) -> None:
    page.get_by_alt_text(f"Example photo: {name}").click()


def _verdict(page: Page, text: str) -> None:
    """The answer is that of a photo, and not dimmed."""
    expect(page.locator("#answer .waiting")).to_have_count(0)
    expect(page.locator("#answer .verdict")).to_contain_text(text)
    expect(page.locator("#answer .waiting")).to_have_count(0)


def _newest_first(gate: Gate) -> None:
    """Let a second question through before the first, where a page asks two at a time."""
    first = gate.next()
    try:
        gate.next(timeout=1).set()
    except queue.Empty:
        gate.open()
    first.set()
    gate.open()


@pytest.mark.parametrize("_", range(3))
def test_why_and_another_photo_at_once(page: Page, gate: Gate, _: int) -> None:
    gate.hold()
    page.get_by_role("button", name="Why: watches").click()
    _example(page, "mug")
    # Dimmed, as long as it is not the photo's.
    expect(page.locator("#answer .waiting")).to_have_count(1)
    _newest_first(gate)
    _verdict(page, "kitchen & dining")
    expect(page.locator("#answer .explanation")).to_be_hidden()


def test_a_photo_and_why_at_once(page: Page, gate: Gate) -> None:
    gate.hold()
    _example(page, "mug")
    page.get_by_role("button", name="Why: watches").click()
    _newest_first(gate)
    expect(page.locator("#answer .explanation img[alt^='Heat map']")).to_have_count(2)
    _verdict(page, "kitchen & dining")


def test_seven_long_texts_and_a_click(page: Page, gate: Gate) -> None:
    fields = page.locator("#answer .text")
    gate.hold()
    fields.nth(0).fill(LONG)
    first = gate.next()
    for index in range(1, 7):
        fields.nth(index).fill(LONG + CATEGORIES[index])
    _example(page, "mug")
    first.set()
    _newest_first(gate)
    _verdict(page, "kitchen & dining")
    expect(page.locator("#answer")).to_contain_text("its end is cut")
    for index in range(1, 7):
        expect(fields.nth(index)).to_have_value(LONG + CATEGORIES[index])


def test_what_is_typed_while_an_answer_comes_stays(page: Page, gate: Gate) -> None:
    field = page.locator('#answer tr[data-trained="watches"] .text')
    gate.hold()
    _example(page, "mug")
    answered = gate.next()
    field.focus()
    page.keyboard.press("Control+End")
    page.keyboard.type(" or clocks ")
    answered.set()
    gate.open()
    _verdict(page, "kitchen & dining")
    expect(field).to_have_value(
        "timepieces including wristwatches and other types of watches or clocks "
    )
    expect(field).to_be_focused()


def test_full_queue_is_said_and_tried_again(
    page: Page, demo: gr.Blocks, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo._queue, "max_size", 1)
    client = Client(demo.local_url, verbose=False, analytics_enabled=False)
    gate.hold()
    jobs = [client.submit(handle_file(MUG), api_name="/compare")]
    running = gate.next()
    jobs.append(client.submit(handle_file(MUG), api_name="/compare"))
    while not len(demo._queue):
        time.sleep(0.01)
    _example(page, "mug")
    expect(page.locator("#answer .busy")).to_contain_text("asks again by itself")
    expect(page.locator("#answer .waiting")).to_have_count(1)
    gate.open()
    running.set()
    _verdict(page, "kitchen & dining")
    expect(page.locator("#answer .busy")).to_be_empty()
    assert all(job.result()[2]["categories"] for job in jobs)


def test_edit_after_the_server_forgot_the_visitor(page: Page, demo: gr.Blocks) -> None:
    """As after ten idle minutes: the upload is deleted, and so is what was kept beside it."""
    page.locator("#photo input[type=file]").set_input_files(MUG)
    _verdict(page, "kitchen & dining")
    shutil.rmtree(get_upload_folder())
    demo.app.state_holder.session_data.clear()
    page.locator('#answer tr[data-trained="watches"] .text').fill("a blue mug")
    _verdict(page, "VGG16 says kitchen & dining, ConSE says watches")
    page.get_by_role("button", name="Why: watches").click()
    expect(page.locator("#answer .explanation img[alt^='Heat map']")).to_have_count(2)


def test_two_visitors_have_their_own_answers(
    page: Page, browser: BrowserContext, demo: gr.Blocks, gate: Gate
) -> None:
    other = _visit(browser.browser.new_context(), demo)
    gate.hold()
    _example(page, "mug")
    _example(other, "laptop")
    other.locator('#answer tr[data-trained="baby care"] .text').fill("a laptop computer")
    gate.open()
    _verdict(page, "kitchen & dining")
    _verdict(other, "ConSE says baby care")
    expect(page.locator('#answer tr[data-trained="baby care"] .text')).not_to_have_value(
        "a laptop computer"
    )
    other.context.close()


def test_photo_that_cannot_be_read_is_said_in_the_answers_place(page: Page, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(MUG.read_bytes()[:900])
    page.locator("#photo input[type=file]").set_input_files(tmp_path / "broken.jpg")
    _verdict(page, "This file is not a photo that can be read here")
    expect(page.get_by_test_id("toast-body")).to_have_count(0)
    expect(page.locator("#answer .model figure")).to_have_count(0)
    _example(page, "mug")
    _verdict(page, "kitchen & dining")


def test_texts_of_the_texts_tab_are_used(page: Page) -> None:
    _example(page, "mug")
    _verdict(page, "kitchen & dining")
    page.get_by_role("tab", name="Texts").click()
    page.get_by_label("watches", exact=True).fill("a blue mug")
    page.get_by_role("button", name="Use in Compare").click()
    _verdict(page, "VGG16 says kitchen & dining, ConSE says watches")
    expect(page.locator('#answer tr[data-trained="watches"] .text')).to_have_value("a blue mug")


def test_figures_of_texts_follow_the_last_of_several_edits(
    page: Page, gate: Gate, models: Models
) -> None:
    page.get_by_role("tab", name="Texts").click()
    shown = page.locator("#texts-result .verdict")
    expect(shown).to_be_visible()
    gate.hold()
    texts = dict(STUDY)
    for category in ("watches", "computers", "home furnishing"):
        texts[category] = ["a banana"]
        page.get_by_label(category, exact=True).fill("a banana")
        if category == "watches":
            asked = gate.next()
    asked.set()
    gate.open()
    photos = next(iter(reported_photos(models.zero_shot)[0].values()))
    choices = models.zero_shot.with_texts(texts).logits_of(photos.embeddings).argmax(1)
    right = (choices == photos.labels).mean()
    expect(shown).to_contain_text(f"{100 * right:.1f}")
