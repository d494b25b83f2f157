"""Hyper-parameters by stratified, group-aware cross-validation, searched by Optuna."""

import tempfile
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn.model_selection import StratifiedGroupKFold
from tqdm.auto import tqdm

from data.sources import DataError
from training.fine_tune import Hyperparameters, Split, Task, best_epochs, fine_tune

SEARCHED = {
    "learning_rate": FloatDistribution(5e-5, 1e-3, log=True),
    "batch_size": CategoricalDistribution([32, 64, 128]),
    "dropout": FloatDistribution(0.0, 0.5),
    "weight_decay": FloatDistribution(0.1, 3.0, log=True),
    "augmentation": FloatDistribution(0.0, 1.0),
}
# Searched where the trunk's last blocks are trained, and on a GPU, which does so in seconds.
TRUNK_LEARNING_RATE = {"trunk_learning_rate": FloatDistribution(1e-6, 1e-4, log=True)}
COMPLETE = [optuna.trial.TrialState.COMPLETE]


def folds(labels: np.ndarray, groups: list[str], seed: int, parts: int = 5) -> list[Split]:
    """Classes in like proportions, and copies of a photo (a group) in one part.

    Raises DataError where a class has fewer photos than there are parts.
    """
    if min(np.bincount(labels)) < parts:
        raise DataError(
            f"Cross-validation in {parts} parts needs {parts} photos of each category in train and "
            "validation; train without --tune, or on more photos."
        )
    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    return list(splitter.split(labels, labels, groups))


def cross_validate(task: Task, chosen: Hyperparameters, splits: list[Split]) -> pd.DataFrame:
    """Train on each split; accuracy and loss of its best epoch."""
    rows = []
    for split in tqdm(splits, desc="Cross-validation", unit="fold", leave=False):
        with tempfile.TemporaryDirectory() as folder:
            _, log = fine_tune(task, chosen, split, Path(folder))
        rows.append(best_epochs(log).loc[chosen.unfreeze])
    columns = {"validation_accuracy": "accuracy", "validation_loss": "loss"}
    return pd.DataFrame(rows)[list(columns)].rename(columns=columns)


def tune(
    task: Task, splits: list[Split], trials: int, start: Hyperparameters, folder: Path
) -> Hyperparameters:
    """Search for the highest mean accuracy, and write tuning.csv and tuning.png into a folder.

    The first trial is made with `start`; without a GPU, its number of unfrozen blocks is that of
    all. Trials that an unfinished run left in the folder's `unfinished/` count.
    """
    state = PartialState()
    study = _study(folder / "unfinished", start, task.seed) if state.is_main_process else None
    done = broadcast_object_list([len(study.get_trials(states=COMPLETE)) if study else 0])[0]
    for number in range(done, trials):
        trial = study.ask(_searched(start)) if study else None
        found = [trial.params if trial else {}]
        chosen = replace(start, **broadcast_object_list(found)[0])
        state.print(f"Trial {number + 1} of {trials}: {chosen}")
        scores = cross_validate(task, chosen, splits)
        if trial:
            spread = scores.agg(["mean", "std"]).unstack()
            trial.set_user_attr("scores", {"_".join(key): value for key, value in spread.items()})
            study.tell(trial, scores["accuracy"].mean())
            print(_write_table(study, start, folder).to_string(index=False, float_format="%.4g"))
    if study:
        _plot(_write_table(study, start, folder), folder / "tuning.png")
    best = [study.best_trial.params if study else {}]
    return replace(start, **broadcast_object_list(best)[0])


def _study(folder: Path, start: Hyperparameters, seed: int) -> optuna.Study:
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        storage=f"sqlite:///{folder / 'tuning.db'}",
        study_name="vgg16",
        load_if_exists=True,
    )
    done = len(study.get_trials(states=COMPLETE))
    # Resumed, the search must not try what it tried before.
    study.sampler = optuna.samplers.TPESampler(seed=seed + done, n_startup_trials=5)
    if not done:
        study.enqueue_trial({name: asdict(start)[name] for name in _searched(start)})
    return study


def _searched(start: Hyperparameters) -> dict[str, optuna.distributions.BaseDistribution]:
    if torch.cuda.is_available():
        return {"unfreeze": IntDistribution(0, 2)} | SEARCHED | TRUNK_LEARNING_RATE
    return SEARCHED | (TRUNK_LEARNING_RATE if start.unfreeze else {})


def _write_table(study: optuna.Study, start: Hyperparameters, folder: Path) -> pd.DataFrame:
    """A row a trial, best first: mean and spread over the folds, its hyper-parameters."""
    rows = [
        {"trial": trial.number + 1, **trial.user_attrs["scores"]}
        | asdict(replace(start, **trial.params))
        for trial in study.get_trials(states=COMPLETE)
    ]
    table = pd.DataFrame(rows).sort_values("accuracy_mean", ascending=False, kind="stable")
    table.to_csv(folder / "tuning.csv", index=False)
    return table


def _plot(table: pd.DataFrame, file: Path) -> None:
    """Accuracy against each hyper-parameter that was searched; a star is the best."""
    names = [field.name for field in fields(Hyperparameters) if table[field.name].nunique() > 1]
    count = max(1, len(names))
    figure = Figure((3.2 * count, 3.4))
    axes = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    mean, std = 100 * table["accuracy_mean"], 100 * table["accuracy_std"]
    for axis, name in zip(axes, names, strict=False):
        axis.errorbar(table[name], mean, std, fmt="o", alpha=0.6)
        axis.plot(table[name].iloc[0], mean.iloc[0], "*", markersize=14)
        axis.set_xlabel(name.replace("_", " "))
        if "learning_rate" in name:
            axis.set_xscale("log")
            axis.xaxis.set_minor_formatter(NullFormatter())
    axes[0].set_ylabel("accuracy, %\n(mean and spread over folds)")
    figure.savefig(file, dpi=120, bbox_inches="tight")
