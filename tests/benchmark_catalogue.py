"""How near sorting files comes to what the networks alone can do, and to the two plain pipelines.

    python tests/benchmark_catalogue.py photos/      # or a CSV, a zip; needs requirements-dev.txt

All see the same photos on the same machine, in turn, with ConSE and with CLIP:

* networks: both, on photos prepared beforehand, in memory, in batches;
* files: from a catalogue to its table, as sort_photos.py does once the models are loaded;
* plain: each file through torchvision's VGG16 (138 M parameters, float32) behind its own
  transforms, and through transformers' zero-shot pipeline with CLIP ViT-B/32.

CLIP and torchvision's VGG16 have random weights: speed does not depend on them.
"""

import argparse
import io
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # as in sort_photos.py

import torch
from tqdm import tqdm

from data.catalogue import find_photos
from data.photos import read_photo
from space.models.classifiers import prepare
from space.models.scoring import Models, load_models
from space.sort_photos import convert, write_rows
from space.sorting.batches import BATCH, sort_files
from space.sorting.rule import Rule
from tests.benchmark_compare import plain_calls
from tests.clip_checkpoint import save_clip

ROUNDS = 3
PLAIN = 16
# What is decided is not timed: any rule will do.
RULE = Rule(
    0.99,
    "both",
    0.9,
    {
        model: {"model": model, "logit_scale": 20.0, "temperature": 1.0}
        for model in ("vgg16", "zero_shot")
    },
    {},
)


def main() -> None:
    """Time all in turn, so that a change of the machine's speed meets all of them."""
    arguments = _arguments()
    names, read = find_photos(arguments.source)
    names = names[:: max(1, len(names) // arguments.photos)][: arguments.photos]
    with tempfile.TemporaryDirectory() as folder:
        save_clip(Path(folder))
        calls = {"plain": (plain_pass(folder, names[:PLAIN], read), PLAIN)}
        for checkpoint in ("user/none", folder):
            models = load_models(zero_shot_name=checkpoint)
            name = models.zero_shot_identity.model
            calls[f"networks, {name}"] = networks_pass(models, names, read), len(names)
            calls[f"files, {name}"] = files_pass(models, names, read), len(names)
        rates = {name: [] for name in calls}
        for _ in range(ROUNDS):
            for name, (call, n) in calls.items():
                start = time.perf_counter()
                call()
                rates[name].append(n / (time.perf_counter() - start))
    found = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{len(names)} photos, {torch.get_num_threads()} threads, median of {ROUNDS} rounds:")
    for name, rate in found.items():
        print(f"{name:18}{rate:7.2f} photos a second, {rate / found['plain']:4.1f} times plain")
    for name in found:
        if name.startswith("files"):
            share = found[name] / found[name.replace("files", "networks")]
            print(f"{name}: {share:.0%} of the networks alone")


def networks_pass(
    models: Models, names: list[str], read: Callable[[str], bytes]
) -> Callable[[], None]:
    """Both networks on prepared batches."""
    photos = [read_photo(read(name)) for name in names]
    batches = [
        [
            prepare(photos[start : start + BATCH], model.processor)
            for model in (models.vgg16, models.zero_shot)
        ]
        for start in range(0, len(photos), BATCH)
    ]

    def call() -> None:
        for vgg16_pixels, zero_shot_pixels in batches:
            models.vgg16.classify(vgg16_pixels)
            models.zero_shot.encode_photos(zero_shot_pixels)

    return call


def files_pass(
    models: Models, names: list[str], read: Callable[[str], bytes]
) -> Callable[[], None]:
    """What the command does once the models are loaded."""

    def call() -> None:
        with tempfile.TemporaryDirectory() as folder:
            journal = Path(folder) / "journal"
            journal.write_text("{}\n")
            with tqdm(total=len(names), file=io.StringIO()) as progress:
                write_rows(sort_files(models, RULE, read, names), journal, Counter(), progress)
            convert(journal, Path(folder) / "sorted.csv")

    return call


def plain_pass(clip: str, names: list[str], read: Callable[[str], bytes]) -> Callable[[], None]:
    """The two plain calls, a file at a time."""
    call = plain_calls(clip)
    return lambda: [call(read_photo(read(name))) for name in names]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="as of sort_photos.py")
    parser.add_argument("--photos", type=int, default=128, help="so many of them (default: 128)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
