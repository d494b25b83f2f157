"""From an opened photo to both models' scores: what the page, the API and the reports run."""

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from data.categories import DESCRIPTIONS
from data.texts import from_lines
from space.models.checkpoints import Identity, load_vgg16, load_zero_shot
from space.models.classifiers import (
    ImageClassifier,
    ZeroShotModel,
    category_embeddings,
    picture,
    prepare,
    zero_shot_scores,
)


@dataclass(frozen=True)
class Models:
    """The two models of the comparison, side by side."""

    vgg16: ImageClassifier
    zero_shot: ZeroShotModel
    vgg16_identity: Identity
    zero_shot_identity: Identity

    def to(self, device: str) -> None:
        """Move both to a device."""
        self.vgg16.to(device)
        self.zero_shot.to(device)


@dataclass(frozen=True)
class PhotoScores:
    """What both models made of one photo, before any text is compared with it."""

    # (categories of VGG16,) float32, sums to 1
    probabilities: np.ndarray
    # (d,) float32, of unit length, in the space of the zero-shot model
    image_embedding: np.ndarray
    vgg16_saw: Image.Image
    zero_shot_saw: Image.Image
    vgg16_seconds: float
    zero_shot_seconds: float


def load_models(vgg16_name: str | None = None, zero_shot_name: str | None = None) -> Models:
    """Load both models on the processor and encode the study's descriptions, once.

    Args:
        vgg16_name: a folder or a Hub id (default: `VGG16_MODEL`, or the bundled checkpoint).
        zero_shot_name: likewise (default: `ZERO_SHOT_MODEL`, or OpenAI's CLIP).

    Raises:
        CheckpointError: VGG16's checkpoint cannot be had.
    """
    vgg16, vgg16_identity = load_vgg16(vgg16_name)
    zero_shot, zero_shot_identity = load_zero_shot(zero_shot_name)
    zero_shot.encode_texts(tuple(DESCRIPTIONS.values()))
    return Models(vgg16, zero_shot, vgg16_identity, zero_shot_identity)


def score_photo(models: Models, photo: Image.Image) -> PhotoScores:
    """Run both image networks on an RGB photo."""
    start = time.perf_counter()
    vgg16_pixels = prepare([photo], models.vgg16.processor)
    probabilities = models.vgg16.classify(vgg16_pixels)[0]
    middle = time.perf_counter()
    zero_shot_pixels = prepare([photo], models.zero_shot.processor)
    embedding = models.zero_shot.encode_photos(zero_shot_pixels)[0]
    end = time.perf_counter()
    return PhotoScores(
        probabilities,
        embedding,
        picture(vgg16_pixels[0], models.vgg16.processor),
        picture(zero_shot_pixels[0], models.zero_shot.processor),
        middle - start,
        end - middle,
    )


def score_texts(
    models: Models, scores: PhotoScores, texts: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Compare a scored photo with the texts of n categories, one or several, one a line.

    Returns:
        Cosine similarities and softmax shares, both (n,).
    """
    embeddings = category_embeddings(models.zero_shot, map(from_lines, texts))
    return zero_shot_scores(scores.image_embedding, embeddings, models.zero_shot.logit_scale)


def compare(models: Models, photo: Image.Image) -> tuple[dict, dict, dict]:
    """Sort an RGB photo with both models and the study's descriptions.

    Returns:
        VGG16's probability of each category; the zero-shot model's softmax share of each
        category; and the rest as plain values: `cosine_similarities` by category, each model's
        `categories` (first choices), whether they `agree`, `seconds`, and `models`.
    """
    scores = score_photo(models, photo)
    similarities, shares = score_texts(models, scores, tuple(DESCRIPTIONS.values()))
    probabilities = _by_name(models.vgg16.categories, scores.probabilities)
    softmax_shares = _by_name(DESCRIPTIONS, shares)
    first = {
        "vgg16": max(probabilities, key=probabilities.__getitem__),
        "zero_shot": max(softmax_shares, key=softmax_shares.__getitem__),
    }
    details = {
        "categories": first,
        "agree": first["vgg16"] == first["zero_shot"],
        "cosine_similarities": _by_name(DESCRIPTIONS, similarities),
        "logit_scale": models.zero_shot.logit_scale,
        "seconds": {
            "vgg16": round(scores.vgg16_seconds, 4),
            "zero_shot": round(scores.zero_shot_seconds, 4),
        },
        "models": {
            "vgg16": asdict(models.vgg16_identity),
            "zero_shot": asdict(models.zero_shot_identity),
        },
    }
    return probabilities, softmax_shares, details


def _by_name(names: Iterable[str], values: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}
