"""The training on the bundled sample: what it leaves, how it is interrupted, and what it finds."""

import json
import math
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.special import softmax
from torch import nn
from transformers import pipeline

from data.categories import CATEGORIES
from data.errors import UserError
from data.labelled import SAMPLE, load_photos
from data.photos import PhotoError
from space.models import engine
from space.models.checkpoints import (
    VGG16_CHECKPOINT,
    CheckpointError,
    load_before_refit,
    load_vgg16,
)
from space.models.pixels import BATCH, prepare
from tests.conftest import ROOT
from tests.loopback_hub import WRITE_TOKEN, LoopbackHub, with_hub
from tests.noise_training import PHOTOS, train_on_noise
from training import features
from training.features import Features, frozen_features
from training.fine_tune import PATIENCE, TrainedLayers, predict
from training.network import NARROW, average, block_start, build_model, trunk_weights
from training.train_vgg import HEADS
from training.tune import folds

SCRIPT = [sys.executable, "training/train_vgg.py"]


@dataclass(frozen=True)
class Trained:
    """What a run of train_vgg.py left and said, and the Hub that it was pushed to."""

    folder: Path
    printed: str
    hub: LoopbackHub
    home: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Two epochs on the bundled sample, after two trials, pushed to a Hub."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "vgg16"
    command = [*SCRIPT, "--epochs", "2", "--tune", "2", "--output", str(folder)]
    with LoopbackHub({}) as hub:
        run = subprocess.run(
            [*command, "--push-to-hub", "user/name"],
            cwd=ROOT,
            env=with_hub(hub.url, home, WRITE_TOKEN),
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        yield Trained(folder, run.stdout, hub, home)


def test_training_on_the_sample_beats_chance(trained: Trained) -> None:
    metrics = json.loads((trained.folder / "metrics.json").read_text())
    assert metrics.keys() == {"train", "validation", "test"}
    unseen = [metrics["validation"], metrics["test"]]
    right = sum(figures["accuracy"] * figures["n"] for figures in unseen)
    seen = sum(figures["n"] for figures in unseen)
    # Three standard deviations above guessing one of seven.
    chance = seen / 7
    assert right > chance + 3 * math.sqrt(chance * 6 / 7)


def test_trained_folder_answers_in_one_line(trained: Trained) -> None:
    photo = load_photos()["test"][0]["image"]
    classify = pipeline("image-classification", model=str(trained.folder), device="cpu")
    assert {row["label"] for row in classify(photo, top_k=7)} == set(CATEGORIES)
    assert type(classify.image_processor).__name__ == "TimmWrapperImageProcessor"
    assert (trained.folder / "model.safetensors").stat().st_size < 53e6


def test_trained_folder_says_how_it_was_made(trained: Trained) -> None:
    run = json.loads((trained.folder / "run.json").read_text())
    assert "--epochs 2" in run["command"] and run["seed"] == 0
    assert {"torch", "transformers", "timm"} <= run["versions"].keys()
    log = pd.read_csv(trained.folder / "training_log.csv")
    assert list(log["epoch"]) == [1, 2] * HEADS
    assert log["head"].nunique() == HEADS
    assert log[["train_loss", "validation_loss", "validation_accuracy"]].notna().all(axis=None)
    for picture in ("training_curve.png", "confusion.png", "tuning.png"):
        assert len(Image.open(trained.folder / picture).convert("L").getcolors()) > 10
    assert not (trained.folder / "unfinished").exists()


def test_card_tells_what_was_measured(trained: Trained) -> None:
    metrics = json.loads((trained.folder / "metrics.json").read_text())
    card = ModelCard.load(trained.folder / "README.md")
    results = {result.metric_type: result for result in card.data.eval_results}
    assert results["accuracy"].metric_value == round(metrics["test"]["accuracy"], 4)
    assert results["accuracy"].dataset_split == "test"
    assert results["f1"].metric_value == round(metrics["test"]["macro_f1"], 4)
    assert card.data.base_model == "timm/vgg16.tv_in1k"
    for name, figures in metrics["test"]["per_class"].items():
        assert f"| {name} | {figures['n']} | {figures['precision']:.3f} |" in card.text


def test_trained_folder_was_pushed_whole(trained: Trained) -> None:
    pushed = trained.hub.files("models/user/name")
    assert pushed.keys() == {file.name for file in trained.folder.iterdir()}
    weights = (trained.folder / "model.safetensors").read_bytes()
    assert pushed["model.safetensors"] == weights
    assert len(trained.hub.commits) == 1


def test_table_of_trials(trained: Trained) -> None:
    table = pd.read_csv(trained.folder / "tuning.csv")
    assert len(table) == 2 and table["accuracy_mean"].is_monotonic_decreasing
    assert (table["accuracy_std"] >= 0).all() and table["learning_rate"].nunique() == 2
    chosen = json.loads((trained.folder / "run.json").read_text())["hyperparameters"]
    assert chosen["learning_rate"] == pytest.approx(table["learning_rate"][0])


@pytest.fixture(scope="module")
def unpushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """A third of the sample, as a folder: trained on, but not pushed for want of a token."""
    home = tmp_path_factory.mktemp("home")
    for category in SAMPLE.iterdir():
        (home / "photos" / category.name).mkdir(parents=True)
        for photo in sorted(category.iterdir())[::3]:
            (home / "photos" / category.name / photo.name).write_bytes(photo.read_bytes())
    with LoopbackHub({}) as hub:
        push = ["--push-to-hub", "user/name", "--private", "--revision", "trial"]
        run = subprocess.run(
            [*small_training(home), *push],
            cwd=ROOT,
            env=with_hub(hub.url, home),
            capture_output=True,
            text=True,
        )
        assert run.returncode == 1 and "Traceback" not in run.stderr, run.stderr
        assert run.stdout.startswith("There is no token of the Hub yet")
        yield Trained(home / "my model", run.stderr.splitlines()[-1], hub, home)


def small_training(home: Path, output: str = "my model") -> list[str]:
    """The command of a training of seconds."""
    options = {"--dataset": home / "photos", "--output": home / output, "--epochs": 2}
    return [*SCRIPT, "--refit", *(str(part) for option in options.items() for part in option)]


def test_push_that_fails_says_how_to_push_without_training(unpushed: Trained) -> None:
    sentence, command = unpushed.printed.split(" Without training again: ")
    assert sentence.startswith("There is no token of the Hub here")
    python, *again = shlex.split(command)
    assert python == "python"
    environment = with_hub(unpushed.hub.url, unpushed.home, WRITE_TOKEN)
    run = subprocess.run(
        [sys.executable, *again], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "model.safetensors" in unpushed.hub.files("models/user/name", "trial")
    assert unpushed.hub.private["models/user/name"]


def test_killed_run_goes_on_to_the_same_weights(
    unpushed: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(unpushed.home / "photos", tmp_path / "photos")
    environment = with_hub(unpushed.hub.url, tmp_path)
    command = small_training(tmp_path)
    run = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not (first := list(tmp_path.rglob("*.npy"))):
        assert run.poll() is None
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    written = first[0].stat().st_mtime_ns
    # The same command again, in this process, which has the libraries loaded.
    monkeypatch.setattr("sys.argv", command[1:])
    monkeypatch.setattr(features, "CACHE", first[0].parent)
    runpy.run_path(str(ROOT / command[1]), run_name="__main__")
    # What was computed is taken up, and all comes out as in another run with the same seed.
    assert len(list(tmp_path.rglob("*.npy"))) == 2
    assert first[0].stat().st_mtime_ns == written
    weights = load_file(tmp_path / "my model" / "model.safetensors")
    for name, expected in load_file(unpushed.folder / "model.safetensors").items():
        assert torch.equal(weights[name], expected), name


def test_refit_leaves_what_was_said_of_validation_photos_before(unpushed: Trained) -> None:
    photos = load_photos(unpushed.home / "photos")["validation"]
    before, categories = load_before_refit(unpushed.folder)
    assert list(before) == list(photos["sha256"]) and categories == CATEGORIES
    model = load_vgg16(str(unpushed.folder))
    after = softmax(model.logits(prepare(photos[:]["image"], model.processor)), 1)
    labels = np.arange(len(photos)), np.array(photos["label"])
    # It had not seen them yet, and its logits of what they are were lower.
    assert softmax(np.stack([*before.values()]), 1)[labels].mean() < after[labels].mean() - 0.05


def test_several_processes_train_one_model(unpushed: Trained) -> None:
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    _, *command = small_training(unpushed.home, "of two")
    run = subprocess.run(
        [sys.executable, *launch, *command],
        cwd=ROOT,
        env=with_hub(unpushed.hub.url, unpushed.home),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("Saved:") == 1
    metrics = json.loads((unpushed.home / "of two" / "metrics.json").read_text())
    assert metrics["train"]["accuracy"] > 0.5


def test_killed_training_loses_no_more_than_an_epoch(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert train_on_noise(whole, epochs=5) == 5 * PHOTOS

    command = [sys.executable, "-m", "tests.noise_training", str(killed), "5", str(3 * PHOTOS + 10)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    # A save that was cut short is no checkpoint.
    (killed / "checkpoint-16").mkdir()
    (killed / "checkpoint-16" / "trainer_state.json").write_text('{"epoch": 4')
    assert train_on_noise(killed, epochs=5) == 2 * PHOTOS

    logs = [pd.read_csv(folder / "log.csv") for folder in (whole, killed)]
    assert list(logs[1]["epoch"]) == [1, 2, 3, 4, 5]
    assert logs[1].to_numpy() == pytest.approx(logs[0].to_numpy())
    weights = load_file(killed / "finished.safetensors")
    for name, expected in load_file(whole / "finished.safetensors").items():
        assert torch.allclose(weights[name], expected, atol=1e-6), name


def test_training_stops_early_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    train_on_noise(tmp_path, epochs=60)
    losses = pd.read_csv(tmp_path / "log.csv")["validation_loss"]
    # Labels drawn at random: what is learned does not help, and the loss rises soon.
    assert len(losses) < 60
    assert losses.argmin() == len(losses) - 1 - PATIENCE


def test_unfreezing_trains_the_last_blocks_alone() -> None:
    model = build_model(trunk_weights(VGG16_CHECKPOINT / "model.safetensors"))
    network = model.timm_model
    layers = TrainedLayers(network, 1, torch.ones(7))
    assert [type(layer) for layer in layers.blocks].count(nn.Conv2d) == 3
    before = {name: value.clone() for name, value in network.state_dict().items()}
    layers.train()
    optimiser = torch.optim.AdamW(layers.parameters(), 1e-3)
    layers(torch.rand(4, 512, 14, 14), torch.arange(4)).loss.backward()
    optimiser.step()
    changed = {
        name for name, value in network.state_dict().items() if (value != before[name]).any()
    }
    start = block_start(network.features, 1)
    frozen = {f"features.{index}" for index in range(start)}
    assert "features.28.weight" in changed and "head.fc.weight" in changed
    assert not any(name.rsplit(".", 1)[0] in frozen for name in changed)
    # Of timm's 4,096 units, those that started at zero stay there.
    alive = network.pre_logits.fc2.weight.flatten(1).any(1)
    assert alive.sum() == NARROW and alive[:NARROW].all()
    assert not network.head.fc.weight[:, NARROW:].any()


def test_last_blocks_on_frozen_features_are_the_network() -> None:
    network = build_model(trunk_weights(VGG16_CHECKPOINT / "model.safetensors")).timm_model.eval()
    pixels = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        expected = network(pixels)
        for unfreeze in (0, 1, 3):
            layers = TrainedLayers(network, unfreeze, torch.ones(7)).eval()
            before = network.features[: block_start(network.features, unfreeze)](pixels)
            logits = layers(before, torch.zeros(2, dtype=torch.long)).logits
            assert torch.allclose(logits, expected, atol=1e-4)


def test_average_of_heads_gives_the_mean_of_their_logits() -> None:
    trunk = trunk_weights(VGG16_CHECKPOINT / "model.safetensors")
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        models.append(build_model(trunk).eval())
    pixels = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        expected = torch.stack([model(pixels).logits for model in models]).mean(0)
        logits = average(models).eval()(pixels).logits
    assert torch.allclose(logits, expected, atol=1e-5)
    assert not torch.allclose(logits, models[0](pixels).logits, atol=1e-3)


def test_logits_from_frozen_features_are_the_networks() -> None:
    model = build_model(trunk_weights(VGG16_CHECKPOINT / "model.safetensors")).eval()
    pixels = torch.rand(3, 3, 224, 224)
    with torch.inference_mode():
        seen = model.timm_model.features(pixels).numpy()
        expected = model(pixels).logits.numpy()
    logits = predict(model, Features([seen], np.zeros(3, dtype=int)), 0)
    assert logits == pytest.approx(expected, abs=1e-5)


def test_augmentation_chooses_among_the_copies_up_to_its_strength() -> None:
    copies = [np.full((3, 1, 1, 1), index, dtype=np.float16) for index in range(5)]
    photos = Features(copies, np.array([0, 1, 2]))

    def seen(strength: float) -> set[float]:
        chosen = photos.subset(np.array([2]), strength)
        return {chosen[0]["features"].item() for _ in range(200)}

    assert seen(0.0) == {0} and seen(0.5) == {0, 1, 2} and seen(1.0) == {0, 1, 2, 3, 4}
    assert photos.subset(np.array([2]))[0]["labels"] == 2


def test_folds_keep_copies_of_a_photo_together(flipkart: Path) -> None:
    photos = load_photos(flipkart / "products.csv")["train"]
    groups, labels = np.array(photos["sha256"]), np.array(photos["label"])
    assert len(set(groups)) < len(groups)
    validated = []
    for train, validation in folds(labels, groups.tolist(), seed=0):
        assert not set(groups[train]) & set(groups[validation])
        shares = np.bincount(labels[validation], minlength=7) / np.bincount(labels, minlength=7)
        assert (abs(shares - 0.2) < 0.06).all()
        validated += validation.tolist()
    assert sorted(validated) == list(range(len(labels)))


def test_init_that_is_no_vgg16_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="--init takes a safetensors file"):
        trunk_weights(tmp_path / "none")
    save_file({"features.0.weight": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="does not hold the 13 convolutions"):
        trunk_weights(tmp_path / "other.safetensors")


def tiny_trunk(weight: float = 1.0) -> nn.Sequential:
    """The mean of each eighth of a picture, as a network of one convolution."""
    trunk = nn.Sequential(nn.Conv2d(3, 1, 28, stride=28, bias=False)).requires_grad_(False)
    trunk[0].weight.fill_(weight / (3 * 28 * 28))
    return trunk


def test_frozen_features_hold_no_more_than_two_batches_of_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "CACHE", tmp_path)
    # Pictures cannot be hashed.
    alive: WeakValueDictionary[int, Image.Image] = WeakValueDictionary()
    held = []

    def decoded(batch: dict[str, list]) -> dict[str, list]:
        if "label" in batch and "image" in batch:
            batch["image"] = [Image.new("RGB", (30, 40), (label, 0, 0)) for label in batch["label"]]
            alive.update({id(picture): picture for picture in batch["image"]})
            held.append(len(alive))
        return batch

    labels = list(range(6 * BATCH))
    rows = {"image": labels, "label": labels, "sha256": [f"{label}" for label in labels]}
    photos = Dataset.from_dict(rows).with_transform(decoded)
    seen = frozen_features(tiny_trunk(), photos, copies=2)
    assert sum(held) > len(photos) and max(held) <= 2 * BATCH
    # Redder from photo to photo, and in the order of the labels.
    means = seen.copies[0].mean((1, 2, 3))
    assert (np.diff(means) > 0).all() and list(seen.labels) == labels


def test_kept_features_follow_from_weights_and_arithmetic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "CACHE", tmp_path)
    photos = load_photos()["test"].select(range(2))

    def files(trunk: nn.Sequential) -> set[str]:
        frozen_features(trunk, photos, copies=1)
        return {file.name for file in tmp_path.iterdir()}

    first = files(tiny_trunk())
    assert len(first) == 1 and files(tiny_trunk()) == first
    assert len(files(tiny_trunk(2.0))) == 2
    monkeypatch.setattr(features, "uses_openvino", lambda: not engine.uses_openvino())
    assert len(files(tiny_trunk())) == 3


def test_photo_that_is_lost_on_the_way_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "CACHE", tmp_path / "kept")
    shutil.copytree(SAMPLE, tmp_path / "photos")
    photos = load_photos(tmp_path / "photos")["validation"]
    lost = tmp_path / "photos" / photos["name"][3]
    lost.unlink()
    with pytest.raises(PhotoError, match=lost.name) as raised:
        frozen_features(tiny_trunk(), photos, copies=1)
    assert isinstance(raised.value, UserError) and "\n" not in str(raised.value)
