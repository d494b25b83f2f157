"""Fine-tune VGG16 on labelled photos, measure it, and publish it.

    python training/train_vgg.py                                # the bundled sample, in minutes
    python training/train_vgg.py --dataset products.csv         # also a folder, a zip, or a Hub id
    python training/train_vgg.py --dataset products.csv --corrections corrections.zip
    python training/train_vgg.py --dataset products.csv --tune 10 --refit
    python training/train_vgg.py --dataset products.csv --push-to-hub user/name
    accelerate launch training/train_vgg.py ...                 # several GPUs, several machines

Narrow heads are trained on ImageNet's frozen trunk, which sees every photo only once for each of
its augmented copies, and averaged into one; --unfreeze trains one head alone, and then the trunk's
last blocks with it. Training stops when the validation loss has not improved for a while, and the
best epoch is kept; with --refit, all is then trained anew for as many epochs on train and
validation together. The same command takes up a run that was interrupted.

The folder that is left (--output) answers in one line, with no code of ours:

    transformers.pipeline("image-classification", model=FOLDER)

training/quantise.py then puts it into 8-bit integers for the demo.
"""

import json
import shlex
import shutil
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from dataclasses import astuple, replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from datasets import Dataset, DatasetDict, concatenate_datasets
from huggingface_hub import get_token

from data.categories import CATEGORIES
from data.errors import run_script
from data.labelled import add_corrections, add_dataset_arguments, fingerprint, load_photos, summary
from space.models.checkpoints import save_before_refit
from space.report.metrics import as_sentence
from training.features import Features, frozen_features
from training.fine_tune import Hyperparameters, Task, best_epochs, fine_tune, predict
from training.model_folder import fill_model_folder
from training.network import BLOCKS, VGG16, average, block_start, build_model, save, trunk_weights
from training.publish import PublishError, add_publishing_arguments, publish_model
from training.tune import folds, tune

COPIES = 8
# Their average is right more often than each of them, and costs one pass of the trunk.
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
        _resume(arguments, photos)
    state.wait_for_everyone()

    seen = concatenate_datasets([photos["train"], photos["validation"]])
    # An epoch sees each photo once: more copies than epochs would never be looked at.
    copies = min(COPIES, arguments.epochs)
    features_of = cache(partial(trunk_features, trunk, seen, copies))
    task = Task(partial(build_model, trunk), features_of, arguments.epochs, arguments.seed)
    chosen = Hyperparameters(unfreeze=arguments.unfreeze)
    if arguments.tune:
        splits = folds(np.array(seen["label"]), list(seen["sha256"]), arguments.seed)
        chosen = tune(task, splits, arguments.tune, chosen, arguments.output)
    trained = train(task, chosen, len(photos["train"]), arguments)
    if state.is_main_process:
        _finish(trained, photos, chosen, arguments)


class Trained(NamedTuple):
    """The average of the heads, as one network, and the log of them all (column `head`)."""

    model: VGG16
    log: pd.DataFrame
    # With --refit: the logits (validation photos, classes) of the average before it saw them.
    unseen: np.ndarray | None


def train(task: Task, chosen: Hyperparameters, train_photos: int, arguments: Namespace) -> Trained:
    """Train HEADS heads with early stopping and, with --refit, anew on validation too.

    The first `train_photos` of the photos are of train, the others of validation.
    """
    features = task.features_of(chosen.unfreeze)
    everything = np.arange(len(features))
    train, validation = everything[:train_photos], everything[train_photos:]
    unfinished = arguments.output / "unfinished" / "-".join(map(str, astuple(chosen)))
    models, refitted, logs = [], [], []
    # A trunk that was trained with one head cannot be shared by others.
    for head in range(1 if chosen.unfreeze else HEADS):
        run = partial(fine_tune, replace(task, seed=task.seed + head), chosen)
        model, log = run((train, validation), unfinished / f"train-{head}")
        models.append(model)
        logs.append(log.assign(head=head))
        if arguments.refit:
            stop_after = best_epochs(log)["epoch"].to_dict()
            refit = run((everything, validation), unfinished / f"refit-{head}", stop_after)
            refitted.append(refit[0])
    unseen = None
    if arguments.refit:
        unseen = predict(average(models), features.subset(validation), chosen.unfreeze)
    return Trained(average(refitted or models), pd.concat(logs, ignore_index=True), unseen)


def trunk_features(
    trunk: dict[str, torch.Tensor], photos: Dataset, copies: int, unfreeze: int
) -> Features:
    """What lies before the last `unfreeze` blocks of a trunk with these weights."""
    layers = build_model(trunk).timm_model.features
    return frozen_features(layers[: block_start(layers, unfreeze)], photos, copies)


def _resume(arguments: Namespace, photos: DatasetDict) -> None:
    """Keep what an unfinished run of the same command left; throw away that of another."""
    file = arguments.output / "unfinished" / "run.json"
    run = {key: str(vars(arguments)[key]) for key in ("init", "epochs", "seed", "unfreeze")}
    text = json.dumps(run | {"data": [fingerprint(split) for split in photos.values()]})
    if not file.exists() or file.read_text() != text:
        shutil.rmtree(file.parent, ignore_errors=True)
        file.parent.mkdir(parents=True)
        file.write_text(text)


def _finish(
    trained: Trained, photos: DatasetDict, chosen: Hyperparameters, arguments: Namespace
) -> None:
    """Save and measure the model, and publish it where that was asked for."""
    output = arguments.output
    for pattern in ("before_refit.*", "quantised.*", *([] if arguments.tune else ["tuning.*"])):
        for stale in output.glob(pattern):
            stale.unlink()
    save(trained.model, output)
    if trained.unseen is not None:
        save_before_refit(output, trained.unseen, list(photos["validation"]["sha256"]), CATEGORIES)
    metrics = fill_model_folder(arguments, photos, trained.log, chosen)
    shutil.rmtree(output / "unfinished")
    for split, figures in metrics.items():
        print(f"{split}: {as_sentence(figures)}")
    print(f"Saved: {output}")
    if arguments.push_to_hub:
        _publish(arguments)


def _publish(arguments: Namespace) -> None:
    """Publish the folder; a failure says the command that does it without training again."""
    repository, folder = arguments.push_to_hub, arguments.output
    try:
        url = publish_model(folder, repository, arguments.private, arguments.revision)
    except PublishError as error:
        command = ["python", "training/publish.py", "model", repository, "--folder", str(folder)]
        command += ["--private"] * arguments.private
        command += ["--revision", arguments.revision] if arguments.revision else []
        raise PublishError(f"{error} Without training again: {shlex.join(command)}") from error
    print(f"Published: {url}")


def _arguments() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add_dataset_arguments(parser)
    parser.add_argument(
        "--corrections",
        metavar="ZIP",
        help="what --dataset takes, sorted by a person; joins train alone",
    )
    parser.add_argument("--init", type=Path, help="a safetensors file with VGG16's convolutions")
    parser.add_argument("--output", type=Path, default=Path("vgg16-finetuned"), help="a folder")
    parser.add_argument("--epochs", type=_positive, default=20, help="at most (default: 20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--unfreeze", type=int, default=0, choices=range(BLOCKS + 1), help="last blocks to train"
    )
    parser.add_argument(
        "--tune", type=_positive, metavar="N", help="cross-validate N sets of hyper-parameters"
    )
    parser.add_argument("--refit", action="store_true", help="train again on validation as well")
    parser.add_argument("--push-to-hub", metavar="USER/NAME", help="publish the trained folder")
    add_publishing_arguments(parser)
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ArgumentTypeError(f"{text} is less than 1")
    return number


if __name__ == "__main__":
    run_script(main, "Interrupted; the same command goes on where this one stopped.")
