"""One stage of a training on features and labels drawn at random, which can kill itself.

python -m tests.noise_training FOLDER EPOCHS KILL_AT
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import set_seed

from training.features import Features
from training.fine_tune import TrainedLayers, train_stage
from training.network import build_model

PHOTOS = 28


class CountedFeatures(Features):
    """Features that count how often a photo is asked for, and kill the process at one of them."""

    asked, kill_at = 0, 0

    def __getitem__(self, index: int) -> dict[str, object]:
        self.asked += 1
        if self.asked == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def train_on_noise(folder: Path, epochs: int, kill_at: int = 0) -> int:
    """Train on PHOTOS and validate on others; how often a photo was asked for."""
    rng = np.random.default_rng(0)
    shape = (PHOTOS + 14, 512, 7, 7)
    copies = [rng.random(shape, dtype=np.float32).astype(np.float16) for _ in range(2)]
    labels = rng.integers(0, 7, len(copies[0]))
    train = CountedFeatures(copies, labels, np.arange(PHOTOS), 1.0)
    train.kill_at = kill_at
    set_seed(0)
    train_stage(
        TrainedLayers(build_model({}).timm_model, 0, torch.ones(7)),
        train,
        Features(copies, labels, np.arange(PHOTOS, len(labels))),
        folder,
        stop_after=None,
        batch_size=8,
        learning_rate=2e-4,
        weight_decay=0.1,
        num_train_epochs=epochs,
        seed=0,
    )
    return train.asked


if __name__ == "__main__":
    train_on_noise(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
