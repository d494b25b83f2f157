"""What VGG16's frozen trunk makes of photos and of their augmented copies, computed once and kept.

    photo -> colour -> letterbox, normalise -> geometry -> frozen trunk -> one file a copy

Layers that are not trained answer the same at every epoch. They therefore see each augmented copy
of a photo once, and an epoch of what stands behind them costs seconds.
"""

import hashlib
import os
import platform
from pathlib import Path

import datasets
import numpy as np
import torch
from accelerate import PartialState
from torch import nn
from torchvision.transforms import v2
from tqdm.auto import tqdm

from data.labelled import fingerprint
from space.models.engine import Network, bfloat16_pays, fastest, uses_openvino
from space.models.pixels import BATCH, photo_shape, prepare
from training.network import PROCESSOR

CACHE = Path(datasets.config.HF_DATASETS_CACHE) / "vgg16-features"


class Features(torch.utils.data.Dataset):
    """Photos as the frozen trunk sees them, each in several copies, and their labels.

    Copies are (photos, channels, height, width) float16. Copy i of n is augmented with strength
    i / (n - 1); the first is the photo as it is. Each time that a photo is asked for, it is one of
    its copies up to `strength`, in [0, 1], drawn anew. Photos are indices (default: all).
    """

    def __init__(
        self,
        copies: list[np.ndarray],
        labels: np.ndarray,
        photos: np.ndarray | None = None,
        strength: float = 0.0,
    ) -> None:
        self.copies, self.labels = copies, labels
        self.photos = np.arange(len(labels)) if photos is None else photos
        self.choice = 1 + round(strength * (len(copies) - 1))

    def subset(self, photos: np.ndarray, strength: float = 0.0) -> "Features":
        """Some of the photos, with another strength."""
        return Features(self.copies, self.labels, photos, strength)

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> dict[str, object]:
        copy, photo = int(torch.randint(self.choice, ())), self.photos[index]
        features = torch.from_numpy(self.copies[copy][photo].astype(np.float32))
        return {"features": features, "labels": int(self.labels[photo])}


def frozen_features(layers: nn.Sequential, photos: datasets.Dataset, copies: int) -> Features:
    """What the layers make of each photo as it is, and of `copies - 1` augmented copies.

    A copy is a file in CACHE, written when it is complete: what was computed once is read from
    there, by a later run too. The processes of one machine share the copies among them.
    """
    state = PartialState()
    origin = _origin(layers, photos)
    files = [(CACHE / f"{origin}-{s:.3f}.npy", s) for s in np.linspace(0, 1, copies)]
    mine = slice(state.local_process_index, None, int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    if missing := [(file, strength) for file, strength in files[mine] if not file.exists()]:
        CACHE.mkdir(parents=True, exist_ok=True)
        trunk = fastest(layers, photo_shape(PROCESSOR), exact=False)
        trunk.to(str(state.device))
        quiet = not state.is_local_main_process
        for file, strength in tqdm(missing, desc="Frozen trunk", unit="copy", disable=quiet):
            _write_copy(file, trunk, photos, strength)
    state.wait_for_everyone()
    return Features([np.load(file, mmap_mode="r") for file, _ in files], np.array(photos["label"]))


def geometry(strength: float) -> v2.Transform:
    """The study's flip, rotation and zoom, a shift and random erasing, for normalised pixels."""
    # What a transform uncovers is zero, the mean colour.
    affine = v2.RandomAffine(
        degrees=15 * strength,
        translate=(0.06 * strength, 0.06 * strength),
        scale=(1 - 0.2 * strength, 1 + 0.2 * strength),
        interpolation=v2.InterpolationMode.BILINEAR,
    )
    erasing = v2.RandomErasing(p=0.2 * strength, scale=(0.02, 0.2))
    return v2.Compose([v2.RandomHorizontalFlip(), affine, erasing])


def _write_copy(file: Path, trunk: Network, photos: datasets.Dataset, strength: float) -> None:
    """Write one copy of all photos, BATCH of them in memory, under another name until the end."""
    device = PartialState().device.type
    # Machines may share the folder; what a killed run left is written over.
    partial, features = file.with_suffix(f".{platform.node()}.partial"), None
    colour = v2.ColorJitter(0.2 * strength, 0.2 * strength, 0.2 * strength, 0.02 * strength)
    with torch.random.fork_rng():
        # The same copies for every seed of the training: they are computed once.
        torch.manual_seed(round(1000 * strength))
        for start in tqdm(range(0, len(photos), BATCH), f"Strength {strength:.2f}", leave=False):
            images = photos[start : start + BATCH]["image"]
            if strength:
                images = [colour(image) for image in images]
            pixels = prepare(images, PROCESSOR)
            if strength:
                pixels = torch.stack([geometry(strength)(picture) for picture in pixels])
            with torch.autocast(device, torch.bfloat16, enabled=bfloat16_pays(device)):
                seen = trunk(pixels)
            if features is None:
                shape = (len(photos), *seen.shape[1:])
                features = np.lib.format.open_memmap(partial, "w+", np.float16, shape)
            features[start : start + len(images)] = seen
    features.flush()
    partial.rename(file)


def _origin(layers: nn.Sequential, photos: datasets.Dataset) -> str:
    """What the features follow from, but for the strength: photos, weights and arithmetic."""
    engine = "OpenVINO" if uses_openvino() else "torch"
    arithmetic = f"{engine}, bfloat16: {bfloat16_pays(PartialState().device.type)}"
    sha256 = hashlib.sha256(f"{fingerprint(photos)} {arithmetic}".encode())
    for weights in layers.state_dict().values():
        sha256.update(weights.numpy())
    return sha256.hexdigest()[:16]
