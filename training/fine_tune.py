"""Fine-tuning: the head on the frozen trunk's features, then the trunk's last blocks with it.

Each stage is one run of transformers' Trainer, which is resumed where it was killed.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import transformers
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from transformers import TrainerControl, TrainerState
from transformers.modeling_outputs import ImageClassifierOutput

from space.models.engine import bfloat16_pays
from training.features import Features
from training.network import VGG16, block_start

PATIENCE = 8
# For unfrozen blocks: an epoch costs as much as thirty of the head, and the best comes early.
TRUNK_EPOCHS = 3
# What the Trainer logs, and the columns of the log.
COLUMNS = {
    "epoch": "epoch",
    "loss": "train_loss",
    "eval_loss": "validation_loss",
    "eval_accuracy": "validation_accuracy",
}

# The indices of the photos to train on, and of those to validate on.
Split = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Task:
    """What is trained, and for how long."""

    # Makes a model with starting weights and this dropout.
    build: Callable[[float], VGG16]
    # Gives what lies before the trunk's last so many blocks, for train and then validation.
    features_of: Callable[[int], Features]
    # At most so many a stage.
    epochs: int
    # Of the head's weights, the order of photos, dropout and mixup.
    seed: int


@dataclass(frozen=True)
class Hyperparameters:
    """What cross-validation searches; the defaults are what it found on real product photos."""

    learning_rate: float = 2e-4
    batch_size: int = 32
    dropout: float = 0.25
    # AdamW's, decoupled from the gradient: large, since 3.2 M weights meet a few hundred photos.
    weight_decay: float = 1.0
    augmentation: float = 1.0
    # The trunk's last blocks that are trained after the head, and their learning rate.
    unfreeze: int = 0
    trunk_learning_rate: float = 1e-5


class TrainedLayers(nn.Module):
    """The layers of a timm VGG that are trained, in the form that the Trainer asks for.

    In training, photos are mixed in pairs (mixup, Zhang et al. 2018, arXiv 1710.09412), without
    which the head is sure of everything after three epochs.
    """

    def __init__(self, network: nn.Module, unfreeze: int, class_weights: torch.Tensor) -> None:
        super().__init__()
        # The layers themselves, no copies: what is trained here is trained in the network.
        self.blocks = network.features[block_start(network.features, unfreeze) :]
        self.pre_logits, self.head = network.pre_logits, network.head
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.share = torch.distributions.Beta(0.4, 0.4)

    def forward(self, features: torch.Tensor, labels: torch.Tensor) -> ImageClassifierOutput:
        """Logits (n, classes) of frozen features (n, channels, height, width), and their loss."""
        share, partner = 1.0, torch.arange(len(labels), device=labels.device)
        if self.training:
            share = self.share.sample().item()
            partner = torch.randperm(len(labels), device=labels.device)
        mixed = share * features + (1 - share) * features[partner]
        if len(self.blocks):
            mixed = self.blocks(mixed.contiguous(memory_format=torch.channels_last))
        # The head's first layer is as large as its input: a product of matrices, which is twice as
        # fast where it is not written as a convolution.
        head = self.pre_logits
        hidden = nn.functional.linear(mixed.flatten(1), head.fc1.weight.flatten(1), head.fc1.bias)
        hidden = head.drop(head.act1(hidden))[..., None, None]
        logits = self.head(head.act2(head.fc2(hidden))).float()
        cross_entropy = partial(nn.functional.cross_entropy, logits, weight=self.class_weights)
        loss = share * cross_entropy(labels) + (1 - share) * cross_entropy(labels[partner])
        return ImageClassifierOutput(loss=loss, logits=logits)


def fine_tune(
    task: Task,
    chosen: Hyperparameters,
    split: Split,
    folder: Path,
    stop_after: Mapping[int, int] | None = None,
) -> tuple[VGG16, pd.DataFrame]:
    """Train the head, then the trunk's last blocks with it where the hyper-parameters say so.

    Args:
        folder: where an unfinished run leaves its checkpoints, and is taken up again.
        stop_after: for each stage the epoch to stop after, without validation; the learning rate
            falls as if there were all epochs.

    Returns:
        The model, and the log: a row an epoch, with unfrozen_blocks (the stage) and COLUMNS.
    """
    transformers.set_seed(task.seed)
    model = task.build(chosen.dropout)
    train, validation = split
    # Every class counts the same in the loss, whatever its number of photos.
    labels, classes = task.features_of(0).labels[train], np.arange(model.config.num_labels)
    weights = torch.from_numpy(compute_class_weight("balanced", classes=classes, y=labels)).float()
    log = []
    for unfreeze in sorted({0, chosen.unfreeze}):
        features = task.features_of(unfreeze)
        rows = train_stage(
            TrainedLayers(model.timm_model, unfreeze, weights),
            features.subset(train, chosen.augmentation),
            None if stop_after else features.subset(validation),
            folder / f"stage-{unfreeze}",
            stop_after=stop_after[unfreeze] if stop_after else None,
            batch_size=chosen.batch_size,
            learning_rate=chosen.trunk_learning_rate if unfreeze else chosen.learning_rate,
            weight_decay=chosen.weight_decay,
            num_train_epochs=min(task.epochs, TRUNK_EPOCHS) if unfreeze else task.epochs,
            seed=task.seed,
        )
        log.append(rows.assign(unfrozen_blocks=unfreeze))
    return model.to("cpu"), pd.concat(log, ignore_index=True)


@torch.inference_mode()
def predict(model: VGG16, features: Features, unfreeze: int) -> np.ndarray:
    """The logits (n, classes) of photos of which the frozen trunk's features are known."""
    layers = TrainedLayers(model.timm_model, unfreeze, torch.ones(model.config.num_labels)).eval()
    batches = torch.utils.data.DataLoader(features, batch_size=64)
    return torch.cat([layers(**batch).logits for batch in batches]).numpy()


def best_epochs(log: pd.DataFrame) -> pd.DataFrame:
    """For each stage, the row of the log with the lowest validation loss."""
    best = log.groupby("unfrozen_blocks")["validation_loss"].idxmin()
    return log.loc[best].set_index("unfrozen_blocks")


def train_stage(
    layers: TrainedLayers,
    train: Features,
    validation: Features | None,
    folder: Path,
    *,
    stop_after: int | None,
    batch_size: int,
    **settings: object,
) -> pd.DataFrame:
    """Train in place, from the last complete checkpoint; the log, a row an epoch.

    With validation, training stops early and keeps the best epoch; without, it stops after the
    epoch `stop_after`. The other settings are of TrainingArguments.
    """
    finished = folder / "finished.safetensors"
    if finished.exists():
        layers.load_state_dict(load_file(finished))
        return pd.read_csv(folder / "log.csv")
    state = PartialState()
    stop = _StopAfter(stop_after)
    if validation:
        stop = transformers.EarlyStoppingCallback(PATIENCE)
        settings |= {"eval_strategy": "epoch", "load_best_model_at_end": True}
    # All processes share the batch, or all GPUs of one.
    shares = state.num_processes if state.num_processes > 1 else torch.cuda.device_count()
    settings["per_device_train_batch_size"] = max(1, batch_size // max(1, shares))
    trainer = transformers.Trainer(
        layers,
        _arguments(folder, settings),
        train_dataset=train,
        eval_dataset=validation,
        compute_metrics=_accuracy,
        callbacks=[_Progress(), stop],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
    # The Trainer logs a row for training and one for validation.
    log = pd.DataFrame(trainer.state.log_history).reindex(columns=list(COLUMNS))
    log = log.round({"epoch": 0}).astype({"epoch": int}).rename(columns=COLUMNS)
    log = log.groupby("epoch", as_index=False).first()
    if state.is_main_process:
        log.to_csv(folder / "log.csv", index=False)
        save_file(layers.state_dict(), folder / "partial")
        (folder / "partial").rename(finished)
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    state.wait_for_everyone()
    return log


def _arguments(folder: Path, settings: dict[str, object]) -> transformers.TrainingArguments:
    device = PartialState().device.type
    return transformers.TrainingArguments(
        output_dir=str(folder),
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        bf16=bfloat16_pays(device),
        use_cpu=device == "cpu",
        logging_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=device == "cuda",
        restore_callback_states_from_checkpoint=True,
        **settings,
    )


class _Progress(transformers.ProgressCallback):
    """The Trainer's bar of steps, with the last figures beside it instead of a line each."""

    def on_log(
        self, args: object, state: object, control: object, logs: dict[str, float], **_: object
    ) -> None:
        if self.training_bar is not None:
            figures = {COLUMNS[key]: value for key, value in logs.items() if key in COLUMNS}
            self.training_bar.set_postfix(figures)


@dataclass
class _StopAfter(transformers.TrainerCallback):
    """Stop after so many epochs, while the learning rate falls as if there were all of them."""

    epochs: int | None

    def on_epoch_end(
        self, args: object, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        control.should_training_stop = state.epoch >= self.epochs


def _accuracy(seen: transformers.EvalPrediction) -> dict[str, float]:
    return {"accuracy": accuracy_score(seen.label_ids, seen.predictions.argmax(-1))}


def _last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end: the Trainer's state comes last."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    for checkpoint in reversed(checkpoints):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())
            return str(checkpoint)
        except (OSError, ValueError):
            shutil.rmtree(checkpoint)
    return None
