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
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # as in sort_photos.py

import torch
from tqdm import tqdm

from data.categories import CATEGORIES
from data.photos import read_photo
from data.sources import Source, open_source
from space.models.checkpoints import load_models
from space.models.classifiers import Models
from space.models.pixels import BATCH, prepare
from space.sorting.batches import Photo, logits_of, sort_photos
from space.sorting.catalogue import convert, write_rows
from space.sorting.rule import Rule
from tests.benchmark_compare import plain_calls
from tests.clip_checkpoint import save_clip

ROUNDS = 3
PLAIN = 16
KEYS = ("vgg16", "zero_shot")
# What is decided is not timed: any rule will do.
RULE = Rule(
    precision=0.99,
    by="both",
    threshold=0.9,
    categories=CATEGORIES,
    names={key: key for key in KEYS},
    weights=dict.fromkeys(KEYS, ""),
    temperatures=dict.fromkeys(KEYS, 1.0),
    unmeasured=[],
    test=(0, 0, 0),
)


def main() -> None:
    """Time all in turn, so that a change of the machine's speed meets all of them."""
    arguments = _arguments()
    source = open_source(arguments.source)
    names, read = source.table["name"].tolist(), source.read
    names = names[:: max(1, len(names) // arguments.photos)][: arguments.photos]
    with tempfile.TemporaryDirectory() as folder:
        save_clip(Path(folder))
        calls = {"plain": (plain_pass(folder, names[:PLAIN], read), PLAIN)}
        for checkpoint in ("user/none", folder):
            models = load_models(zero_shot=checkpoint)
            name = models.zero_shot.identity.name
            calls[f"networks, {name}"] = networks_pass(models, names, read), len(names)
            calls[f"files, {name}"] = files_pass(models, names, source), len(names)
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
        {model.key: prepare(photos[start : start + BATCH], model.processor) for model in models}
        for start in range(0, len(photos), BATCH)
    ]

    def call() -> None:
        for pixels in batches:
            logits_of(models, CATEGORIES, pixels)

    return call


def files_pass(models: Models, names: list[str], source: Source) -> Callable[[], None]:
    """What the command does once the models are loaded."""

    def call() -> None:
        with tempfile.TemporaryDirectory() as folder:
            journal = Path(folder) / "journal"
            photos = (Photo(name, partial(source.read, name)) for name in names)
            with journal.open("wb") as file, tqdm(total=len(names), file=io.StringIO()) as progress:
                file.write(b"{}\n")
                write_rows(sort_photos(models, RULE, photos), file, Counter(), progress)
            convert(journal, source, list(KEYS), Path(folder) / "sorted.csv")

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
