"""How much faster is the demo than the two plain calls that one would write without it?

    python tests/benchmark_compare.py        # needs requirements-dev.txt

All start from the same opened photo, on the same machine, in turn, each in a process of its own:

* plain: torchvision's VGG16 (138 M parameters, float32) behind its own transforms, and
  transformers' zero-shot pipeline with CLIP ViT-B/32 and the seven descriptions;
* demo: the function behind /compare, with the same CLIP, and with the model that stands in for it.

The large networks have random weights: speed does not depend on them.
"""

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from PIL import Image
from torchvision.models import VGG16_Weights, vgg16
from transformers import pipeline

from data.categories import DESCRIPTIONS
from data.labelled import SAMPLE
from data.photos import read_photo
from space.models.checkpoints import load_models
from space.pages.compare import compare
from tests.clip_checkpoint import save_clip

ROUNDS = 15
# What app.py sets before it imports torch.
DEMO = {"OMP_WAIT_POLICY": "PASSIVE"}


def main() -> None:
    """Time all in turn, so that a change of the machine's speed meets all of them."""
    with tempfile.TemporaryDirectory() as folder:
        save_clip(Path(folder))
        processes = {
            "plain torchvision and transformers": _process({}, plain_calls, folder),
            "demo with CLIP": _process(DEMO, demo_call, folder),
            "demo with ConSE": _process(DEMO, demo_call, "user/none"),
        }
        seconds = {name: [] for name in processes}
        for _ in range(ROUNDS):
            for name, process in processes.items():
                seconds[name].append(process.submit(_timed).result())
    # The first rounds warm up caches and threads.
    medians = {name: statistics.median(times[3:]) for name, times in seconds.items()}
    plain = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"{name:36}{1000 * median:5.0f} ms a photo, {plain / median:4.1f} times as fast")


def _process(
    environment: dict[str, str], make: Callable[[str], Callable], checkpoint: str
) -> ProcessPoolExecutor:
    """A process with one call in it."""
    os.environ |= environment
    process = ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), initializer=_prepare, initargs=(make, checkpoint)
    )
    process.submit(_timed).result()
    for name in environment:
        del os.environ[name]
    return process


def _prepare(make: Callable[[str], Callable], checkpoint: str) -> None:
    global call, photo
    photo = read_photo(next(SAMPLE.glob("*/*.jpg")))
    call = make(checkpoint)


def _timed() -> float:
    start = time.perf_counter()
    call(photo)
    return time.perf_counter() - start


def plain_calls(clip: str) -> Callable[[Image.Image], object]:
    """The two calls as the libraries' own documentation shows them."""
    network = vgg16().eval()
    prepare = VGG16_Weights.IMAGENET1K_V1.transforms()
    zero_shot = pipeline("zero-shot-image-classification", model=clip, device="cpu")
    texts = list(DESCRIPTIONS.values())

    def call(photo: Image.Image) -> object:
        with torch.inference_mode():
            network(prepare(photo)[None]).softmax(-1)
        return zero_shot(photo, candidate_labels=texts, hypothesis_template="{}")

    return call


def demo_call(zero_shot: str) -> Callable[[Image.Image], object]:
    """The function behind /compare with this zero-shot checkpoint."""
    models = load_models(zero_shot=zero_shot)
    return lambda photo: compare(models, photo)


if __name__ == "__main__":
    main()
