"""What in a photo spoke for a category: a heat map of where a score comes from.

A map needs gradients, and the arithmetic that scores photos may have none: each network is loaded
once more, in float32 and on the processor, when a map of it is first asked for.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from captum.attr import LayerGradCam
from matplotlib import colormaps
from PIL import Image
from torch import nn
from torch.nn.functional import cosine_similarity, interpolate
from transformers import AutoModelForZeroShotImageClassification

from space.models.classifiers import FineTuned, Model
from space.models.encoders import CLIP
from space.models.engine import load_classifier
from space.models.pixels import pixels_of

# A sure classifier's posterior hardly moves with any logit, and what is left of its slope points
# beside the product. On 100 of the study's training photos, covering the hottest fifth costs 0.037
# more of the similarity than covering a random one with halved logits, and 0.018 without.
TEMPERATURE = 2.0


class UnexplainedError(ValueError):
    """A network whose scores cannot be traced back; the text is one sentence that says why."""


def heat_map(model: Model, picture: Image.Image, category: int) -> np.ndarray:
    """Where in a picture, as a model saw it, the logit of a category comes from.

    Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) for networks of convolutions, of the logit or
    of ConSE's cosine similarity; gradient-weighted attention (Chefer et al. 2021, arXiv 2103.15679)
    of the cosine similarity for CLIP.

    Returns:
        (height, width) float32 in [0, 1]: from the least to the most that a place of the picture
        spoke for the category, an index of `model.categories`; 0 everywhere where nothing did.

    Raises:
        UnexplainedError: the network is neither of convolutions nor a vision transformer.
    """
    pixels = pixels_of(picture, model.processor)
    if isinstance(model, FineTuned):
        return _grad_cam(model.folder, pixels, lambda logits: logits[:, category])
    encoder, text = model.encoder, torch.from_numpy(model.weights[category])
    if isinstance(encoder, CLIP):
        return _attention_relevance(encoder.folder, pixels, text)
    classes = torch.from_numpy(encoder.class_embeddings)

    def similarity(logits: torch.Tensor) -> torch.Tensor:
        return cosine_similarity((logits / TEMPERATURE).softmax(-1) @ classes, text[None])

    return _grad_cam(encoder.folder, pixels, similarity)


def draw(picture: Image.Image, heat: np.ndarray) -> Image.Image:
    """Lay a map over its grey picture in viridis, which all kinds of colour vision can read."""
    colours = Image.fromarray(colormaps["viridis"](heat, bytes=True)[..., :3])
    return Image.blend(picture.convert("L").convert("RGB"), colours, 0.6)


def _grad_cam(
    folder: Path, pixels: torch.Tensor, score: Callable[[torch.Tensor], torch.Tensor]
) -> np.ndarray:
    network, layer = _load_convolutions(folder, pixels.shape)
    grad_cam = LayerGradCam(lambda pixels: score(network(pixels).logits), layer)
    return _to_map(grad_cam.attribute(pixels, relu_attributions=True)[0, 0], pixels)


def _attention_relevance(folder: Path, pixels: torch.Tensor, text: torch.Tensor) -> np.ndarray:
    """How far each patch reaches the class token (Chefer et al. 2021, arXiv 2103.15679, rule 6)."""
    network = _load_clip(folder)
    photo = network.get_image_features(pixels.requires_grad_(), output_attentions=True)
    tokens = photo.attentions[0].shape[-1] if photo.attentions else 0
    side = isqrt(max(tokens - 1, 0))
    if side * side + 1 != tokens:
        raise UnexplainedError(
            "Its scores cannot be traced back: its image encoder is not a vision transformer with "
            "a class token, as CLIP's is."
        )
    similarity = cosine_similarity(photo.pooler_output, text[None])
    gradients = torch.autograd.grad(similarity, photo.attentions)
    relevance = torch.eye(tokens)
    for attention, gradient in zip(photo.attentions, gradients, strict=True):
        # The mean over the heads of what raises the similarity.
        relevance += (gradient * attention)[0].relu().mean(0) @ relevance
    return _to_map(relevance[0, 1:].view(side, side), pixels)


@cache
def _load_convolutions(folder: Path, shape: torch.Size) -> tuple[nn.Module, nn.Module]:
    """An image classifier, and where it puts out the maps of its last convolution.

    These are taken behind the normalisation and the ReLU that may follow the convolution; layers
    that see the photo as a single point are no convolutions, whatever they are called.
    """
    network = load_classifier(folder)
    network.to(memory_format=torch.channels_last).requires_grad_(False)
    calls: list[tuple[nn.Module, torch.Size]] = []

    def note(module: nn.Module, _: object, output: torch.Tensor) -> None:
        calls.append((module, output.shape))

    with torch.no_grad(), ExitStack() as hooks:
        for module in network.modules():
            if not any(module.children()):
                hooks.enter_context(module.register_forward_hook(note))
        network(torch.zeros(shape))
    convolutions = [
        call for call in calls if isinstance(call[0], nn.Conv2d) and call[1][2:].numel() > 1
    ]
    if len(convolutions) < 2:  # the patches of a transformer are cut by one
        raise UnexplainedError(
            "Its scores cannot be traced back: it is not a network of convolutions."
        )
    last, maps = convolutions[-1]
    last.requires_grad_()  # nothing before it needs a gradient
    return network, [module for module, output in calls if output == maps][-1]


@cache
def _load_clip(folder: Path) -> nn.Module:
    # Attention that is not eager keeps no weights.
    network = AutoModelForZeroShotImageClassification.from_pretrained(
        folder, use_safetensors=True, dtype=torch.float32, attn_implementation="eager"
    )
    return network.requires_grad_(False)


def _to_map(relevance: torch.Tensor, pixels: torch.Tensor) -> np.ndarray:
    """From the network's grid to the picture's pixels, bilinearly, and to [0, 1]."""
    heat = interpolate(
        relevance.detach()[None, None], pixels.shape[2:], mode="bilinear", align_corners=False
    )[0, 0].numpy()
    heat -= heat.min()
    return heat / heat.max() if heat.any() else heat
