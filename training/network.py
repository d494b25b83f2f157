"""VGG16 as it is trained: its starting weights, its layers, and how it is saved."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import TimmWrapperConfig, TimmWrapperImageProcessor
from transformers import TimmWrapperForImageClassification as VGG16
from transformers.initialization import no_init_weights

from data.categories import CATEGORIES
from space.models.checkpoints import VGG16_CHECKPOINT, CheckpointError, find_checkpoint

IMAGENET = "timm/vgg16.tv_in1k"
# A photo is letterboxed to the network's square: nothing is cut off and nothing is stretched.
PREPARATION = {
    "architecture": "vgg16",
    "num_classes": len(CATEGORIES),
    "input_size": [3, 224, 224],
    "interpolation": "bicubic",
    "crop_pct": 1.0,
    "crop_mode": "border",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
PROCESSOR = TimmWrapperImageProcessor(PREPARATION, architecture="vgg16")
# A VGG16 has five blocks of convolutions, each closed by a pooling.
BLOCKS = 5
NARROW = 128


def build_model(trunk: dict[str, torch.Tensor], dropout: float = 0.0, width: int = NARROW) -> VGG16:
    """VGG16 (Simonyan & Zisserman 2014) with the weights `features.*` and a random, narrow head.

    The two dense layers of 4,096 that ImageNet's network has would only overfit a thousand photos;
    here both are NARROW wide, which leaves 18.5 M parameters of 138 M. Dropout comes before each of
    the last two layers.
    """
    config = TimmWrapperConfig(
        architecture="vgg16",
        model_args={"mlp_ratio": width / 4096, "drop_rate": dropout},
        id2label=dict(enumerate(CATEGORIES)),
        label2id={name: index for index, name in enumerate(CATEGORIES)},
        pretrained_cfg=PREPARATION,
    )
    with no_init_weights():  # all of them are set below
        model = VGG16(config)
    model.timm_model.load_state_dict(trunk, strict=False)
    _reset(*_head(model))
    return model


def _head(model: VGG16) -> tuple[nn.Conv2d, nn.Conv2d, nn.Linear]:
    network = model.timm_model
    return network.pre_logits.fc1, network.pre_logits.fc2, network.head.fc


@torch.no_grad()
def _reset(first: nn.Conv2d, *others: nn.Module) -> None:
    """Random weights as PyTorch chooses them: transformers' own are too large for these layers.

    timm keeps the second layer 4,096 wide. All but as many units as the first one has start at
    zero, where a ReLU passes no gradient: they stay there.
    """
    first.reset_parameters()
    width = first.out_channels
    for layer, outputs in zip(others, (width, len(CATEGORIES)), strict=True):
        alive = nn.Linear(width, outputs)
        layer.weight.zero_().squeeze()[:outputs, :width] = alive.weight
        layer.bias.zero_()[:outputs] = alive.bias


@torch.no_grad()
def average(models: Sequence[VGG16]) -> VGG16:
    """One network whose logits are the mean of those of networks that share their trunk.

    Their heads stand side by side, none seeing another's units, and the last layer has the mean:
    an ensemble that costs one pass of the trunk, 3.7 M parameters a head.
    """
    width = NARROW * len(models)
    trunk = models[0].timm_model.features.state_dict(prefix="features.")
    merged = build_model(trunk, width=width)
    first, second, last = _head(merged)
    firsts, seconds, lasts = zip(*map(_head, models), strict=True)
    first.weight[:] = torch.cat([layer.weight for layer in firsts])
    first.bias[:] = torch.cat([layer.bias for layer in firsts])
    blocks = [layer.weight[:NARROW, :, 0, 0] for layer in seconds]
    second.weight[:width] = torch.block_diag(*blocks)[..., None, None]
    second.bias[:width] = torch.cat([layer.bias[:NARROW] for layer in seconds])
    last.weight[:, :width] = torch.cat([layer.weight[:, :NARROW] for layer in lasts], 1)
    last.weight /= len(lasts)
    last.bias[:] = torch.stack([layer.bias for layer in lasts]).mean(0)
    return merged


def block_start(trunk: nn.Sequential, unfreeze: int) -> int:
    """The index of the first layer of the last `unfreeze` blocks of a VGG's trunk."""
    ends = [i + 1 for i, layer in enumerate(trunk) if isinstance(layer, nn.MaxPool2d)]
    return [0, *ends][BLOCKS - unfreeze]


def trunk_weights(init: Path | None) -> dict[str, torch.Tensor]:
    """The weights of VGG16's trunk, float32: of a file, of ImageNet, or the bundled ones.

    Raises CheckpointError where the file is missing or holds no VGG16 trunk.
    """
    try:
        file = init or find_checkpoint(IMAGENET) / "model.safetensors"
    except CheckpointError as error:
        file = VGG16_CHECKPOINT / "model.safetensors"
        print(f"Starting from the bundled trunk: {error}")
    try:
        weights = load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} cannot be read; --init takes a safetensors file.") from error
    weights = {key.removeprefix("timm_model."): value for key, value in weights.items()}
    trunk = {key: value.float() for key, value in weights.items() if key.startswith("features.")}
    if len(trunk) != 26:
        raise CheckpointError(
            f"{file} does not hold the 13 convolutions of VGG16 as timm names it."
        )
    return trunk


def save(model: VGG16, folder: Path) -> None:
    """Save the weights in 16 bits, to be computed with in 32: halves are slow on a processor."""
    model.half().save_pretrained(folder)
    model.config.dtype = torch.float32
    model.config.save_pretrained(folder)
    # transformers reads the processor's settings from config.json, and this file to know which.
    processor = {"image_processor_type": type(PROCESSOR).__name__, **PROCESSOR.to_dict()}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")
