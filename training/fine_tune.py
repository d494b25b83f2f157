"""Fine-tuning: the head on frozen features, then the last blocks of the trunk with it.

Each stage is one run of transformers' Trainer, which is resumed where it was killed.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm.auto import tqdm
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PrinterCallback,
    TimmWrapperForImageClassification,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.modeling_outputs import ImageClassifierOutput

from training.arithmetic import bfloat16_pays
from training.features import Features
from training.network import block_start

PATIENCE = 8
# Of the blocks: an epoch costs as much as thirty of the head, and the best one comes early.
TRUNK_EPOCHS = 3


@dataclass(frozen=True)
class Recipe:
    """What cross-validation searches; the defaults are what it found on real product photos."""

    learning_rate: float = 2e-4
    batch_size: int = 32
    dropout: float = 0.25
    # AdamW's, decoupled from the gradient: large, since 3.2 M weights meet a few hundred photos.
    weight_decay: float = 1.0
    augmentation: float = 1.0
    # The last blocks of convolutions that are trained after the head, and their learning rate.
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
        # The first added layer is as large as its input: a product of matrices, which is twice as
        # fast where it is not written as a convolution.
        added = self.pre_logits
        hidden = nn.functional.linear(mixed.flatten(1), added.fc1.weight.flatten(1), added.fc1.bias)
        hidden = added.drop(added.act1(hidden))[..., None, None]
        logits = self.head(added.act2(added.fc2(hidden))).float()
        loss = share * self._cross_entropy(logits, labels)
        loss = loss + (1 - share) * self._cross_entropy(logits, labels[partner])
        return ImageClassifierOutput(loss=loss, logits=logits)

    def _cross_entropy(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(logits, labels, self.class_weights)


def class_weights(labels: np.ndarray, classes: int) -> torch.Tensor:
    """Weights that make every class count the same in the loss, whatever its number of photos."""
    counts = np.bincount(labels, minlength=classes)
    return torch.tensor(len(labels) / (classes * counts), dtype=torch.float32)


def fine_tune(
    build: Callable[[float], TimmWrapperForImageClassification],
    features: dict[int, Features],
    recipe: Recipe,
    splits: tuple[np.ndarray, np.ndarray],
    folder: Path,
    epochs: int,
    seed: int,
    stop_after: dict[int, int] | None = None,
) -> tuple[TimmWrapperForImageClassification, list[dict[str, float]]]:
    """Train the head, then the last blocks with it where the recipe says so.

    Args:
        build: makes a model with starting weights and this dropout.
        features: what lies before the trained layers, by the number of blocks that are trained.
        recipe: see there.
        splits: the indices of the photos to train on, and of those to validate on.
        folder: where an unfinished run leaves its checkpoints, and is taken up again.
        epochs: at most so many a stage.
        seed: of the head's weights, the order of photos, dropout and mixup.
        stop_after: for each stage the epoch to stop after, without validation; the learning rate
            falls as if there were all epochs.

    Returns:
        The model, and the log: stage (blocks that were trained), epoch, losses and accuracy, a row
        an epoch.
    """
    set_seed(seed)
    model = build(recipe.dropout)
    train, validation = splits
    labels = features[0].labels[train]
    log = []
    for unfreeze in sorted({0, recipe.unfreeze}):
        layers = TrainedLayers(
            model.timm_model, unfreeze, class_weights(labels, model.config.num_labels)
        )
        rows = train_stage(
            layers,
            features[unfreeze].take(train, recipe.augmentation),
            None if stop_after else features[unfreeze].take(validation),
            folder / f"stage-{unfreeze}",
            learning_rate=recipe.trunk_learning_rate if unfreeze else recipe.learning_rate,
            batch_size=recipe.batch_size,
            weight_decay=recipe.weight_decay,
            epochs=min(epochs, TRUNK_EPOCHS) if unfreeze else epochs,
            seed=seed,
            stop_after=stop_after[unfreeze] if stop_after else None,
        )
        log += [{"unfrozen_blocks": unfreeze, **row} for row in rows]
    return model.to("cpu"), log


@torch.inference_mode()
def probabilities(
    model: TimmWrapperForImageClassification, features: Features, unfreeze: int
) -> np.ndarray:
    """What the model gives photos of which the frozen layers' features are known: (n, classes)."""
    layers = TrainedLayers(model.timm_model, unfreeze, torch.ones(model.config.num_labels)).eval()
    logits = [
        layers(batch["features"], batch["labels"]).logits
        for batch in torch.utils.data.DataLoader(features, batch_size=64)
    ]
    return torch.cat(logits).softmax(-1).numpy()


def best_epochs(log: list[dict[str, float]]) -> dict[int, dict[str, float]]:
    """For each stage, the row of the log with the lowest validation loss."""
    stages = {row["unfrozen_blocks"] for row in log}
    return {
        stage: min(
            (row for row in log if row["unfrozen_blocks"] == stage),
            key=lambda row: row["validation_loss"],
        )
        for stage in stages
    }


def train_stage(
    layers: TrainedLayers,
    train: Features,
    validation: Features | None,
    folder: Path,
    *,
    learning_rate: float,
    batch_size: int,
    weight_decay: float,
    epochs: int,
    seed: int,
    stop_after: int | None,
) -> list[dict[str, float]]:
    """Train in place, from the last complete checkpoint; the log, a row an epoch."""
    finished = folder / "finished.safetensors"
    if finished.exists():
        layers.load_state_dict(load_file(finished))
        return json.loads((folder / "log.json").read_text())
    callbacks: list[TrainerCallback] = [_Progress()]
    if stop_after:
        callbacks.append(_StopAfter(stop_after))
    if validation:
        callbacks.append(EarlyStoppingCallback(PATIENCE))
    state = PartialState()
    trainer = Trainer(
        layers,
        _arguments(
            folder,
            validation is not None,
            learning_rate=learning_rate,
            # The recipe's batch, whatever the number of processes that share it.
            per_device_train_batch_size=max(1, batch_size // state.num_processes),
            weight_decay=weight_decay,
            num_train_epochs=epochs,
            seed=seed,
        ),
        train_dataset=train,
        eval_dataset=validation,
        compute_metrics=_accuracy,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
    log = _rows(trainer.state.log_history)
    if state.is_main_process:
        (folder / "log.json").write_text(json.dumps(log))
        save_file(layers.state_dict(), folder / "partial")
        (folder / "partial").rename(finished)
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    state.wait_for_everyone()
    return log


def _arguments(folder: Path, validated: bool, **recipe: float) -> TrainingArguments:
    """What every stage has, and the recipe; with validation, the best epoch is kept."""
    watch = {
        "eval_strategy": "epoch",
        "load_best_model_at_end": True,
        "metric_for_best_model": "loss",
    }
    return TrainingArguments(
        output_dir=str(folder),
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        bf16=bfloat16_pays(),
        use_cpu=not torch.accelerator.is_available(),
        logging_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=torch.cuda.is_available(),
        restore_callback_states_from_checkpoint=True,
        **recipe,
        **(watch if validated else {}),
    )


class _Progress(TrainerCallback):
    """A bar of epochs with the last figures."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self.bar = tqdm(
            total=round(args.num_train_epochs),
            initial=round(state.epoch or 0),
            desc="Training",
            unit="epoch",
            disable=not state.is_local_process_zero,
        )

    def on_log(
        self,
        args: object,
        state: TrainerState,
        control: object,
        logs: dict[str, float],
        **_: object,
    ) -> None:
        names = {"loss": "loss", "eval_loss": "validation", "eval_accuracy": "right"}
        figures = {name: f"{logs[key]:.3f}" for key, name in names.items() if key in logs}
        self.bar.n = round(state.epoch)
        self.bar.set_postfix(figures)

    def on_train_end(self, *_: object, **__: object) -> None:
        self.bar.close()


class _StopAfter(TrainerCallback):
    """Stop after so many epochs, while the learning rate falls as if there were all of them."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_epoch_end(
        self, args: object, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        control.should_training_stop = state.epoch >= self.epochs


def _accuracy(predictions: EvalPrediction) -> dict[str, float]:
    right = predictions.predictions.argmax(-1) == predictions.label_ids
    return {"accuracy": float(right.mean())}


def _last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end: the Trainer's state comes last."""
    for checkpoint in sorted(
        folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True
    ):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())
            return str(checkpoint)
        except (OSError, ValueError):
            shutil.rmtree(checkpoint)
    return None


def _rows(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """One row an epoch; the log of the Trainer has one for training and one for validation."""
    names = {
        "loss": "train_loss",
        "eval_loss": "validation_loss",
        "eval_accuracy": "validation_accuracy",
    }
    rows: dict[int, dict[str, float]] = {}
    for entry in history:
        found = {name: entry[key] for key, name in names.items() if key in entry}
        if found:
            epoch = round(entry["epoch"])
            rows.setdefault(epoch, {"epoch": epoch}).update(found)
    return list(rows.values())
