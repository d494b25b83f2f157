"""The two roads: a fine-tuned image classifier, and a zero-shot model that compares with texts.

    photos --prepare--> pixels ----> ImageClassifier.classify --------------> probabilities
    photos --prepare--> pixels ----> CLIP.encode_photos --> image embeddings --+
    texts -------------------------> CLIP.encode_texts ---> text embeddings ---+--> similarities

`ConSE` stands in for `CLIP` where no CLIP checkpoint can be had, and is used the same way.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from scipy.special import softmax
from torchvision.transforms.functional import to_tensor
from tqdm.auto import tqdm
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForZeroShotImageClassification,
    AutoTokenizer,
    BaseImageProcessor,
    PreTrainedModel,
)

from space.models.engine import fastest, quantised

BATCH = 16


class ZeroShotModel(Protocol):
    """Photos and texts in one space, compared by cosine similarity."""

    processor: BaseImageProcessor
    logit_scale: float

    def encode_photos(self, pixels: torch.Tensor) -> np.ndarray:
        """The unit-length embeddings, (n, d) float32, of n prepared photos."""

    def encode_texts(self, texts: tuple[str, ...]) -> np.ndarray:
        """The unit-length embeddings, (n, d) float32, of n texts, kept from one call to the next.

        A text longer than the network's context is cut at its end.
        """

    def is_cut(self, text: str) -> bool:
        """Whether the text is longer than the network's context."""

    def to(self, device: str) -> None:
        """Move the networks to a device."""


def prepare(photos: Sequence[Image.Image], processor: BaseImageProcessor) -> torch.Tensor:
    """RGB photos as a network is shown them: pixels (n, 3, height, width) float32, normalised."""
    return processor(list(photos), return_tensors="pt")["pixel_values"]


def prepare_all(
    photos: Dataset, processor: BaseImageProcessor, description: str
) -> Iterator[torch.Tensor]:
    """Labelled photos as a network is shown them, in batches, with a progress bar."""
    with tqdm(total=len(photos), desc=description, unit="photo") as progress:
        for rows in photos.select_columns("image").iter(BATCH):
            yield prepare(rows["image"], processor)
            progress.update(len(rows["image"]))


def picture(pixels: torch.Tensor, processor: BaseImageProcessor) -> Image.Image:
    """The picture that a network was shown, from its normalised pixels (3, height, width)."""
    mean, std = _normalisation(processor)
    levels = (pixels.float().cpu() * std + mean).clamp(0, 1) * 255
    return Image.fromarray(levels.round().byte().permute(1, 2, 0).numpy())


def pixels_of(picture: Image.Image, processor: BaseImageProcessor) -> torch.Tensor:
    """The pixels (1, 3, height, width) float32 of a picture that a network was shown."""
    mean, std = _normalisation(processor)
    return (to_tensor(picture) - mean).div(std)[None].to(memory_format=torch.channels_last)


def _normalisation(processor: BaseImageProcessor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean and the standard deviation of each channel, (3, 1, 1)."""
    data = getattr(processor, "data_config", None) or processor.to_dict()
    mean, std = data.get("mean") or data["image_mean"], data.get("std") or data["image_std"]
    return torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)


def embed_all(model: ZeroShotModel, photos: Dataset) -> np.ndarray:
    """The unit-length embeddings, (n, d) float32, of n labelled photos, with a progress bar."""
    batches = prepare_all(photos, model.processor, "Embedding")
    return np.concatenate([*map(model.encode_photos, batches)])


def zero_shot_scores(
    image_embeddings: np.ndarray, text_embeddings: np.ndarray, logit_scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Compare photos with texts (Radford et al. 2021, arXiv 2103.00020, section 3.1.2).

    Args:
        image_embeddings: (..., d), of unit length.
        text_embeddings: (n, d), of unit length.
        logit_scale: what similarities are multiplied by before the softmax (1 / temperature).

    Returns:
        The cosine similarities, in [-1, 1], and softmax(logit_scale × similarities), which sums
        to 1 over the texts; both (..., n).
    """
    similarities = image_embeddings @ text_embeddings.T
    logits = logit_scale * similarities
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return similarities, shares / shares.sum(axis=-1, keepdims=True)


def category_embeddings(model: ZeroShotModel, texts: Iterable[Sequence[str]]) -> np.ndarray:
    """What photos are compared with where a category has several texts.

    The mean of the texts' embeddings, at unit length again: an ensemble of prompts at the cost
    of one (Radford et al. 2021, arXiv 2103.00020, section 3.1.4).

    Args:
        model: encodes the texts.
        texts: for each of n categories one text or more.

    Returns:
        (n, d) float32, of unit length, in the order of the categories.
    """
    means = [model.encode_texts(tuple(of_category)).mean(0) for of_category in texts]
    return _unit(np.stack(means))


class ImageClassifier:
    """A network fine-tuned for a fixed list of categories, in transformers' format."""

    def __init__(self, checkpoint: str | Path) -> None:
        self.folder = Path(checkpoint)
        self.processor = AutoImageProcessor.from_pretrained(checkpoint)
        labels = AutoConfig.from_pretrained(checkpoint).id2label
        self.categories: list[str] = [labels[index] for index in range(len(labels))]
        self._network = quantised(self.folder) or fastest(
            load_classifier(self.folder), class_logits, _shape(self.processor), exact=False
        )

    def classify(self, pixels: torch.Tensor) -> np.ndarray:
        """The probability of each category, (n, categories) float32, for n prepared photos."""
        return softmax(self._network(pixels), axis=-1)

    def to(self, device: str) -> None:
        """Move the network to a device."""
        self._network.to(device)


class CLIP:
    """A CLIP-family checkpoint (Radford et al. 2021): an image and a text encoder.

    Always in float32, so that its scores are those of transformers' own pipeline.
    """

    def __init__(self, checkpoint: str | Path) -> None:
        self.folder = Path(checkpoint)
        self.processor = AutoImageProcessor.from_pretrained(checkpoint)
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.model = AutoModelForZeroShotImageClassification.from_pretrained(
            checkpoint, use_safetensors=True, dtype=torch.float32
        )
        self._network = fastest(
            self.model,
            lambda model, pixels: model.get_image_features(pixels).pooler_output,
            _shape(self.processor),
            exact=True,
        )
        self.logit_scale = self.model.logit_scale.exp().item()
        self._context = self.model.config.text_config.max_position_embeddings
        # SigLIP learned from texts padded to its whole context.
        siglip = "siglip" in self.model.config.model_type
        self._padding = "max_length" if siglip else "longest"
        self._encode_text = lru_cache(maxsize=1024)(self._encode_text)

    def encode_photos(self, pixels: torch.Tensor) -> np.ndarray:
        return _unit(self._network(pixels))

    def encode_texts(self, texts: tuple[str, ...]) -> np.ndarray:
        return np.stack([self._encode_text(text) for text in texts])

    @torch.inference_mode()
    def _encode_text(self, text: str) -> np.ndarray:
        tokens = self.tokenizer(
            text,
            padding=self._padding,
            truncation=True,
            max_length=self._context,
            return_tensors="pt",
        ).to(self.model.device)
        return _unit(self.model.get_text_features(**tokens).pooler_output[0].cpu().numpy())

    def is_cut(self, text: str) -> bool:
        return _is_longer(text, self.tokenizer, self._context)

    def to(self, device: str) -> None:
        self.model.to(device)


class ConSE:
    """Zero-shot by a convex combination of semantic embeddings.

    Norouzi et al. 2013, arXiv 1312.5650, section 3. The photo's embedding is the mean of the
    sentence embeddings of ImageNet's class names, weighted by the posterior that an ImageNet
    classifier gives each class: one product, with no parameter of its own.
    """

    # Lowest cross-entropy on real labelled photos; it spreads the shares, and never changes their
    # order.
    logit_scale = 20.0

    def __init__(self, classifier: str | Path, text_encoder: str | Path) -> None:
        self.folder = Path(classifier)
        self.processor = AutoImageProcessor.from_pretrained(classifier)
        model = load_classifier(self.folder)
        self._network = fastest(model, class_logits, _shape(self.processor), exact=True)
        self.tokenizer = AutoTokenizer.from_pretrained(text_encoder)
        self.text_encoder = AutoModel.from_pretrained(
            text_encoder, use_safetensors=True, dtype=torch.float32
        )
        labels = model.config.id2label
        self._context = self.text_encoder.config.max_position_embeddings
        # One for each class that the classifier knows, (classes, d) float32, of unit length.
        self.class_embeddings = self._encode([labels[index] for index in range(len(labels))])
        self._encode_text = lru_cache(maxsize=1024)(lambda text: self._encode([text])[0])

    def encode_photos(self, pixels: torch.Tensor) -> np.ndarray:
        return _unit(softmax(self._network(pixels), axis=-1) @ self.class_embeddings)

    def encode_texts(self, texts: tuple[str, ...]) -> np.ndarray:
        return np.stack([self._encode_text(text) for text in texts])

    def _encode(self, texts: list[str], batch: int = 16) -> np.ndarray:
        """Sentence embeddings; texts of like length go together, so that little is padding."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        batches = [order[start : start + batch] for start in range(0, len(order), batch)]
        encoded = np.concatenate(
            [self._encode_batch([texts[index] for index in indices]) for indices in batches]
        )
        return encoded[np.argsort(order)]

    @torch.inference_mode()
    def _encode_batch(self, texts: list[str]) -> np.ndarray:
        """The mean over the tokens of each text, as the sentence encoder was trained."""
        tokens = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self._context, return_tensors="pt"
        ).to(self.text_encoder.device)
        hidden = self.text_encoder(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None]
        return _unit(((hidden * mask).sum(1) / mask.sum(1)).cpu().numpy())

    def is_cut(self, text: str) -> bool:
        return _is_longer(text, self.tokenizer, self._context)

    def to(self, device: str) -> None:
        self._network.to(device)
        self.text_encoder.to(device)


def load_classifier(folder: Path) -> PreTrainedModel:
    """An image classifier as torch knows it, float32, for inference."""
    return AutoModelForImageClassification.from_pretrained(
        folder, use_safetensors=True, dtype=torch.float32
    )


def class_logits(model: PreTrainedModel, pixels: torch.Tensor) -> torch.Tensor:
    """The logits (n, classes) of an image classifier."""
    return model(pixels).logits


def _shape(processor: BaseImageProcessor) -> torch.Size:
    """Of one photo as a network is shown it, (1, 3, height, width)."""
    return prepare([Image.new("RGB", (8, 8))], processor).shape


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _is_longer(text: str, tokenizer: AutoTokenizer, context: int) -> bool:
    return len(tokenizer(text, verbose=False)["input_ids"]) > context
