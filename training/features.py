"""What VGG16's frozen layers make of photos and of their augmented copies, computed once and kept.

    photo -> colour -> letterbox, normalise -> geometry -> frozen layers -> one file a copy

Layers that are not trained answer the same at every epoch. They therefore see each augmented copy
of a photo once, and an epoch of what stands behind them costs seconds.
"""

import hashlib
import os
import platform
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import datasets
import numpy as np
import torch
from accelerate import PartialState
from PIL import Image
from torch import nn
from torchvision.transforms import v2
from tqdm.auto import tqdm
from transformers import TimmWrapperImageProcessor

from data.labelled import fingerprint
from training.arithmetic import Int8Convolutions, bfloat16_pays, int8_pays

CACHE = Path(datasets.config.HF_DATASETS_CACHE) / "vgg16-features"
BATCH = 16


class Features(torch.utils.data.Dataset):
    """Photos as the frozen layers see them, each in several copies, and their labels.

    Copy i of n is augmented with strength i / (n - 1); the first is the photo as it is. In
    training, each time that a photo is asked for, it is one of its copies up to `strength`.
    """

    def __init__(
        self,
        copies: list[np.ndarray],
        labels: np.ndarray,
        photos: np.ndarray | None = None,
        strength: float = 0.0,
    ) -> None:
        """Choose among what is on disk.

        Args:
            copies: for each copy (photos, channels, height, width) float16.
            labels: the class of each photo.
            photos: the indices of the photos to take (default: all).
            strength: of the augmentation, in [0, 1]; 0 takes each photo as it is.
        """
        self.copies, self.labels = copies, labels
        self.photos = np.arange(len(labels)) if photos is None else photos
        self.choice = 1 + round(strength * (len(copies) - 1))

    def take(self, photos: np.ndarray, strength: float = 0.0) -> "Features":
        """Some of the photos, with another strength."""
        return Features(self.copies, self.labels, photos, strength)

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> dict[str, object]:
        copy, photo = int(torch.randint(self.choice, ())), self.photos[index]
        features = torch.from_numpy(self.copies[copy][photo].astype(np.float32))
        return {"features": features, "labels": int(self.labels[photo])}


def frozen_features(
    layers: nn.Sequential,
    processor: TimmWrapperImageProcessor,
    photos: datasets.Dataset,
    copies: int,
) -> Features:
    """What the layers make of each photo as it is, and of `copies - 1` augmented copies.

    A copy is a file in CACHE, written when it is complete: what was computed once is taken from
    there, by a later run too. The processes of one machine share the copies among them.

    Args:
        layers: the frozen convolutions, float32.
        processor: letterboxes and normalises.
        photos: with the features `image` and `label`.
        copies: at least 1.
    """
    state = PartialState()
    strengths = np.linspace(0, 1, copies) if copies > 1 else [0.0]
    origin = _digest(layers, photos)
    files = [CACHE / f"{origin}-{strength:.3f}.npy" for strength in strengths]
    share = slice(state.local_process_index, None, int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    mine = [
        (file, strength)
        for file, strength in list(zip(files, strengths, strict=True))[share]
        if not file.exists()
    ]
    if mine:
        CACHE.mkdir(parents=True, exist_ok=True)
        images = list(photos["image"])
        network = _fast(layers, processor(images[:: len(images) // 32 + 1])["pixel_values"])
        for file, strength in tqdm(
            mine, desc="Frozen layers", unit="copy", disable=not state.is_local_main_process
        ):
            _write_copy(file, network, processor, images, strength)
    state.wait_for_everyone()
    return Features([np.load(file, mmap_mode="r") for file in files], np.array(photos["label"]))


def colour(strength: float) -> v2.Transform:
    """A little colour, for photos as they are read."""
    return v2.ColorJitter(0.2 * strength, 0.2 * strength, 0.2 * strength, 0.02 * strength)


def geometry(strength: float) -> v2.Transform:
    """The study's flip, rotation and zoom, a shift and random erasing, for normalised pixels.

    What they leave open is zero, the mean colour.
    """
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(
                degrees=15 * strength,
                translate=(0.06 * strength, 0.06 * strength),
                scale=(1 - 0.2 * strength, 1 + 0.2 * strength),
                interpolation=v2.InterpolationMode.BILINEAR,
            ),
            v2.RandomErasing(p=0.2 * strength, scale=(0.02, 0.2)),
        ]
    )


@torch.inference_mode()
def _write_copy(
    file: Path,
    network: Callable[[torch.Tensor], torch.Tensor],
    processor: TimmWrapperImageProcessor,
    images: list[Image.Image],
    strength: float,
) -> None:
    """Write one copy of all photos, under another name until it is complete."""
    # Machines may share the folder; what a killed run left is written over.
    partial, features = file.with_suffix(f".{platform.node()}.partial"), None
    with torch.random.fork_rng():
        # The same copies for every seed of the training: they are computed once.
        torch.manual_seed(round(1000 * strength))
        for start in tqdm(
            range(0, len(images), BATCH), desc=f"Strength {strength:.2f}", leave=False
        ):
            batch = images[start : start + BATCH]
            if strength > 0:
                batch = [colour(strength)(image) for image in batch]
            pixels = processor(batch)["pixel_values"]
            if strength > 0:
                pixels = torch.stack([geometry(strength)(picture) for picture in pixels])
            seen = network(pixels).to("cpu", torch.float16).numpy()
            if features is None:
                shape = (len(images), *seen.shape[1:])
                features = np.lib.format.open_memmap(partial, "w+", np.float16, shape)
            features[start : start + len(batch)] = seen
    features.flush()
    partial.rename(file)


def _fast(layers: nn.Sequential, calibration: torch.Tensor) -> Callable:
    """The layers in the fastest arithmetic that this machine has."""
    device, dtype = PartialState().device, torch.float32
    if int8_pays() and len(layers):
        network = Int8Convolutions(layers, calibration)
    else:
        dtype = torch.bfloat16 if bfloat16_pays() else dtype
        # A copy: the weights that are saved keep their precision.
        network = deepcopy(layers).eval().to(device, dtype, memory_format=torch.channels_last)
    return lambda pixels: network(pixels.to(device, dtype, memory_format=torch.channels_last))


def _digest(layers: nn.Sequential, photos: datasets.Dataset) -> str:
    """What the features follow from, but for the strength."""
    weights = b"".join(value.numpy().tobytes() for value in layers.state_dict().values())
    arithmetic = "int8" if int8_pays() else "bfloat16" if bfloat16_pays() else "float32"
    origin = f"{fingerprint(photos)} {hashlib.sha256(weights).hexdigest()} {arithmetic}"
    return hashlib.sha256(origin.encode()).hexdigest()[:16]
