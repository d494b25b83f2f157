"""What a model is: photos in, the logits of its categories out.

    photo --prepare--> pixels --Model.logits--> logits --softmax--> probabilities

Whatever shows, sorts or measures photos loops over the two kinds of `Model`: `FineTuned`, a network
that was trained on the categories, and `ZeroShot`, an encoder (space/models/encoders.py) bound to
texts that describe them. `key` names a model's columns in tables and its colour, `kind` how it came
to know its categories, which are in the order of the logits; `to` moves its networks to a device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from transformers import AutoConfig, AutoImageProcessor, BaseImageProcessor

from data.texts import Texts
from space.models import engine
from space.models.encoders import Encoder, unit
from space.models.pixels import photo_shape


@dataclass(frozen=True)
class Identity:
    """What a checkpoint is, as the page and the reports name it."""

    name: str  # of the architecture: "VGG16", "CLIP" or "ConSE"
    checkpoint: str  # a folder's name or a Hub id
    weights: str  # their SHA-256, wherever they lie
    parameters: int
    bytes: int
    # Why this model stands in for the one that was asked for; empty where it does not.
    stands_in: str = ""


class FineTuned:
    """A network that was fine-tuned for a fixed list of categories, in transformers' format."""

    key: ClassVar[str] = "vgg16"
    kind: ClassVar[str] = "fine-tuned"

    def __init__(self, folder: Path, identity: Identity) -> None:
        self.folder, self.identity = folder, identity
        self.processor = AutoImageProcessor.from_pretrained(folder)
        labels = AutoConfig.from_pretrained(folder).id2label
        self.categories: list[str] = [label for _, label in sorted(labels.items())]
        shape = photo_shape(self.processor)
        quantised = engine.load_quantised(folder) if engine.uses_openvino() else None
        self._network = quantised or engine.fastest(
            engine.class_logits(engine.load_classifier(folder)), shape, exact=False
        )

    def logits(self, pixels: torch.Tensor) -> np.ndarray:
        """The logits (n, categories) float32 of n prepared photos (n, 3, height, width)."""
        return self._network(pixels)

    def to(self, device: str) -> None:
        self._network.to(device)


@dataclass(frozen=True)
class ZeroShot:
    """An encoder of photos and texts, bound to one text or more for each category.

    The logits are logit scale × cosine similarity (Radford et al. 2021, arXiv 2103.00020, section
    3.1.2). Several texts of a category are averaged (section 3.1.4).
    """

    key: ClassVar[str] = "zero_shot"
    kind: ClassVar[str] = "zero-shot"
    encoder: Encoder
    texts: Texts
    identity: Identity

    @property
    def categories(self) -> list[str]:
        return list(self.texts)

    @property
    def processor(self) -> BaseImageProcessor:
        return self.encoder.processor

    @cached_property
    def weights(self) -> np.ndarray:
        """The mean text embedding of each category, (categories, d) float32, of unit length."""
        means = [self.encoder.encode_texts(tuple(texts)).mean(0) for texts in self.texts.values()]
        return unit(np.stack(means))

    def logits(self, pixels: torch.Tensor) -> np.ndarray:
        """The logits (n, categories) float32 of n prepared photos (n, 3, height, width)."""
        return self.logits_of(self.encoder.encode_photos(pixels))

    def logits_of(self, image_embeddings: np.ndarray) -> np.ndarray:
        """The logits (n, categories) of image embeddings (n, d) float32, of unit length."""
        return self.encoder.logit_scale * image_embeddings @ self.weights.T

    def with_texts(self, texts: Texts) -> "ZeroShot":
        """The same encoder, bound to other texts or categories."""
        return ZeroShot(self.encoder, texts, self.identity)

    def to(self, device: str) -> None:
        self.encoder.to(device)


Model = FineTuned | ZeroShot


class Models(NamedTuple):
    """The models that are compared, in the order in which they are shown."""

    vgg16: FineTuned
    zero_shot: ZeroShot


def by_name(logits: np.ndarray, have: Sequence[str], want: Sequence[str]) -> np.ndarray:
    """Logits (..., have) in another order, (..., want); ValueError where a category is missing."""
    return logits[..., [list(have).index(category) for category in want]]
