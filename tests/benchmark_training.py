"""How much faster an epoch of train_vgg.py is than one with the Trainer's defaults.

    python tests/benchmark_training.py                             # photos of the bundled sample
    python tests/benchmark_training.py --dataset products.csv

The plain epoch trains all of VGG16, 138 M parameters, in float32, contiguous, with the Trainer's
batches of 8. An epoch of ours is one pass of each photo through the frozen layers, and the training
of the layers behind them. Both see the same photos as they are (augmentation would cost both the
same), in one run.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from datasets import Dataset
from transformers import (
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)

from data.categories import CATEGORIES
from data.labelled import add_dataset_arguments, load_photos
from space.models.checkpoints import VGG16_CHECKPOINT
from training import features
from training.fine_tune import Hyperparameters, TrainedLayers, train_stage
from training.network import (
    PREPARATION,
    PROCESSOR,
    block_start,
    build_model,
    trunk_weights,
)


def main() -> None:
    """Time both, print the ratio."""
    arguments = _arguments()
    photos = load_photos(arguments.dataset, skip_broken=arguments.skip_broken)["train"]
    photos = photos.select(range(0, len(photos), max(1, len(photos) // arguments.photos)))
    ours, plain = epoch(photos, arguments.unfreeze), plain_epoch(photos)
    print(f"An epoch of {len(photos)} photos, {torch.get_num_threads()} threads:")
    print(f"  train_vgg.py        {ours:7.1f} s, {1000 * ours / len(photos):6.0f} ms a photo")
    print(f"  Trainer's defaults  {plain:7.1f} s, {1000 * plain / len(photos):6.0f} ms a photo")
    print(f"  {plain / ours:.1f} times as fast")


def epoch(photos: Dataset, unfreeze: int) -> float:
    """Seconds of one epoch as train_vgg.py runs it, nothing being at hand from an earlier run."""
    set_seed(0)
    model = build_model(trunk_weights(VGG16_CHECKPOINT / "model.safetensors"))
    trunk = model.timm_model.features
    frozen = trunk[: block_start(trunk, unfreeze)]
    layers = TrainedLayers(model.timm_model, unfreeze, torch.ones(len(CATEGORIES)))
    with tempfile.TemporaryDirectory() as folder:
        features.CACHE = Path(folder)
        start = time.perf_counter()
        seen = features.frozen_features(frozen, photos, copies=1)
        train_stage(
            layers,
            seen,
            None,
            Path(folder),
            stop_after=1,
            batch_size=Hyperparameters.batch_size,
            learning_rate=Hyperparameters.learning_rate,
            weight_decay=Hyperparameters.weight_decay,
            num_train_epochs=1,
            seed=0,
        )
        return time.perf_counter() - start


def plain_epoch(photos: Dataset) -> float:
    """Seconds of one epoch of the full network with the Trainer's defaults."""
    config = TimmWrapperConfig(
        architecture="vgg16", num_labels=len(CATEGORIES), pretrained_cfg=PREPARATION
    )

    def prepare(batch: dict[str, list]) -> dict[str, object]:
        return {"pixel_values": PROCESSOR(batch["image"])["pixel_values"], "labels": batch["label"]}

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            TimmWrapperForImageClassification(config),
            TrainingArguments(
                folder, num_train_epochs=1, save_strategy="no", remove_unused_columns=False
            ),
            train_dataset=photos.with_transform(prepare),
        )
        start = time.perf_counter()
        trainer.train()
        return time.perf_counter() - start


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_dataset_arguments(parser)
    parser.add_argument("--photos", type=int, default=64, help="so many of train (default: 64)")
    parser.add_argument("--unfreeze", type=int, default=0, help="blocks that are trained")
    return parser.parse_args()


if __name__ == "__main__":
    main()
