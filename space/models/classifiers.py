"""What a model is: photos in, the logits of its categories out.

    photo --prepare--> pixels --Model.logits--> logits --softmax--> probabilities

Two kinds are here, and whatever shows, sorts or measures photos loops over them: `FineTuned`, a
network that was trained on the categories, and `ZeroShot`, an encoder (space/models/encoders.py)
bound to texts that describe them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from transformers import AutoConfig, AutoImageProcessor, BaseImageProcessor

from data.texts import Texts
from space.models.encoders import Encoder, unit
from space.models.engine import class_logits, fastest, load_classifier, quantised
from space.models.pixels import photo_shape


@dataclass(frozen=True)
class Identity:
    """What a checkpoint is, as the page and the reports name it."""

    # The architecture: "VGG16", "CLIP" or "ConSE".
    name: str
    # A folder's name or a Hub id.
    checkpoint: str
    # The SHA-256 of the weights, wherever they lie.
    weights: str
    parameters: int
    bytes: int
    # Why this model stands in for the one that was asked for; empty where it does not.
    stands_in: str = ""


class Model(Protocol):
    """A classifier of photos."""

    # Names the model's columns in tables, and its colour.
    key: str
    # How it came to know its categories: "fine-tuned" or "zero-shot".
    kind: str
    identity: Identity
    processor: BaseImageProcessor
    # In the order of the logits.
    categories: list[str]

    def logits(self, pixels: torch.Tensor) -> np.ndarray:
        """The logits (n, categories) float32 of n prepared photos (n, 3, height, width)."""

    def to(self, device: str) -> None:
        """Move the networks to a device."""


class FineTuned:
    """A network that was fine-tuned for a fixed list of categories, in transformers' format."""

    key: ClassVar[str] = "vgg16"
    kind: ClassVar[str] = "fine-tuned"

    def __init__(self, folder: Path, identity: Identity) -> None:
        self.folder, self.identity = folder, identity
        self.processor = AutoImageProcessor.from_pretrained(folder)
        labels = AutoConfig.from_pretrained(folder).id2label
        self.categories: list[str] = [labels[index] for index in range(len(labels))]
        self._network = quantised(folder) or fastest(
            load_classifier(folder), class_logits, photo_shape(self.processor), exact=False
        )

    def logits(self, pixels: torch.Tensor) -> np.ndarray:
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
        return self.logits_of(self.encoder.encode_photos(pixels))

    def logits_of(self, image_embeddings: np.ndarray) -> np.ndarray:
        """The logits (n, categories) of image embeddings (n, d) float32, of unit length."""
        return self.encoder.logit_scale * image_embeddings @ self.weights.T

    def with_texts(self, texts: Texts) -> "ZeroShot":
        """The same encoder, bound to other texts or categories."""
        return ZeroShot(self.encoder, texts, self.identity)

    def to(self, device: str) -> None:
        self.encoder.to(device)


class Models(NamedTuple):
    """The models that are compared, in the order in which they are shown."""

    vgg16: FineTuned
    zero_shot: ZeroShot


def by_name(logits: np.ndarray, have: Sequence[str], want: Sequence[str]) -> np.ndarray:
    """Logits in the order of other categories: (n, have) -> (n, want).

    Raises:
        ValueError: a category that is wanted is missing.
    """
    return logits[..., [list(have).index(category) for category in want]]
