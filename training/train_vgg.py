"""Fine-tune VGG16 on labelled photos, measure it, and publish it.

    python training/train_vgg.py                                # the bundled sample, in minutes
    python training/train_vgg.py --dataset products.csv         # also a folder, a zip, or a Hub id
    python training/train_vgg.py --dataset products.csv --corrections corrections.zip
    python training/train_vgg.py --dataset products.csv --tune 10 --refit
    python training/train_vgg.py --dataset products.csv --push-to-hub user/name
    accelerate launch training/train_vgg.py ...                 # several GPUs, several machines

Narrow heads are trained on ImageNet's convolutions, which see every photo only once for each of its
augmented copies, and averaged into one; --unfreeze trains one head alone, and then the last blocks
of convolutions with it. Training stops when the validation loss has not improved for a while, and
the best epoch is kept; with --refit, all is then trained anew for as many epochs on train and
validation together. The same command takes up a run that was interrupted.

The folder that is left (--output) answers in one line, with no code of ours:

    transformers.pipeline("image-classification", model=FOLDER)

training/quantise.py then puts it into 8-bit integers for the demo.
"""

import argparse
import json
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import astuple
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from datasets import Dataset, DatasetDict, concatenate_datasets
from huggingface_hub import get_token
from transformers import TimmWrapperForImageClassification

from data.categories import CATEGORIES
from data.hub import PublishError, add_publishing_arguments
from data.labelled import (
    add_corrections,
    add_dataset_arguments,
    digests,
    fingerprint,
    load_photos,
    summary,
)
from data.sources import DataError
from space.models.checkpoints import BEFORE_REFIT, CheckpointError
from space.report.metrics import as_sentence
from training.features import Features, frozen_features
from training.fine_tune import Recipe, best_epochs, fine_tune, probabilities
from training.model_folder import write_report
from training.network import (
    BLOCKS,
    PROCESSOR,
    average,
    block_start,
    build_model,
    save,
    trunk_weights,
)
from training.publish import publish_model
from training.tune import folds, tune

COPIES = 8
# Their average is right more often than each of them, and costs one pass of the convolutions.
HEADS = 3


def main() -> None:
    """Load, tune, train, save, measure, publish."""
    arguments = _arguments()
    state = PartialState()
    if arguments.push_to_hub and not get_token():
        state.print("There is no token of the Hub yet: `hf auth login` before the training ends.")
    photos = load_photos(arguments.dataset, skip_broken=arguments.skip_broken)
    if arguments.corrections:
        photos = add_corrections(photos, arguments.corrections, skip_broken=arguments.skip_broken)
    state.print(summary(photos))
    trunk = trunk_weights(arguments.init)
    if state.is_main_process:
        _take_up(arguments, photos)
    state.wait_for_everyone()

    seen = concatenate_datasets([photos["train"], photos["validation"]])
    # An epoch sees each photo once: more copies than epochs would never be looked at.
    features_of = partial(trunk_features, trunk, seen, min(COPIES, arguments.epochs))
    build = partial(build_model, trunk)
    recipe = Recipe(unfreeze=arguments.unfreeze)
    if arguments.tune:
        recipe = tune(
            build,
            features_of,
            folds(np.array(seen["label"]), digests(seen), arguments.seed),
            trials=arguments.tune,
            start=recipe,
            folder=arguments.output,
            epochs=arguments.epochs,
            seed=arguments.seed,
        )
    features = features_of(recipe.unfreeze)
    model, log, unseen = train(build, features, recipe, len(photos["train"]), arguments)
    if state.is_main_process:
        _leave(model, photos, log, unseen, recipe, arguments)


def train(
    build: Callable[[float], TimmWrapperForImageClassification],
    features: dict[int, Features],
    recipe: Recipe,
    train_photos: int,
    arguments: argparse.Namespace,
) -> tuple[TimmWrapperForImageClassification, list[dict[str, float]], np.ndarray | None]:
    """Train HEADS heads with early stopping and, with --refit, anew on validation too.

    Args:
        build: makes a model with starting weights and this dropout.
        features: of the photos of train, then of validation.
        recipe: what to train with.
        train_photos: how many of the photos are of train.
        arguments: of the command.

    Returns:
        The average of the heads as one model; the log; and with --refit the probabilities
        (validation photos, classes) that the average gave before it was trained on them.
    """
    everything = np.arange(len(features[0]))
    train, validation = everything[:train_photos], everything[train_photos:]
    unfinished = arguments.output / "unfinished" / "-".join(map(str, astuple(recipe)))
    models, refitted, log = [], [], []
    # Convolutions that were trained apart cannot be shared by the heads.
    for head in range(1 if recipe.unfreeze else HEADS):
        seed = arguments.seed + head
        run = partial(fine_tune, build, features, recipe, epochs=arguments.epochs, seed=seed)
        model, rows = run((train, validation), unfinished / f"train-{head}")
        models.append(model)
        log += [{"head": head, **row} for row in rows]
        if arguments.refit:
            stop_after = {stage: row["epoch"] for stage, row in best_epochs(rows).items()}
            folder = unfinished / f"refit-{head}"
            model, _ = run((everything, everything[:0]), folder, stop_after=stop_after)
            refitted.append(model)
    if not arguments.refit:
        return average(models), log, None
    unseen = features[recipe.unfreeze].take(validation)
    return average(refitted), log, probabilities(average(models), unseen, recipe.unfreeze)


def trunk_features(
    trunk: dict[str, torch.Tensor], photos: Dataset, copies: int, unfreeze: int
) -> dict[int, Features]:
    """What lies before the trained layers, for the stages of a training.

    Args:
        trunk: the weights of the convolutions.
        photos: of train and validation.
        copies: of each photo, the first as it is.
        unfreeze: the number of blocks that are trained in the end.

    Returns:
        The features before the head (0) and before the last `unfreeze` blocks.
    """
    layers = build_model(trunk).timm_model.features
    return {
        stage: frozen_features(layers[: block_start(layers, stage)], PROCESSOR, photos, copies)
        for stage in sorted({0, unfreeze})
    }


def _take_up(arguments: argparse.Namespace, photos: DatasetDict) -> None:
    """Keep what an unfinished run of the same command left; throw away that of another."""
    unfinished = arguments.output / "unfinished"
    run = {key: str(vars(arguments)[key]) for key in ("init", "epochs", "seed", "unfreeze")}
    run["photos"] = [fingerprint(split) for split in photos.values()]
    try:
        same = json.loads((unfinished / "run.json").read_text()) == run
    except (OSError, ValueError):
        same = False
    if not same:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        (unfinished / "run.json").write_text(json.dumps(run))


def _leave(
    model: TimmWrapperForImageClassification,
    photos: DatasetDict,
    log: list[dict[str, float]],
    unseen: np.ndarray | None,
    recipe: Recipe,
    arguments: argparse.Namespace,
) -> None:
    """Save and measure the model, and publish it where that was asked for."""
    output = arguments.output
    stale_files = [output / BEFORE_REFIT, *output.glob("quantised.*")]
    stale_files += [] if arguments.tune else output.glob("tuning.*")
    for stale in stale_files:
        stale.unlink(missing_ok=True)
    save(model, output)
    if unseen is not None:
        table = pd.DataFrame(unseen, digests(photos["validation"]), CATEGORIES)
        table.to_csv(output / BEFORE_REFIT, index_label="sha256")
    dataset = arguments.dataset or "the bundled sample of rendered photos"
    metrics = write_report(
        output, photos, log, recipe, dataset=dataset, seed=arguments.seed, refit=arguments.refit
    )
    shutil.rmtree(output / "unfinished")
    for split, figures in metrics.items():
        print(f"{split}: {as_sentence(figures)}")
    print(f"Saved: {output}")
    if arguments.push_to_hub:
        url = publish_model(output, arguments.push_to_hub, arguments.private, arguments.revision)
        print(f"Published: {url}")


def _publish_again(arguments: argparse.Namespace) -> str:
    """The command that publishes what is trained already."""
    command = ["python", "training/publish.py", arguments.push_to_hub]
    command += ["--folder", str(arguments.output)]
    command += ["--private"] if arguments.private else []
    command += ["--revision", arguments.revision] if arguments.revision else []
    return shlex.join(command)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_dataset_arguments(parser)
    parser.add_argument(
        "--corrections",
        metavar="ZIP",
        help="photos that a person has sorted, for training alone; takes what --dataset takes",
    )
    parser.add_argument("--init", type=Path, help="a safetensors file with VGG16's convolutions")
    parser.add_argument("--output", type=Path, default=Path("vgg16-finetuned"), help="a folder")
    parser.add_argument(
        "--epochs", type=_positive, default=20, help="at most so many (default: 20)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--unfreeze",
        type=int,
        default=Recipe.unfreeze,
        choices=range(BLOCKS + 1),
        help="the last blocks of convolutions to train after the head (default: none)",
    )
    parser.add_argument(
        "--tune",
        type=_positive,
        metavar="N",
        help="try N recipes by cross-validation, use the best",
    )
    parser.add_argument(
        "--refit", action="store_true", help="train again on train and validation together"
    )
    parser.add_argument("--push-to-hub", metavar="USER/NAME", help="publish the trained folder")
    add_publishing_arguments(parser)
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


if __name__ == "__main__":
    try:
        main()
    except (DataError, CheckpointError) as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit("Interrupted; the same command goes on where this one stopped.") from None
    except PublishError as error:
        raise SystemExit(
            f"{error} Without training again: {_publish_again(_arguments())}"
        ) from None
