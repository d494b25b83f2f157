"""VGG16 as it is trained: its starting weights, its layers, and how it is saved."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import (
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    TimmWrapperImageProcessor,
)

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


def build_model(
    trunk: dict[str, torch.Tensor], dropout: float = 0.0, width: int = NARROW
) -> TimmWrapperForImageClassification:
    """VGG16 (Simonyan & Zisserman 2014) with a narrow head of random weights.

    The two dense layers of 4,096 that ImageNet's network has would only overfit a thousand photos;
    here both are NARROW wide, which leaves 18.5 M parameters of 138 M.

    Args:
        trunk: its weights, `features.*`.
        dropout: before each of the last two layers.
        width: of the head's first layer.
    """
    config = TimmWrapperConfig(
        architecture="vgg16",
        model_args={"mlp_ratio": width / 4096, "drop_rate": dropout},
        id2label=dict(enumerate(CATEGORIES)),
        label2id={name: index for index, name in enumerate(CATEGORIES)},
        pretrained_cfg=PREPARATION,
    )
    model = TimmWrapperForImageClassification(config)
    model.timm_model.load_state_dict(trunk, strict=False)
    _reset_head(model.timm_model)
    return model


@torch.no_grad()
def _reset_head(network: nn.Module) -> None:
    """Random weights as PyTorch chooses them: transformers' own are too large for these layers.

    timm keeps the second layer 4,096 wide. All but as many units as the first one has start at
    zero, where a ReLU passes no gradient: they stay there.
    """
    width = network.pre_logits.fc1.out_channels
    network.pre_logits.fc1.reset_parameters()
    second, last = nn.Linear(width, width), nn.Linear(width, len(CATEGORIES))
    for layer in (network.pre_logits.fc2, network.head.fc):
        layer.weight.zero_()
        layer.bias.zero_()
    network.pre_logits.fc2.weight[:width] = second.weight[..., None, None]
    network.pre_logits.fc2.bias[:width] = second.bias
    network.head.fc.weight[:, :width] = last.weight
    network.head.fc.bias[:] = last.bias


@torch.no_grad()
def average(
    models: Sequence[TimmWrapperForImageClassification],
) -> TimmWrapperForImageClassification:
    """One network whose logits are the mean of those of networks that share their trunk.

    Their heads stand side by side, none seeing another's units, and the last layer has the mean:
    an ensemble that costs one pass of the trunk, 3.7 M parameters a head.
    """
    networks = [model.timm_model for model in models]
    firsts = [network.pre_logits.fc1 for network in networks]
    seconds = [network.pre_logits.fc2 for network in networks]
    lasts = [network.head.fc for network in networks]
    width = NARROW * len(networks)
    trunk = {f"features.{key}": value for key, value in networks[0].features.state_dict().items()}
    merged = build_model(trunk, width=width)
    head, last = merged.timm_model.pre_logits, merged.timm_model.head.fc
    head.fc1.weight[:] = torch.cat([layer.weight for layer in firsts])
    head.fc1.bias[:] = torch.cat([layer.bias for layer in firsts])
    blocks = [layer.weight[:NARROW, :, 0, 0] for layer in seconds]
    head.fc2.weight[:width] = torch.block_diag(*blocks)[..., None, None]
    head.fc2.bias[:width] = torch.cat([layer.bias[:NARROW] for layer in seconds])
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


def save(model: TimmWrapperForImageClassification, folder: Path) -> None:
    """Save the weights in 16 bits, to be computed with in 32: halves are slow on a processor."""
    model.half().save_pretrained(folder)
    model.config.dtype = torch.float32
    model.config.save_pretrained(folder)
    # transformers reads the processor's settings from config.json, and this file to know which.
    processor = {"image_processor_type": type(PROCESSOR).__name__, **PROCESSOR.to_dict()}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")
