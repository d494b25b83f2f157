"""What several test files share: no network, the real photos where they are, the running app."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

# Before any library reads them: nothing outside the loopback address is reached.
os.environ["HF_HUB_OFFLINE"] = "1"
# What is asserted to the last digit holds on a processor.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# The processes that run beside each other share the cores.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import pytest
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright
from xdist.scheduler import LoadFileScheduling

# The process that deals the files to the others imports this, too, and needs no networks.
if TYPE_CHECKING:
    from space.models.classifiers import Models

ROOT = Path(__file__).parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLIPKART = ROOT.parent / "shared" / "flipkart"
WITH_APP = ("test_app", "test_evaluation_page", "test_many_photos", "test_texts_page")


class Scheduling(LoadFileScheduling):
    """A file's tests run in one process, and those of the running app in the same one."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "app" if Path(file).stem in WITH_APP else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def flipkart() -> Path:
    """The real photos, which are not part of the repository."""
    if not FLIPKART.is_dir():
        pytest.skip("the real product photos (../shared/flipkart) are not here")
    return FLIPKART


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP checkpoint of a few megabytes with random weights and the real vocabulary."""
    from tests.clip_checkpoint import TINY, save_clip

    return save_clip(tmp_path_factory.mktemp("clip"), TINY)


@pytest.fixture(scope="session")
def models() -> "Models":
    """Both models as they are bundled."""
    from space.models.checkpoints import load_models

    return load_models()


@dataclass(frozen=True)
class RunningApp:
    """An app.py in a process of its own."""

    url: str
    start_seconds: float
    process: subprocess.Popen
    # Where it keeps what is uploaded.
    uploads: Path


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """`python app.py` with an empty cache and a Hub that accepts connections and never answers."""
    folder = tmp_path_factory.mktemp("app")
    with socket.create_server(("127.0.0.1", 0)) as silent_hub, _free_port() as free:
        port = free.getsockname()[1]
        free.close()
        environment = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{silent_hub.getsockname()[1]}",
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(folder / "hub"),
            "GRADIO_TEMP_DIR": str(folder / "uploads"),
            "GRADIO_SERVER_PORT": str(port),
        }
        url, log = f"http://127.0.0.1:{port}", folder / "log"
        start = time.monotonic()
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=output, stderr=output
            )
        while not _accepts(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() - start < 120, log.read_text()
            time.sleep(0.1)
        yield RunningApp(url, time.monotonic() - start, process, folder / "uploads")
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="session")
def browser() -> Iterator[BrowserContext]:
    """A headless Chromium; its pages share what it has fetched."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    # What a page shows comes when the networks have answered, on a busy machine late.
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser.new_context()
        browser.close()


def open_page(browser: BrowserContext, url: str, width: int = 1280, height: int = 900) -> Page:
    """A page of the app in a window of a size in pixels."""
    page = browser.new_page()
    page.set_viewport_size({"width": width, "height": height})
    page.goto(url)
    return page


def _free_port() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
