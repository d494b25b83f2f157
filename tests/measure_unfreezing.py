"""Whether training the last block of VGG16's convolutions helps, by cross-validation.

    python tests/measure_unfreezing.py --dataset products.csv --init weights.safetensors

On train and validation alone: for each seed the accuracy and the loss in two parts, with the
trunk frozen and with its last block trained after the head. Takes 15 minutes for 700 photos on two
cores.
"""

import argparse
import sys
from functools import cache, partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
from datasets import concatenate_datasets

from data.labelled import add_dataset_arguments, load_photos
from training.fine_tune import Hyperparameters, Task
from training.network import build_model, trunk_weights
from training.train_vgg import trunk_features
from training.tune import cross_validate, folds

PARTS, SEEDS, COPIES, EPOCHS = 2, 3, 2, 20


def main() -> None:
    """Train both ways for each seed; print a row each, then mean and spread."""
    arguments = _arguments()
    splits = load_photos(arguments.dataset, skip_broken=arguments.skip_broken)
    photos = concatenate_datasets([splits["train"], splits["validation"]])
    trunk = trunk_weights(arguments.init)
    features_of = cache(partial(trunk_features, trunk, photos, COPIES))
    rows = []
    for seed in range(SEEDS):
        task = Task(partial(build_model, trunk), features_of, EPOCHS, seed)
        parts = folds(np.array(photos["label"]), list(photos["sha256"]), seed, PARTS)
        for unfreeze in (0, 1):
            scores = cross_validate(task, Hyperparameters(unfreeze=unfreeze), parts)
            rows.append({"seed": seed, "unfreeze": unfreeze, **scores.mean()})
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows).pivot(index="seed", columns="unfreeze")
    print(table.to_string())
    print(table.agg(["mean", "std"]).to_string())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_dataset_arguments(parser)
    parser.add_argument("--init", type=Path, help="a safetensors file with VGG16's convolutions")
    return parser.parse_args()


if __name__ == "__main__":
    main()
