"""Encoders of zero-shot models: photos and texts in one space, compared by cosine similarity.

    pixels --encode_photos--> image embeddings (n, d)
    texts ---encode_texts---> text embeddings (n, d)         all of unit length

`ConSE` stands in for `CLIP` where no CLIP checkpoint can be had, and is used the same way.
"""

import threading
from abc import ABC, abstractmethod
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import transformers
from scipy.special import softmax

from space.models.engine import Outputs, class_logits, fastest, load_classifier
from space.models.pixels import photo_shape

TEXT_BATCH = 16  # texts that go through a network at a time
KEPT_TEXTS = 1024  # texts whose embeddings are kept


class Encoder(ABC):
    """A folder's networks that encode photos and texts into one space.

    Each kind sets `_network` for photos (a Network of space/models/engine.py), `_model` for texts
    (of transformers), and `_context`, how many tokens of a text that takes.
    """

    # What similarities are multiplied by before the softmax (1 / temperature).
    logit_scale: float
    _padding = "longest"  # of texts

    def __init__(self, images: Path, texts: Path) -> None:
        self.folder = images
        self.processor = transformers.AutoImageProcessor.from_pretrained(images)
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(texts)
        # A tokenizer keeps the truncation of its last call (transformers issue 47085): one
        # visitor's text may not be cut while another's is measured.
        self._lock = threading.Lock()
        self._encode_text = lru_cache(KEPT_TEXTS)(lambda text: self._encode_batch([text])[0])

    @abstractmethod
    def encode_photos(self, pixels: torch.Tensor) -> np.ndarray:
        """The unit-length embeddings (n, d) float32 of n prepared photos."""

    def encode_texts(self, texts: tuple[str, ...]) -> np.ndarray:
        """The unit-length embeddings (n, d) float32 of n texts, kept from one call to the next.

        A text longer than the network's context is cut at its end.
        """
        return np.stack([self._encode_text(text) for text in texts])

    def is_cut(self, text: str) -> bool:
        """Whether the text is longer than the network's context."""
        with self._lock:
            return len(self._tokenizer(text, verbose=False)["input_ids"]) > self._context

    def to(self, device: str) -> None:
        """Move the networks to a device."""
        self._network.to(device)
        self._model.to(device)

    @abstractmethod
    def _text_features(self, tokens: transformers.BatchEncoding) -> torch.Tensor:
        """What the text network makes of n texts, (n, d)."""

    @torch.inference_mode()
    def _encode_batch(self, texts: list[str]) -> np.ndarray:
        cut = {"truncation": True, "max_length": self._context, "padding": self._padding}
        with self._lock:
            tokens = self._tokenizer(texts, return_tensors="pt", **cut)
        return unit(self._text_features(tokens.to(self._model.device)).cpu().numpy())


class CLIP(Encoder):
    """A CLIP-family checkpoint (Radford et al. 2021, arXiv 2103.00020).

    Always in float32, so that its scores are those of transformers' own pipeline.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, folder)
        self._model = transformers.AutoModelForZeroShotImageClassification.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32
        )
        photos = Outputs(
            self._model, lambda model, pixels: model.get_image_features(pixels).pooler_output
        )
        self._network = fastest(photos, photo_shape(self.processor), exact=True)
        self.logit_scale = self._model.logit_scale.exp().item()
        self._context = self._model.config.text_config.max_position_embeddings
        if "siglip" in self._model.config.model_type:  # it learned from texts padded to the end
            self._padding = "max_length"

    def encode_photos(self, pixels: torch.Tensor) -> np.ndarray:
        return unit(self._network(pixels))

    def _text_features(self, tokens: transformers.BatchEncoding) -> torch.Tensor:
        return self._model.get_text_features(**tokens).pooler_output


class ConSE(Encoder):
    """Zero-shot by a convex combination of semantic embeddings.

    Norouzi et al. 2013, arXiv 1312.5650, section 3. The photo's embedding is the mean of the
    sentence embeddings of ImageNet's class names, weighted by the posterior that an ImageNet
    classifier gives each class: one product, with no parameter of its own.
    """

    # Lowest cross-entropy on real labelled photos; it spreads the probabilities, and never changes
    # their order.
    logit_scale = 20.0

    def __init__(self, images: Path, texts: Path) -> None:
        super().__init__(images, texts)
        classifier = load_classifier(images)
        self._network = fastest(class_logits(classifier), photo_shape(self.processor), exact=True)
        self._model = transformers.AutoModel.from_pretrained(
            texts, use_safetensors=True, dtype=torch.float32
        )
        self._context = self._model.config.max_position_embeddings
        labels = np.array([label for _, label in sorted(classifier.config.id2label.items())])
        # Texts of like length go together, so that little is padding.
        order = np.argsort([*map(len, labels)], kind="stable")
        batches = np.split(labels[order], np.arange(TEXT_BATCH, len(labels), TEXT_BATCH))
        encoded = [self._encode_batch(batch.tolist()) for batch in batches]
        # One for each class that the classifier knows, (classes, d) float32, of unit length.
        self.class_embeddings = np.concatenate(encoded)[np.argsort(order)]

    def encode_photos(self, pixels: torch.Tensor) -> np.ndarray:
        return unit(softmax(self._network(pixels), axis=-1) @ self.class_embeddings)

    def _text_features(self, tokens: transformers.BatchEncoding) -> torch.Tensor:
        """The mean over the tokens of each text, as the sentence encoder was trained."""
        hidden = self._model(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None]
        return (hidden * mask).sum(1) / mask.sum(1)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., d) at unit length."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
