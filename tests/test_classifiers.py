"""The classifiers' scores are those of transformers' own pipelines; texts are read as they come."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import log_softmax, softmax
from timm.data import ImageNetInfo
from timm.models import get_pretrained_cfg
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification, pipeline

from data.categories import CATEGORIES, DESCRIPTIONS
from data.labelled import SAMPLE, load_photos
from data.photos import read_photo
from data.texts import STUDY
from space.models import engine
from space.models.checkpoints import BUNDLED, VGG16_CHECKPOINT, load_vgg16, load_zero_shot
from space.models.classifiers import Model, Models, ZeroShot, by_name
from space.models.encoders import CLIP, ConSE, Encoder
from space.models.pixels import picture, prepare
from space.pages.compare import compare

TEXTS = list(DESCRIPTIONS.values())
PHOTOS = [file for file in sorted(SAMPLE.glob("*/*.jpg")) if file.stem.endswith("-1")]


@pytest.fixture(scope="module")
def clip(small_clip: Path) -> CLIP:
    return CLIP(small_clip)


@pytest.fixture(scope="module")
def conse(models: Models) -> ConSE:
    return models.zero_shot.encoder


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return read_photo(PHOTOS[0]).resize((500, 320))


@pytest.mark.parametrize("size", [(500, 320), (224, 224), (100, 400)])
def test_clip_equals_the_zero_shot_pipeline(
    small_clip: Path, photo: Image.Image, size: tuple[int, int]
) -> None:
    photo = photo.resize(size)
    plain = pipeline("zero-shot-image-classification", model=str(small_clip), device="cpu")
    expected = {
        row["label"]: row["score"]
        for row in plain(photo, candidate_labels=TEXTS, hypothesis_template="{}")
    }
    probabilities = _probabilities(load_zero_shot(str(small_clip)), [photo])[0]
    np.testing.assert_allclose(probabilities, [expected[text] for text in TEXTS], atol=1e-5)


def test_several_texts_of_a_category_are_averaged(clip: CLIP, photo: Image.Image) -> None:
    """And what it is bound to does not change the model that it was made of."""
    study = load_zero_shot(str(clip.folder))
    before = study.weights.copy()
    model = study.with_texts({"cup": ["a cup", "a mug"], "watch": ["a watch"]})
    assert model.categories == ["cup", "watch"]
    mean = clip.encode_texts(("a cup", "a mug")).mean(0)
    np.testing.assert_allclose(model.weights[0], mean / np.linalg.norm(mean), atol=1e-6)
    embedding = clip.encode_photos(prepare([photo], clip.processor))
    expected = clip.logit_scale * embedding @ model.weights.T
    np.testing.assert_allclose(model.logits(prepare([photo], clip.processor)), expected, atol=1e-4)
    np.testing.assert_array_equal(study.weights, before)


def test_clip_texts_are_encoded_once(clip: CLIP) -> None:
    first = clip.encode_texts(("a cup", "a watch"))
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    hook = clip._model.text_model.register_forward_hook(count)
    np.testing.assert_array_equal(clip.encode_texts(("a watch", "a cup")), first[::-1])
    assert passes == 0
    clip.encode_texts(("a cup", "a new text"))
    hook.remove()
    assert passes == 1


@pytest.mark.parametrize("model", ["clip", "conse"])
@pytest.mark.parametrize(
    "text", ["", "🙂🧸", "naïve Café", "word " * 3000], ids=lambda text: text[:9]
)
def test_every_text_has_an_embedding(model: str, text: str, request: pytest.FixtureRequest) -> None:
    zero_shot = request.getfixturevalue(model)
    embedding = zero_shot.encode_texts((text,))[0]
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)
    assert zero_shot.is_cut(text) == (len(text) > 1000)


def test_clip_reads_capitals_as_small_letters_and_cuts_at_77_tokens(clip: CLIP) -> None:
    capital, small = clip.encode_texts(("A CUP OF TEA", "a cup of tea"))
    np.testing.assert_array_equal(capital, small)
    # Start and end take two of the 77 places.
    kept = "tea " * 75
    assert not clip.is_cut(kept) and clip.is_cut(kept + "tea")
    np.testing.assert_allclose(*clip.encode_texts((kept, kept + "cup " * 125)), atol=1e-6)


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    """What transformers' pipeline says of PHOTOS with the bundled VGG16, (photos, 7)."""
    classify = pipeline("image-classification", model=str(VGG16_CHECKPOINT), device="cpu")
    answers = [classify(str(file), top_k=7) for file in PHOTOS]
    scores = [{row["label"]: row["score"] for row in answer} for answer in answers]
    return np.array([[score[name] for name in CATEGORIES] for score in scores])


def _probabilities(model: Model, photos: list[Image.Image]) -> np.ndarray:
    return softmax(model.logits(prepare(photos, model.processor)), axis=1)


def _of_bundled() -> np.ndarray:
    model = load_vgg16(str(VGG16_CHECKPOINT))
    assert model.categories == CATEGORIES
    return _probabilities(model, [*map(read_photo, PHOTOS)])


def test_bundled_vgg16_equals_the_pipeline_through_torch(
    plain: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "openvino", None)
    np.testing.assert_allclose(_of_bundled(), plain, atol=1e-5)


@pytest.mark.skipif(not engine.uses_openvino(), reason="integers run through OpenVINO alone")
def test_bundled_vgg16_keeps_the_pipelines_answers_in_int8(plain: np.ndarray) -> None:
    ours = _of_bundled()
    np.testing.assert_allclose(ours.sum(1), 1, atol=1e-5)
    assert 1e-4 < np.abs(ours - plain).max() < 0.35
    assert np.abs(ours - plain).mean() < 0.01
    assert (ours.argmax(1) == plain.argmax(1)).mean() >= 0.95


def test_bundled_models_know_the_bundled_sample(models: Models) -> None:
    """Far above the 1 in 7 of chance, on photos of another kind than those learned from."""
    photos = [read_photo(file) for file in PHOTOS]
    labels = np.array([CATEGORIES.index(file.parent.name) for file in PHOTOS])
    for model in models:
        assert (_probabilities(model, photos).argmax(1) == labels).mean() >= 0.5


def test_conse_is_the_mean_of_class_names_weighted_by_posteriors(
    conse: ConSE, photo: Image.Image
) -> None:
    posteriors = pipeline(
        "image-classification", model=str(BUNDLED / "efficientnet_lite0"), device="cpu"
    )(photo, top_k=1000)
    info = ImageNetInfo()
    names = [info.index_to_description(index) for index in range(1000)]
    # One class name stands for two classes ("crane"): compare by the sum over equal names.
    of_name: dict[str, float] = {}
    for row in posteriors:
        of_name[row["label"]] = of_name.get(row["label"], 0) + row["score"]
    unique = sorted(of_name)
    assert set(unique) == set(names)
    batches = [unique[start : start + 50] for start in range(0, len(unique), 50)]
    embeddings = np.concatenate([*map(conse._encode_batch, batches)])
    expected = np.array([of_name[name] for name in unique]) @ embeddings
    expected /= np.linalg.norm(expected)
    embedding = conse.encode_photos(prepare([photo], conse.processor))[0]
    np.testing.assert_allclose(embedding, expected, atol=1e-4)


def test_logit_scale_of_the_stand_in_is_the_best_on_real_photos(
    conse: ConSE, flipkart: Path
) -> None:
    photos = load_photos(flipkart / "products.csv")["validation"]
    embeddings = conse.encode_photos(prepare(photos["image"], conse.processor))
    similarities = embeddings @ ZeroShot(conse, STUDY, None).weights.T
    labels = list(photos["label"])

    def cross_entropy(logit_scale: float) -> float:
        logs = log_softmax(logit_scale * similarities, axis=1)
        return -logs[np.arange(len(labels)), labels].mean()

    best = min(cross_entropy(scale) for scale in range(5, 60))
    assert cross_entropy(conse.logit_scale) == pytest.approx(best, abs=0.02)


def test_each_model_shows_the_picture_that_it_saw(clip: CLIP, conse: ConSE) -> None:
    """A wide photo, red at both ends: CLIP crops them off, the others letterbox the whole."""
    photo = Image.new("RGB", (600, 200), "blue")
    for left in (0, 500):
        photo.paste("red", (left, 0, left + 100, 200))
    seen = picture(prepare([photo], clip.processor)[0], clip.processor)
    assert seen.size == (224, 224)
    assert max(abs(a - b) for a, b in zip(seen.getpixel((2, 112)), (0, 0, 255), strict=True)) < 3
    for processor in (load_vgg16().processor, conse.processor):
        letterboxed = picture(prepare([photo], processor)[0], processor)
        assert letterboxed.size == (224, 224)
        assert letterboxed.getpixel((5, 112))[0] > 240 > letterboxed.getpixel((5, 10))[0]


def test_categories_are_mapped_by_name(models: Models, tmp_path: Path) -> None:
    """The same network with its labels stored in reverse answers the same."""
    torch.manual_seed(0)
    for order, folder in (
        (CATEGORIES, tmp_path / "forward"),
        (CATEGORIES[::-1], tmp_path / "reverse"),
    ):
        labels = dict(enumerate(order))
        config = TimmWrapperConfig(
            architecture="test_resnet",
            pretrained_cfg=get_pretrained_cfg("test_resnet").to_dict(),
            id2label=labels,
            label2id={name: index for index, name in labels.items()},
        )
        network = TimmWrapperForImageClassification(config)
        if order is CATEGORIES:
            # Large enough to tell categories apart.
            torch.nn.init.normal_(network.timm_model.get_classifier().weight, std=1e4)
            weights = network.state_dict()
        else:
            head = ("timm_model.fc.weight", "timm_model.fc.bias")
            network.load_state_dict(weights | {name: weights[name].flip(0) for name in head})
        network.save_pretrained(folder)
    photo = read_photo(PHOTOS[0])
    answers = [
        compare(models._replace(vgg16=load_vgg16(str(tmp_path / name))), photo)
        for name in ("forward", "reverse")
    ]
    assert answers[0][0] == pytest.approx(answers[1][0], abs=1e-5)
    assert list(answers[0][0]) != list(answers[1][0])
    assert answers[0][1] == pytest.approx(answers[1][1], abs=1e-6)
    logits = np.arange(14.0).reshape(2, 7)
    np.testing.assert_array_equal(by_name(logits, CATEGORIES[::-1], CATEGORIES), logits[:, ::-1])


@pytest.mark.parametrize("model", ["clip", "conse"])
def test_long_texts_do_not_fail_while_others_are_measured(
    model: str, request: pytest.FixtureRequest
) -> None:
    """A tokenizer keeps the truncation of its last call, whoever made it."""
    encoder: Encoder = request.getfixturevalue(model)
    texts = [f"{number} " + "word " * 700 for number in range(12)]
    # The threads take turns as often as they can.
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(1e-5)
    with ThreadPoolExecutor(4) as threads:
        both = [
            (threads.submit(encoder.is_cut, text), threads.submit(encoder.encode_texts, (text,)))
            for text in texts
        ]
        assert all(cut.result() for cut, _ in both)
        together = np.concatenate([encoded.result() for _, encoded in both])
    encoder._encode_text.cache_clear()
    alone = np.concatenate([encoder.encode_texts((text,)) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)
