"""The heat maps point at what the scores depend on, and change with the score and the weights."""

import copy
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.special import softmax
from scipy.stats import spearmanr
from timm.models import get_pretrained_cfg
from torch.nn.functional import cross_entropy, normalize
from transformers import (
    AutoModelForZeroShotImageClassification,
    SiglipConfig,
    SiglipModel,
    TimmWrapperConfig,
)
from transformers import TimmWrapperForImageClassification as TimmClassifier

from data.labelled import SAMPLE
from data.photos import read_photo
from data.texts import STUDY
from space.models.checkpoints import load_vgg16, load_zero_shot
from space.models.classifiers import FineTuned, Model, Models, ZeroShot
from space.models.heat_maps import UnexplainedError, draw, heat_map
from space.models.pixels import picture, pixels_of, prepare

PHOTOS = sorted(SAMPLE.glob("*/*.jpg"))
COLOURS = {"a red square": "#f00", "a green square": "#0f0", "a blue square": "#00f"}
TEXTS = {text: [text] for text in COLOURS}
SIDE = 64


@dataclass(frozen=True)
class Case:
    """A model, what it saw of some photos, and what it compares them with."""

    model: Model
    seen: list[Image.Image]
    # What the names of the weights next to the score begin with.
    last: str

    def scores(self, pixels: torch.Tensor) -> np.ndarray:
        """Probabilities or cosine similarities, (n, categories)."""
        logits = self.model.logits(pixels)
        if isinstance(self.model, FineTuned):
            return softmax(logits, axis=1)
        return logits / self.model.encoder.logit_scale

    def order(self, saw: Image.Image) -> np.ndarray:
        """The categories, the first choice first."""
        return self.scores(pixels_of(saw, self.model.processor))[0].argsort()[::-1]

    def heat(self, saw: Image.Image, category: int, folder: Path | None = None) -> np.ndarray:
        """The model's map, or that of another checkpoint in its place."""
        model = self.model if folder is None else _moved(self.model, folder)
        return heat_map(model, saw, category)


def _folder(model: Model) -> Path:
    return model.folder if isinstance(model, FineTuned) else model.encoder.folder


def _moved(model: Model, folder: Path) -> Model:
    """The same model, with its weights elsewhere."""
    if isinstance(model, ZeroShot):
        return replace(model, encoder=_moved(model.encoder, folder))
    moved = copy.copy(model)
    moved.folder = folder
    return moved


@pytest.fixture(scope="module")
def taught_clip(small_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> ZeroShot:
    """A small CLIP that has learned to name the colour of a square on a sample photo.

    CLIP's own weights are not here, and random ones say nothing of a photo; of this one it is
    known what it has to look at.
    """
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = load_zero_shot(str(small_clip), TEXTS)
    photos, texts = _seen(model, PHOTOS), torch.from_numpy(model.weights)
    clip = AutoModelForZeroShotImageClassification.from_pretrained(small_clip)
    image_encoder = torch.nn.ModuleList([clip.vision_model, clip.visual_projection])
    optimiser = torch.optim.AdamW(image_encoder.parameters(), lr=1e-3)
    for _ in range(60):
        labels = rng.integers(len(COLOURS), size=32)
        painted = [_paint(photos[rng.integers(len(photos))], label, rng) for label in labels]
        pixels = torch.cat([pixels_of(photo, model.processor) for photo, _ in painted])
        embeddings = normalize(clip.get_image_features(pixels).pooler_output)
        cross_entropy(100 * embeddings @ texts.T, torch.from_numpy(labels)).backward()
        optimiser.step()
        optimiser.zero_grad()
    folder = tmp_path_factory.mktemp("taught") / "clip"
    shutil.copytree(small_clip, folder)
    clip.save_pretrained(folder)
    return load_zero_shot(str(folder), TEXTS)


@pytest.fixture(scope="module", params=["vgg16", "conse", "clip"])
def case(request: pytest.FixtureRequest) -> Case:
    """Each model with photos of the sample."""
    if request.param == "clip":
        clip, rng = request.getfixturevalue("taught_clip"), np.random.default_rng(1)
        photos = _seen(clip, PHOTOS[::4])
        painted = [_paint(photo, rng.integers(len(COLOURS)), rng)[0] for photo in photos]
        return Case(clip, painted, "vision_model")
    models: Models = request.getfixturevalue("models")
    if request.param == "vgg16":
        return Case(models.vgg16, _seen(models.vgg16, PHOTOS[::8]), "timm_model.head")
    conse = models.zero_shot
    return Case(conse, _seen(conse, PHOTOS[::4]), "timm_model.classifier")


def _seen(model: Model, files: list[Path]) -> list[Image.Image]:
    pixels = prepare([read_photo(file) for file in files], model.processor)
    return [picture(photo, model.processor) for photo in pixels]


def _paint(
    photo: Image.Image, colour: int, rng: np.random.Generator, row: int | None = None
) -> tuple[Image.Image, tuple[slice, slice]]:
    """Lay a square of 2 × 2 patches on a photo; the photo, and where the square lies."""
    top, left = 32 * (rng.integers(6, size=2) if row is None else np.array([row, rng.integers(6)]))
    painted = photo.copy()
    painted.paste(list(COLOURS.values())[colour], (left, top, left + SIDE, top + SIDE))
    return painted, np.s_[top : top + SIDE, left : left + SIDE]


def test_covering_the_hottest_fifth_costs_more_than_covering_a_random_one(case: Case) -> None:
    """The random fifth is of the same shape: the hottest one, moved elsewhere."""
    rng = np.random.default_rng(0)
    costs = []
    for saw in case.seen:
        pixels, first = pixels_of(saw, case.model.processor), case.order(saw)[0]
        heat = case.heat(saw, first)
        hottest = torch.zeros(heat.shape, dtype=torch.bool)
        hottest.view(-1)[heat.argsort(axis=None)[-heat.size // 5 :]] = True
        random = torch.roll(hottest, tuple(rng.integers(heat.shape).tolist()), (0, 1))
        mean = pixels.mean((2, 3), keepdim=True)
        covered = [torch.where(place, mean, pixels) for place in (hottest, random)]
        scores = case.scores(torch.cat([pixels, *covered]))[:, first]
        costs.append(scores[0] - scores[1:])
    hottest_costs, random_costs = np.mean(costs, axis=0)
    assert hottest_costs > 1.3 * max(random_costs, 0)


def test_map_changes_with_the_category(case: Case) -> None:
    correlations = []
    for saw in case.seen[:4]:
        first, second, *_, last = case.order(saw)
        heat, *others = (case.heat(saw, category) for category in (first, second, last))
        correlations.append(min(_correlation(heat, other) for other in others))
    assert np.mean(correlations) < 0.8


def test_map_changes_with_the_weights(case: Case, tmp_path: Path) -> None:
    """Adebayo et al. 2018 (arXiv 1810.03292): a map that outlives the weights explains nothing."""
    folder = tmp_path / "shuffled"
    shutil.copytree(_folder(case.model), folder)
    weights = load_file(folder / "model.safetensors")
    torch.manual_seed(0)
    for name in filter(lambda name: name.startswith(case.last), weights):
        weights[name] = (
            weights[name].flatten()[torch.randperm(weights[name].numel())].view_as(weights[name])
        )
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    correlations = []
    for saw in case.seen[:4]:
        first = case.order(saw)[0]
        correlations.append(_correlation(case.heat(saw, first), case.heat(saw, first, folder)))
    assert np.mean(correlations) < 0.5


def _correlation(heat: np.ndarray, other: np.ndarray) -> float:
    """Spearman's; 0 where a map is the same everywhere."""
    if not (heat.any() and other.any()):
        return 0.0
    return spearmanr(heat[::8, ::8], other[::8, ::8], axis=None).statistic


def test_map_of_attention_finds_the_square_that_the_text_names(taught_clip: ZeroShot) -> None:
    rng = np.random.default_rng(2)
    found = []
    for photo in _seen(taught_clip, PHOTOS[::4]):
        colours, squares = rng.permutation(len(COLOURS))[:2], []
        for colour, row in zip(colours, (0, 5), strict=True):
            photo, square = _paint(photo, colour, rng, row)
            squares.append(square)
        for colour, square in zip(colours, squares, strict=True):
            heat = heat_map(taught_clip, photo, colour)
            found.append(heat[square].max() == 1)
    # By chance, one in twelve.
    assert np.mean(found) > 0.6


def test_map_covers_the_picture(case: Case) -> None:
    heat = case.heat(case.seen[0], 0)
    assert heat.shape == (case.seen[0].height, case.seen[0].width) and heat.dtype == np.float32
    assert heat.min() == 0 and heat.max() == 1


@pytest.mark.parametrize("architecture", ["test_resnet", "test_convnext"])
def test_other_networks_of_convolutions_are_explained(architecture: str, tmp_path: Path) -> None:
    model = _save_classifier(architecture, tmp_path)
    saw = _seen(model, PHOTOS[:1])[0]
    maps = [heat_map(model, saw, category) for category in range(3)]
    assert all(heat.shape == (saw.height, saw.width) for heat in maps)
    # With random weights nothing may speak for a category.
    assert max(heat.max() for heat in maps) == 1
    assert np.ptp(maps, axis=0).max() > 0.5


def test_networks_that_cannot_be_explained_say_so(small_clip: Path, tmp_path: Path) -> None:
    transformer = _save_classifier("test_vit", tmp_path / "vit")
    with pytest.raises(UnexplainedError, match="not a network of convolutions"):
        heat_map(transformer, _seen(transformer, PHOTOS[:1])[0], 0)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    config = SiglipConfig(text_config=sizes, vision_config=sizes)
    SiglipModel(config).save_pretrained(tmp_path / "siglip")
    clip = load_zero_shot(str(small_clip), STUDY)
    with pytest.raises(UnexplainedError, match="class token"):
        heat_map(_moved(clip, tmp_path / "siglip"), _seen(clip, PHOTOS[:1])[0], 0)


def _save_classifier(architecture: str, folder: Path) -> FineTuned:
    """A small network of timm with random weights."""
    torch.manual_seed(0)
    pretrained_cfg = get_pretrained_cfg(architecture).to_dict()
    config = TimmWrapperConfig(
        architecture=architecture, pretrained_cfg=pretrained_cfg, num_labels=3
    )
    TimmClassifier(config).save_pretrained(folder)
    return load_vgg16(str(folder))


def test_pixels_are_those_that_the_picture_was_made_from(case: Case) -> None:
    processor = case.model.processor
    pixels = prepare([read_photo(PHOTOS[0])], processor)
    torch.testing.assert_close(pixels_of(picture(pixels[0], processor), processor), pixels)


def test_drawn_map_is_read_without_telling_colours_apart() -> None:
    """The hotter, the lighter; and the photo shows through."""
    heat = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    lightness = np.asarray(draw(Image.new("RGB", (64, 64), "red"), heat).convert("L"), dtype=int)
    assert (np.diff(lightness[0]) >= 0).all() and np.ptp(lightness) > 80
    photo = Image.new("RGB", (64, 64))
    photo.paste("white", (0, 0, 64, 32))
    drawn = np.asarray(draw(photo, heat).convert("L"), dtype=int)
    assert (drawn[0] > drawn[-1] + 80).all()
