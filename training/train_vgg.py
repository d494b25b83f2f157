"""Fine-tune VGG16 on labelled photos and save it as transformers loads it.

    python training/train_vgg.py                                # the bundled sample, in minutes
    python training/train_vgg.py --dataset products.csv         # also a folder, or a Hub id
    python training/train_vgg.py --init weights.safetensors     # other starting weights

The ImageNet trunk stays as it is, and a narrow head is trained on it: the trunk therefore sees
every photo only once for each of its augmented copies, and an epoch costs seconds. Training stops
when the validation loss has not improved for a while, and the best epoch is kept; with --refit, the
head is then trained anew for as many epochs on train and validation together. The folder that is
left (--output) answers in one line, with no code of ours:

    transformers.pipeline("image-classification", model=FOLDER)
"""

import argparse
import json
import sys
import tempfile
from copy import deepcopy
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from datasets import Dataset
from safetensors.torch import load_file
from torch import nn
from torchvision.transforms import v2
from tqdm.auto import tqdm
from transformers import (
    EarlyStoppingCallback,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    TimmWrapperImageProcessor,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.modeling_outputs import ImageClassifierOutput

from data.load import DataError, load_photos, summary
from space.arithmetic import fast_dtype
from space.checkpoints import VGG16_CHECKPOINT, CheckpointError, find_checkpoint
from space.classifiers import ImageClassifier
from training.metrics import ClassificationReport, as_sentence

IMAGENET = "timm/vgg16.tv_in1k"
# A photo is letterboxed to the network's square: nothing is cut off and nothing is stretched.
PREPARATION = {
    "input_size": [3, 224, 224],
    "interpolation": "bicubic",
    "crop_pct": 1.0,
    "crop_mode": "border",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
# The study's augmentation (rotation, zoom, horizontal flip) and a little colour. The geometry is
# applied to normalised pixels: what it leaves open is zero, the mean colour.
COLOUR = v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)
GEOMETRY = v2.Compose(
    [
        v2.RandomHorizontalFlip(),
        v2.RandomAffine(
            degrees=12,
            translate=(0.05, 0.05),
            scale=(0.8, 1.15),
            interpolation=v2.InterpolationMode.BILINEAR,
        ),
    ]
)
COPIES = 6
BATCH = 32
PATIENCE = 8


def main() -> None:
    """Load, train, save, and measure the saved folder on validation and, once, on test."""
    arguments = _arguments()
    set_seed(arguments.seed)
    photos = load_photos(arguments.dataset, skip_broken=arguments.skip_broken)
    print(summary(photos))
    model, processor = build_model(
        photos["train"].features["label"].names, trunk_weights(arguments.init)
    )
    # An epoch sees each photo once: more copies than epochs would never be looked at.
    copies = min(COPIES, arguments.epochs)
    train = trunk_features(model, processor, photos["train"], copies)
    validation = trunk_features(model, processor, photos["validation"], copies)
    best_epoch = train_head(model, train, arguments, validation)
    measured = ["validation", "test"]
    if arguments.refit:
        reset_head(model)
        train_head(model, train + validation, arguments, epochs=best_epoch)
        measured = ["test"]
    save(model, arguments.output)

    metrics = {split: measure(arguments.output, photos[split]) for split in measured}
    (arguments.output / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    for split, figures in metrics.items():
        print(f"{split}: {as_sentence(figures)}")


def build_model(
    categories: list[str], trunk: dict[str, torch.Tensor]
) -> tuple[TimmWrapperForImageClassification, TimmWrapperImageProcessor]:
    """VGG16 (Simonyan & Zisserman 2014) with narrow added layers, and what prepares its input.

    The two dense layers of 4,096 that ImageNet's network has would only overfit a thousand photos;
    here the first is 128 wide, which leaves 18.5 M parameters of 138 M.

    Args:
        categories: the classes, in order.
        trunk: the weights of the convolutions, `features.*`.
    """
    config = TimmWrapperConfig(
        architecture="vgg16",
        model_args={"mlp_ratio": 1 / 32, "drop_rate": 0.25},
        id2label=dict(enumerate(categories)),
        label2id={name: index for index, name in enumerate(categories)},
        pretrained_cfg={
            **PREPARATION,
            "architecture": "vgg16",
            "num_classes": len(categories),
        },
    )
    model = TimmWrapperForImageClassification(config)
    reset_head(model)
    model.timm_model.load_state_dict(trunk, strict=False)
    return model, TimmWrapperImageProcessor(config.pretrained_cfg, architecture="vgg16")


def reset_head(model: TimmWrapperForImageClassification) -> None:
    """Draw new weights for the head, as PyTorch does: transformers' own are too large for it."""
    for layer in [*model.timm_model.pre_logits.modules(), *model.timm_model.head.modules()]:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.reset_parameters()


def trunk_weights(init: Path | None) -> dict[str, torch.Tensor]:
    """The weights of VGG16's convolutions, float32: of a file, of ImageNet, or the bundled ones.

    Raises:
        CheckpointError: the file is missing or holds no VGG16 trunk.
    """
    file = init
    if file is None:
        try:
            file = find_checkpoint(IMAGENET) / "model.safetensors"
        except CheckpointError as error:
            file = VGG16_CHECKPOINT / "model.safetensors"
            print(f"Starting from the bundled trunk: {error}")
    if not file.is_file():
        raise CheckpointError(f"{file} is not there; --init takes a safetensors file.")
    weights = {key.removeprefix("timm_model."): value for key, value in load_file(file).items()}
    trunk = {key: value.float() for key, value in weights.items() if key.startswith("features.")}
    if len(trunk) != 26:
        raise CheckpointError(
            f"{file} does not hold the 13 convolutions of VGG16 as timm names it."
        )
    return trunk


@torch.inference_mode()
def trunk_features(
    model: TimmWrapperForImageClassification,
    processor: TimmWrapperImageProcessor,
    photos: Dataset,
    copies: int,
) -> "TrunkFeatures":
    """What the frozen trunk makes of each photo as it is, and of `copies - 1` augmented copies."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # A copy: the weights that are saved keep their precision.
    trunk = deepcopy(model.timm_model.features).eval()
    trunk.to(device, fast_dtype(), memory_format=torch.channels_last)
    features = torch.empty(copies, len(photos), 512, 7, 7, dtype=torch.float16)
    progress = tqdm(total=copies * len(photos), desc="Trunk features", unit="photo")
    for start in range(0, len(photos), BATCH):
        images = photos[start : start + BATCH]["image"]
        for copy in range(copies):
            augmented = images if copy == 0 else [COLOUR(image) for image in images]
            pixels = processor(augmented)["pixel_values"]
            if copy > 0:
                pixels = torch.stack([GEOMETRY(picture) for picture in pixels])
            pixels = pixels.to(device, fast_dtype(), memory_format=torch.channels_last)
            features[copy, start : start + len(images)] = trunk(pixels).to("cpu", torch.float16)
            progress.update(len(images))
    progress.close()
    return TrunkFeatures(features, list(photos["label"]))


class TrunkFeatures(torch.utils.data.Dataset):
    """Photos as the trunk sees them: (copies, photos, 512, 7, 7) float16, and their labels.

    In training, each time that a photo is asked for, it is one of its copies; else the photo as it
    is.
    """

    def __init__(self, features: torch.Tensor, labels: list[int], augmented: bool = True) -> None:
        self.features, self.labels, self.augmented = features, labels, augmented

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, object]:
        copy = int(torch.randint(len(self.features), ())) if self.augmented else 0
        return {"features": self.features[copy, index].float(), "labels": self.labels[index]}


class Head(nn.Module):
    """The trainable end of a timm VGG, in the form that the Trainer asks for.

    In training, photos are mixed in pairs (mixup, Zhang et al. 2018, arXiv 1710.09412), without
    which the head is sure of everything after three epochs.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.pre_logits, self.head = network.pre_logits, network.head
        self.share = torch.distributions.Beta(0.4, 0.4)

    def forward(self, features: torch.Tensor, labels: torch.Tensor) -> ImageClassifierOutput:
        """Logits (n, classes), and their cross-entropy, of trunk features (n, 512, 7, 7)."""
        share, partner = 1.0, torch.arange(len(labels), device=labels.device)
        if self.training:
            share = self.share.sample().item()
            partner = torch.randperm(len(labels), device=labels.device)
        mixed = share * features + (1 - share) * features[partner]
        logits = self.head(self.pre_logits(mixed))
        cross_entropy = nn.functional.cross_entropy
        loss = share * cross_entropy(logits, labels)
        loss = loss + (1 - share) * cross_entropy(logits, labels[partner])
        return ImageClassifierOutput(loss=loss, logits=logits)


def train_head(
    model: TimmWrapperForImageClassification,
    train: torch.utils.data.Dataset,
    arguments: argparse.Namespace,
    validation: TrunkFeatures | None = None,
    epochs: int | None = None,
) -> int:
    """Train the head in place.

    Args:
        model: what the head belongs to.
        train: features and labels to learn from.
        arguments: `epochs`, which the learning rate falls over, and `seed`.
        validation: the head is left as it was at the lowest loss on these photos as they are, and
            training stops when it has not fallen for PATIENCE epochs.
        epochs: where there is no validation, stop after so many.

    Returns:
        The epochs that the head was trained for.
    """
    callbacks: list[TrainerCallback] = [StopAfter(epochs)] if epochs else []
    watch: dict[str, object] = {"save_strategy": "no"}
    if validation:
        validation = TrunkFeatures(validation.features, validation.labels, augmented=False)
        callbacks = [EarlyStoppingCallback(PATIENCE)]
        watch = {
            "eval_strategy": "epoch",
            "save_strategy": "epoch",
            "save_total_limit": 1,
            "load_best_model_at_end": True,
            "metric_for_best_model": "loss",
        }
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            Head(model.timm_model),
            TrainingArguments(
                output_dir=folder,
                num_train_epochs=arguments.epochs,
                learning_rate=2e-4,
                lr_scheduler_type="cosine",
                warmup_steps=0.1,
                weight_decay=0.01,
                per_device_train_batch_size=BATCH,
                logging_strategy="epoch",
                remove_unused_columns=False,
                label_names=["labels"],
                dataloader_pin_memory=torch.cuda.is_available(),
                seed=arguments.seed,
                **watch,
            ),
            train_dataset=train,
            eval_dataset=validation,
            callbacks=callbacks,
        )
        trainer.train()
    model.to("cpu")
    if validation is None:
        return round(trainer.state.epoch)
    losses = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    return round(min(losses, key=lambda entry: entry["eval_loss"])["epoch"])


class StopAfter(TrainerCallback):
    """Stop after so many epochs, while the learning rate falls as if there were all of them."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_epoch_end(
        self, args: object, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        control.should_training_stop = state.epoch >= self.epochs


def save(model: TimmWrapperForImageClassification, folder: Path) -> None:
    """Save the weights in 16 bits, to be computed with in 32: halves are slow on a processor."""
    model.half().save_pretrained(folder)
    model.config.dtype = torch.float32
    model.config.save_pretrained(folder)


def measure(folder: Path, photos: Dataset) -> dict[str, object]:
    """The figures of a saved classifier on photos, each seen as the demo sees it."""
    classifier = ImageClassifier(folder)
    predictions = [
        int(np.argmax(classifier.classify(image).values))
        for image in tqdm(photos["image"], desc="Measuring", unit="photo")
    ]
    return ClassificationReport().compute(
        predictions=predictions,
        references=list(photos["label"]),
        labels=list(range(len(classifier.categories))),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", help="a CSV, an image folder, or a Hub id (default: sample)")
    parser.add_argument("--skip-broken", action="store_true", help="leave out unreadable photos")
    parser.add_argument("--init", type=Path, help="a safetensors file with VGG16's convolutions")
    parser.add_argument("--output", type=Path, default=Path("vgg16-finetuned"), help="a folder")
    parser.add_argument("--epochs", type=int, default=20, help="at most so many (default: 20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--refit", action="store_true", help="train again on train and validation together"
    )
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except (DataError, CheckpointError) as error:
        raise SystemExit(str(error)) from None
