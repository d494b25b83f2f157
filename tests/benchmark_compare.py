"""How much faster is the demo than the two plain calls that one would write without it?

    python tests/benchmark_compare.py        # needs requirements-dev.txt

All start from the same opened photo, on the same machine, in turn:

* plain: torchvision's VGG16 (138 M parameters, float32) behind its own transforms, and
  transformers' zero-shot pipeline with CLIP ViT-B/32 and the seven descriptions;
* demo: the function behind /compare, with the same CLIP, and with the model that stands in for it.

The large networks have random weights: speed does not depend on them.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from PIL import Image
from torchvision.models import VGG16_Weights, vgg16
from transformers import pipeline

from data.categories import DESCRIPTIONS
from data.load import SAMPLE
from data.photos import read_photo
from space.compare import Models, compare, load_models
from tests.clip_checkpoint import save_clip

ROUNDS = 15


def main() -> None:
    """Time all in turn, so that a change of the machine's speed meets all of them."""
    photo = read_photo(next(SAMPLE.glob("*/*.jpg")))
    with tempfile.TemporaryDirectory() as folder:
        save_clip(Path(folder))
        calls = {"plain torchvision and transformers": plain_calls(folder)}
        for checkpoint in (folder, "user/none"):
            os.environ["ZERO_SHOT_MODEL"] = checkpoint
            models = load_models()
            calls[f"demo with {models.zero_shot_identity.model}"] = demo_call(models)
        seconds = {name: [] for name in calls}
        for _ in range(ROUNDS):
            for name, call in calls.items():
                start = time.perf_counter()
                call(photo)
                seconds[name].append(time.perf_counter() - start)
    # The first rounds warm up caches and threads.
    medians = {name: statistics.median(times[3:]) for name, times in seconds.items()}
    plain = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"{name:36}{1000 * median:5.0f} ms a photo, {plain / median:4.1f} times as fast")


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


def demo_call(models: Models) -> Callable[[Image.Image], object]:
    """The function behind /compare with these models."""
    return lambda photo: compare(models, photo)


if __name__ == "__main__":
    main()
