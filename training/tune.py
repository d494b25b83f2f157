"""Hyper-parameters by stratified, group-aware cross-validation, searched by Optuna."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import optuna
import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from matplotlib.ticker import NullFormatter
from sklearn.model_selection import StratifiedGroupKFold
from tqdm.auto import tqdm
from transformers import TimmWrapperForImageClassification

from data.sources import DataError
from training.features import Features
from training.fine_tune import Recipe, best_epochs, fine_tune

FOLDS = 5


def folds(
    labels: np.ndarray, groups: list[str], seed: int, parts: int = FOLDS
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices to train and to validate on: classes in like shares, copies of a photo together.

    Raises:
        DataError: a class has fewer photos than there are folds.
    """
    if min(np.bincount(labels)) < parts:
        raise DataError(
            f"Cross-validation in {parts} parts needs {parts} photos of each category in train and "
            "validation; train without --tune, or on more photos."
        )
    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    return list(splitter.split(labels, labels, groups))


def cross_validate(
    build: Callable[[float], TimmWrapperForImageClassification],
    features: dict[int, Features],
    recipe: Recipe,
    splits: list[tuple[np.ndarray, np.ndarray]],
    epochs: int,
    seed: int,
) -> pd.DataFrame:
    """Train on each split; validation_accuracy and validation_loss of its best epoch."""
    rows = []
    for split in tqdm(splits, desc="Cross-validation", unit="fold", leave=False):
        with tempfile.TemporaryDirectory() as folder:
            _, log = fine_tune(build, features, recipe, split, Path(folder), epochs, seed)
        rows.append(best_epochs(log)[recipe.unfreeze])
    return pd.DataFrame(rows)[["validation_accuracy", "validation_loss"]]


def tune(
    build: Callable[[float], TimmWrapperForImageClassification],
    features_of: Callable[[int], dict[int, Features]],
    splits: list[tuple[np.ndarray, np.ndarray]],
    *,
    trials: int,
    start: Recipe,
    folder: Path,
    epochs: int,
    seed: int,
) -> Recipe:
    """Search for the recipe of the highest mean accuracy, and write the table of trials.

    Args:
        build: makes a model with starting weights and this dropout.
        features_of: the features that a number of unfrozen blocks needs.
        splits: see `folds`.
        trials: how many recipes are tried, the first being `start`. Trials that an unfinished run
            left in the folder count.
        start: without a GPU, its number of unfrozen blocks is that of all trials.
        folder: gets tuning.csv and tuning.png; `unfinished/` in it keeps the trials until then.
        epochs: at most so many a stage.
        seed: of the search, and of each training.
    """
    state = PartialState()
    study = _study(folder / "unfinished", start, seed) if state.is_main_process else None
    done = broadcast_object_list([len(_complete(study)) if study else 0])[0]
    for number in range(done, trials):
        trial = study.ask() if study else None
        recipe = broadcast_object_list([_ask(trial, start) if trial else None])[0]
        features = features_of(recipe.unfreeze)
        state.print(f"Trial {number + 1} of {trials}: {recipe}")
        scores = cross_validate(build, features, recipe, splits, epochs, seed)
        if trial:
            trial.set_user_attr("recipe", asdict(recipe))
            trial.set_user_attr("loss", scores["validation_loss"].tolist())
            trial.set_user_attr("accuracy", scores["validation_accuracy"].tolist())
            study.tell(trial, scores["validation_accuracy"].mean())
            print(_write_table(study, folder).to_string(index=False, float_format="%.4g"))
    best = [None]
    if study:
        _plot(_write_table(study, folder), folder / "tuning.png")
        best = [Recipe(**study.best_trial.user_attrs["recipe"])]
    return broadcast_object_list(best)[0]


def _study(folder: Path, start: Recipe, seed: int) -> optuna.Study:
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        storage=f"sqlite:///{folder / 'tuning.db'}",
        study_name="vgg16",
        load_if_exists=True,
    )
    done = len(_complete(study))
    # Taken up again, the search must not draw what it drew before.
    study.sampler = optuna.samplers.TPESampler(seed=seed + done, n_startup_trials=5)
    if not done:
        study.enqueue_trial(asdict(start))
    return study


def _complete(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(states=[optuna.trial.TrialState.COMPLETE])


def _ask(trial: optuna.Trial, start: Recipe) -> Recipe:
    """A recipe to try; the whole recipe is searched where a GPU trains the trunk in seconds."""
    unfreeze = start.unfreeze
    if torch.cuda.is_available():
        unfreeze = trial.suggest_int("unfreeze", 0, 2)
    return Recipe(
        learning_rate=trial.suggest_float("learning_rate", 5e-5, 1e-3, log=True),
        batch_size=trial.suggest_categorical("batch_size", [32, 64, 128]),
        dropout=trial.suggest_float("dropout", 0.0, 0.5),
        weight_decay=trial.suggest_float("weight_decay", 0.1, 3.0, log=True),
        augmentation=trial.suggest_float("augmentation", 0.0, 1.0),
        unfreeze=unfreeze,
        trunk_learning_rate=(
            trial.suggest_float("trunk_learning_rate", 1e-6, 1e-4, log=True)
            if unfreeze
            else start.trunk_learning_rate
        ),
    )


def _write_table(study: optuna.Study, folder: Path) -> pd.DataFrame:
    """A row a trial, best first: its recipe, mean and spread over the folds."""
    rows = []
    for trial in _complete(study):
        accuracy, loss = np.array(trial.user_attrs["accuracy"]), np.array(trial.user_attrs["loss"])
        rows.append(
            {
                "trial": trial.number + 1,
                "accuracy_mean": accuracy.mean(),
                "accuracy_std": accuracy.std(ddof=1),
                "loss_mean": loss.mean(),
                "loss_std": loss.std(ddof=1),
                **trial.user_attrs["recipe"],
            }
        )
    table = pd.DataFrame(rows).sort_values("accuracy_mean", ascending=False, kind="stable")
    table.to_csv(folder / "tuning.csv", index=False)
    return table


def _plot(table: pd.DataFrame, file: Path) -> None:
    """Accuracy against each hyper-parameter that was searched."""
    searched = [field.name for field in fields(Recipe) if table[field.name].nunique() > 1]
    figure, axes = plt.subplots(
        1, max(1, len(searched)), figsize=(3.2 * max(1, len(searched)), 3.4), sharey=True
    )
    for axis, name in zip(np.atleast_1d(axes), searched, strict=False):
        axis.errorbar(
            table[name],
            100 * table["accuracy_mean"],
            100 * table["accuracy_std"],
            fmt="o",
            alpha=0.6,
        )
        axis.plot(table[name].iloc[0], 100 * table["accuracy_mean"].iloc[0], "*", markersize=14)
        axis.set_xlabel(name.replace("_", " "))
        if "learning_rate" in name:
            axis.set_xscale("log")
            axis.xaxis.set_minor_formatter(NullFormatter())
    np.atleast_1d(axes)[0].set_ylabel("accuracy, %\n(mean and spread over folds)")
    figure.savefig(file, dpi=120, bbox_inches="tight")
    plt.close(figure)
