"""The classifiers' scores are those of transformers' own pipelines; texts are read as they come."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import ImageNetInfo
from transformers import pipeline

from data.categories import CATEGORIES, DESCRIPTIONS
from data.labelled import SAMPLE, load_photos
from data.photos import read_photo
from space import engine
from space.models.checkpoints import BUNDLED, VGG16_CHECKPOINT
from space.models.classifiers import (
    CLIP,
    ConSE,
    ImageClassifier,
    picture,
    prepare,
    zero_shot_scores,
)

TEXTS = list(DESCRIPTIONS.values())
PHOTOS = [file for file in sorted(SAMPLE.glob("*/*.jpg")) if file.stem.endswith("-1")]


@pytest.fixture(scope="module")
def clip(small_clip: Path) -> CLIP:
    return CLIP(small_clip)


@pytest.fixture(scope="module")
def conse() -> ConSE:
    return ConSE(BUNDLED / "efficientnet_lite0", BUNDLED / "minilm")


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return read_photo(PHOTOS[0]).resize((500, 320))


def test_scores_are_the_softmax_of_scaled_cosines() -> None:
    rng = np.random.default_rng(0)
    image, texts = rng.normal(size=(4, 16)), rng.normal(size=(3, 16))
    image /= np.linalg.norm(image, axis=1, keepdims=True)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    similarities, shares = zero_shot_scores(image, texts, 100.0)
    expected = torch.nn.functional.cosine_similarity(
        torch.tensor(image)[:, None], torch.tensor(texts)[None], dim=-1
    )
    np.testing.assert_allclose(similarities, expected, atol=1e-12)
    np.testing.assert_allclose(shares, (100 * expected).softmax(-1), atol=1e-12)


@pytest.mark.parametrize("size", [(500, 320), (224, 224), (100, 400)])
def test_clip_equals_the_zero_shot_pipeline(
    clip: CLIP, small_clip: Path, photo: Image.Image, size: tuple[int, int]
) -> None:
    photo = photo.resize(size)
    plain = pipeline("zero-shot-image-classification", model=str(small_clip), device="cpu")
    expected = {
        row["label"]: row["score"]
        for row in plain(photo, candidate_labels=TEXTS, hypothesis_template="{}")
    }
    _, shares = zero_shot_scores(
        clip.encode_photos(prepare([photo], clip.processor))[0],
        clip.encode_texts(tuple(TEXTS)),
        clip.logit_scale,
    )
    np.testing.assert_allclose(shares, [expected[text] for text in TEXTS], atol=1e-5)


def test_clip_texts_are_encoded_once(clip: CLIP) -> None:
    first = clip.encode_texts(("a cup", "a watch"))
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    hook = clip.model.text_model.register_forward_hook(count)
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


def _probabilities() -> np.ndarray:
    classifier = ImageClassifier(VGG16_CHECKPOINT)
    assert classifier.categories == CATEGORIES
    return classifier.classify(prepare([*map(read_photo, PHOTOS)], classifier.processor))


def test_bundled_vgg16_equals_the_pipeline_through_torch(
    plain: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "openvino", None)
    np.testing.assert_allclose(_probabilities(), plain, atol=1e-5)


def test_bundled_vgg16_keeps_the_pipelines_answers_in_int8(plain: np.ndarray) -> None:
    ours = _probabilities()
    np.testing.assert_allclose(ours.sum(1), 1, atol=1e-5)
    assert 1e-4 < np.abs(ours - plain).max() < 0.35
    assert np.abs(ours - plain).mean() < 0.01
    assert (ours.argmax(1) == plain.argmax(1)).mean() >= 0.95


def test_bundled_vgg16_and_stand_in_know_the_bundled_sample(conse: ConSE) -> None:
    """Far above the 1 in 7 of chance, on photos of another kind than those learned from."""
    classifier = ImageClassifier(VGG16_CHECKPOINT)
    texts = conse.encode_texts(tuple(TEXTS))
    photos = [read_photo(file) for file in PHOTOS]
    labels = np.array([CATEGORIES.index(file.parent.name) for file in PHOTOS])
    probabilities = classifier.classify(prepare(photos, classifier.processor))
    similarities, _ = zero_shot_scores(
        conse.encode_photos(prepare(photos, conse.processor)), texts, 1
    )
    assert (probabilities.argmax(1) == labels).mean() >= 0.5
    assert (similarities.argmax(1) == labels).mean() >= 0.5


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
    expected = np.array([of_name[name] for name in unique]) @ conse._encode(unique)
    expected /= np.linalg.norm(expected)
    embedding = conse.encode_photos(prepare([photo], conse.processor))[0]
    np.testing.assert_allclose(embedding, expected, atol=1e-4)


def test_logit_scale_of_the_stand_in_is_the_best_on_real_photos(
    conse: ConSE, flipkart: Path
) -> None:
    photos = load_photos(flipkart / "products.csv")["validation"]
    embeddings = conse.encode_photos(prepare(photos["image"], conse.processor))
    texts, labels = conse.encode_texts(tuple(TEXTS)), list(photos["label"])

    def cross_entropy(logit_scale: float) -> float:
        _, shares = zero_shot_scores(embeddings, texts, logit_scale)
        return -np.log(shares[np.arange(len(labels)), labels]).mean()

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
    for processor in (ImageClassifier(VGG16_CHECKPOINT).processor, conse.processor):
        letterboxed = picture(prepare([photo], processor)[0], processor)
        assert letterboxed.size == (224, 224)
        assert letterboxed.getpixel((5, 112))[0] > 240 > letterboxed.getpixel((5, 10))[0]
