"""Image networks give the same answers through OpenVINO as through torch."""

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from data.categories import CATEGORIES
from data.labelled import SAMPLE, load_photos
from data.photos import read_photo
from space.models import engine
from space.models.checkpoints import BUNDLED, VGG16_CHECKPOINT, load_vgg16
from space.models.classifiers import Models
from space.models.encoders import CLIP, ConSE
from space.models.engine import (
    QUANTISED,
    OpenVINONetwork,
    Outputs,
    TorchNetwork,
    fastest,
    load_quantised,
)
from space.models.pixels import prepare
from training.quantise import compare_with_float32, in_words, quantise, with_section


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are of the processor, which a machine with a GPU would not choose."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


PHOTOS = [read_photo(file) for file in sorted(SAMPLE.glob("*/*-1.jpg"))]


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled checkpoint, quantised anew on a few photos."""
    folder = tmp_path_factory.mktemp("quantised") / "vgg16"
    shutil.copytree(VGG16_CHECKPOINT, folder, ignore=shutil.ignore_patterns("quantised.*"))
    quantise(folder, _some(load_photos()["train"], 14))
    return folder


def _some(photos: Dataset, count: int) -> Dataset:
    return photos.select(range(0, len(photos), len(photos) // count)[:count])


def _load(model: str, small_clip: Path) -> CLIP | ConSE:
    if model == "clip":
        return CLIP(small_clip)
    return ConSE(BUNDLED / "efficientnet_lite0", BUNDLED / "minilm")


@pytest.mark.parametrize("model", ["clip", "conse"])
def test_zero_shot_embeddings_are_torchs(
    model: str, small_clip: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = models.zero_shot.encoder if model == "conse" else _load(model, small_clip)
    assert isinstance(here._network, OpenVINONetwork)
    monkeypatch.setattr(engine, "openvino", None)
    through_torch = _load(model, small_clip)
    assert isinstance(through_torch._network, TorchNetwork)
    pixels = prepare(PHOTOS, here.processor)
    np.testing.assert_allclose(
        here.encode_photos(pixels), through_torch.encode_photos(pixels), atol=1e-5
    )


def test_network_that_openvino_cannot_read_runs_through_torch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    eigenvalues = Outputs(
        torch.nn.Identity(), lambda _, pixels: torch.linalg.eigvals(pixels[:, 0]).real
    )
    network = fastest(eigenvalues, torch.Size((1, 3, 4, 4)), exact=True)
    assert isinstance(network, TorchNetwork)
    (message,) = [line for line in caplog.messages if "OpenVINO cannot run" in line]
    assert "\n" not in message
    pixels = 3 * torch.eye(4).expand(2, 3, 4, 4)
    np.testing.assert_allclose(network(pixels), np.full((2, 4), 3), atol=1e-6)


def test_visitors_at_the_same_time_get_their_own_answers() -> None:
    model = load_vgg16(str(VGG16_CHECKPOINT))
    pixels = [prepare([photo], model.processor) for photo in PHOTOS[:8]]
    expected = [model.logits(photo) for photo in pixels]
    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_allclose(list(pool.map(model.logits, pixels)), expected, atol=1e-5)


def test_quantised_network_of_other_weights_or_torn_is_not_used(
    quantised: Path, tmp_path: Path
) -> None:
    assert load_quantised(quantised) is not None
    other = shutil.copytree(quantised, tmp_path / "other")
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    assert load_quantised(other) is None
    torn = shutil.copytree(quantised, tmp_path / "torn")
    file = torn / QUANTISED
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert load_quantised(torn) is None


def test_quantised_network_keeps_first_choices(quantised: Path) -> None:
    photos = load_photos()["test"]
    figures = compare_with_float32(quantised, photos)
    assert figures["n"] == len(photos)
    assert figures["same_choice"] >= 0.9
    assert 0 < figures["probability_difference"] < 0.02
    labels = np.array(photos["label"])
    model = load_vgg16(str(quantised))
    choices = model.logits(prepare(photos[:]["image"], model.processor)).argmax(1)
    assert figures["accuracy"] == (choices == labels).mean()


def test_machine_with_a_gpu_measures_integers_and_does_not_run_them(
    quantised: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert isinstance(load_vgg16(str(quantised))._network, TorchNetwork)
    figures = compare_with_float32(quantised, _some(load_photos()["test"], 4))
    assert figures["n"] == 4 and 0 < figures["probability_difference"] < 0.05


def test_categories_are_those_of_the_names_not_of_the_places(
    quantised: Path, tmp_path: Path
) -> None:
    photos = _some(load_photos()["test"], 14)
    turned = shutil.copytree(quantised, tmp_path / "turned")
    config = json.loads((turned / "config.json").read_text())
    # Where transformers keeps the names of timm's classes.
    config["label_names"] = [*CATEGORIES[1:], CATEGORIES[0]]
    (turned / "config.json").write_text(json.dumps(config))
    # What it gave a category, it gives the next one now.
    before, after = (
        np.array(compare_with_float32(folder, photos)["confusion_matrix"])
        for folder in (quantised, turned)
    )
    np.testing.assert_array_equal(after, np.roll(before, 1, axis=1))


def test_first_choices_on_real_photos_are_those_of_float32(flipkart: Path) -> None:
    photos = load_photos(flipkart / "products.csv")["test"]
    half = photos.select(range(0, len(photos), 2))
    assert compare_with_float32(VGG16_CHECKPOINT, half)["same_choice"] >= 0.98


def test_bundled_card_says_what_the_quantised_network_is_worth() -> None:
    figures = json.loads((VGG16_CHECKPOINT / "quantised.json").read_text("utf-8"))
    card = (VGG16_CHECKPOINT / "README.md").read_text("utf-8")
    assert in_words(figures) in card
    assert with_section(card, figures) == card, "the section is replaced, not repeated"
    other = json.loads(json.dumps(figures))
    other["test"]["accuracy"] = 0.123
    changed = with_section(card, other)
    assert "12.3" in changed and in_words(figures) not in changed


def test_bundled_network_fits_the_bundled_weights() -> None:
    assert (VGG16_CHECKPOINT / QUANTISED).exists()
    assert load_quantised(VGG16_CHECKPOINT) is not None


def test_nothing_is_reported_to_openvinos_makers() -> None:
    """The reporter that openvino looks for at its import is not to be found."""
    assert "openvino" in sys.modules and sys.modules["openvino_telemetry"] is None
