"""What a network is shown of a photo, as numbers and as a picture.

photo --prepare--> pixels (n, 3, height, width) <--pixels_of / picture--> picture
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torchvision.transforms.functional import to_tensor
from tqdm.auto import tqdm
from transformers import BaseImageProcessor

BATCH = 16  # photos that go through a network at a time


def prepare(photos: Sequence[Image.Image], processor: BaseImageProcessor) -> torch.Tensor:
    """RGB photos as a network is shown them: pixels (n, 3, height, width) float32, normalised."""
    return processor(list(photos), return_tensors="pt")["pixel_values"]


def map_photos(
    photos: Dataset,
    processor: BaseImageProcessor,
    function: Callable[[torch.Tensor], np.ndarray],
    description: str,
) -> np.ndarray:
    """What a function makes of the pixels of labelled photos, a row each, with a progress bar."""
    starts = tqdm(range(0, len(photos), BATCH), description, unit="batch")
    batches = (photos[start : start + BATCH]["image"] for start in starts)
    return np.concatenate([function(prepare(batch, processor)) for batch in batches])


def picture(pixels: torch.Tensor, processor: BaseImageProcessor) -> Image.Image:
    """The picture that a network was shown, from its normalised pixels (3, height, width)."""
    mean, std = _normalisation(processor)
    levels = (pixels.float().cpu() * std + mean).clamp(0, 1) * 255
    return Image.fromarray(levels.round().byte().permute(1, 2, 0).numpy())


def pixels_of(picture: Image.Image, processor: BaseImageProcessor) -> torch.Tensor:
    """The pixels (1, 3, height, width) float32 of a picture that a network was shown."""
    mean, std = _normalisation(processor)
    return (to_tensor(picture) - mean).div(std)[None].to(memory_format=torch.channels_last)


def photo_shape(processor: BaseImageProcessor) -> torch.Size:
    """Of one photo as a network is shown it, (1, 3, height, width)."""
    return prepare([Image.new("RGB", (8, 8))], processor).shape


def _normalisation(processor: BaseImageProcessor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean and the standard deviation of each channel, (3, 1, 1)."""
    data = getattr(processor, "data_config", None) or processor.to_dict()
    mean, std = data.get("mean") or data["image_mean"], data.get("std") or data["image_std"]
    return torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)
