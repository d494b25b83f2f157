"""Sets of texts: averaged, found by name or file, searched without the test photos, and judged."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import concatenate_datasets
from safetensors.numpy import load_file
from scipy.special import softmax
from sklearn.metrics import log_loss

from data.categories import CATEGORIES, DESCRIPTIONS
from data.labelled import SAMPLE, load_photos
from data.texts import BETTER, STUDY, Texts, TextsError, load_texts
from space.models.classifiers import Identity, Models, ZeroShot
from space.models.encoders import CLIP
from space.models.pixels import prepare
from space.report.report import EMBEDDINGS, REPORT
from training import search_texts
from training.search_texts import CANDIDATES
from training.tune import folds


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_category_is_the_mean_of_its_texts(small_clip: Path) -> None:
    encoder = CLIP(small_clip)
    texts = {"mugs": ["a cup", "a photo of a mug", "a glass"], "watches": ["a watch"]}
    cup, mug, glass, watch = encoder.encode_texts(sum(map(tuple, texts.values()), ()))
    mean = (cup + mug + glass) / 3
    found = ZeroShot(encoder, texts, Identity("CLIP", "", "", 0, 0)).weights
    np.testing.assert_allclose(found, [mean / np.linalg.norm(mean), watch], atol=1e-6)


def test_names_and_files(tmp_path: Path) -> None:
    assert load_texts("study") == {name: [text] for name, text in DESCRIPTIONS.items()}
    assert load_texts("better") == load_texts(str(BETTER))
    file = tmp_path / "mine.json"
    mine = {name: [f"one {name}", f"two {name}"] for name in reversed(CATEGORIES)}
    file.write_text(json.dumps(mine))
    assert load_texts(str(file)) == mine and list(load_texts(str(file))) == CATEGORIES


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "neither study nor better nor a JSON file that can be read"),
        ("{", "not JSON"),
        ("\ufeff\udc00", "a JSON file that can be read"),
        (STUDY | {"watches": []}, "one text or more for watches"),
        (STUDY | {"watches": "a watch"}, "one text or more for watches"),
        (STUDY | {"watches": ["a watch", " "]}, "one text or more for watches"),
        (STUDY | {"watches": [1]}, "one text or more for watches"),
        (STUDY | {"wristwatches": ["a watch"]}, "missing or unknown: wristwatches"),
        ({"texts": {"watches": ["a watch"]}}, "missing or unknown: baby care, beauty"),
        ({"texts": ["a watch"]}, "missing or unknown: "),
        (["a watch"], "missing or unknown: baby care"),
    ],
)
def test_each_fault_is_named_in_a_sentence(content: object, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    if isinstance(content, str):
        file.write_bytes(content.encode("utf-8", "surrogatepass"))
    elif content is not None:
        file.write_text(json.dumps(content))
    with pytest.raises(TextsError, match=sentence) as raised:
        load_texts(str(file))
    assert str(file) in str(raised.value) and str(raised.value).endswith(".")


def test_search_adds_the_best_text_each_time_and_stops_when_none_helps() -> None:
    rng = np.random.default_rng(0)
    labels, images, start = rng.integers(0, 3, 60), unit(rng, 60, 8), unit(rng, 3, 8)
    images[np.arange(60), labels] += 0.5
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    candidates, category_of = unit(rng, 30, 8), np.repeat([0, 1, 2], 10)

    def loss(added: list[int]) -> float:
        means = [
            np.mean(
                [start[category], *candidates[[i for i in added if category_of[i] == category]]], 0
            )
            for category in range(3)
        ]
        embeddings = np.stack([mean / np.linalg.norm(mean) for mean in means])
        return log_loss(labels, softmax(20 * images @ embeddings.T, axis=1))

    added = search_texts.search(images, labels, start, candidates, category_of, 20)
    assert len(added) == len(set(added)) > 3
    for count, chosen in enumerate(added):
        before = added[:count]
        with_each = [loss([*before, i]) if i not in before else np.inf for i in range(30)]
        assert np.argmin(with_each) == chosen and with_each[chosen] < loss(before)
    assert all(loss([*added, i]) >= loss(added) for i in range(30) if i not in added)


def test_command_finds_what_train_and_validation_alone_say(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every figure that it writes, computed again without the test photos."""
    for category in CATEGORIES:
        (tmp_path / category).mkdir()
        for photo in sorted((SAMPLE / category).iterdir())[:6]:
            shutil.copy(photo, tmp_path / category)
    output = tmp_path / "texts.json"
    command = ["search_texts.py", "--dataset", str(tmp_path), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", command)
    # Loaded already, and with it the texts are encoded once.
    monkeypatch.setattr(search_texts, "load_zero_shot", lambda: models.zero_shot)
    search_texts.main()
    found = json.loads(output.read_text(encoding="utf-8"))["found"]
    assert load_texts(str(output)) == with_steps(found["steps"])

    photos, model = load_photos(tmp_path), models.zero_shot.encoder
    learned = concatenate_datasets([photos["train"], photos["validation"]])
    images = model.encode_photos(prepare(learned["image"], model.processor))
    labels = np.array(learned["label"])
    assert found["photos"] == len(learned) == 35 and len(photos["test"]) == 7

    def steps_on(some: np.ndarray) -> list[dict]:
        start = model.encode_texts(tuple(DESCRIPTIONS.values()))
        candidates = model.encode_texts(tuple(text for _, text in CANDIDATES))
        category_of = np.array([CATEGORIES.index(category) for category, _ in CANDIDATES])
        added = search_texts.search(
            images[some], labels[some], start, candidates, category_of, model.logit_scale
        )
        return [dict(zip(("category", "text"), CANDIDATES[index], strict=True)) for index in added]

    def right(steps: list[dict], some: np.ndarray) -> int:
        texts = with_steps(steps)
        means = [model.encode_texts(tuple(texts[name])).mean(0) for name in CATEGORIES]
        cosines = images[some] @ np.stack([mean / np.linalg.norm(mean) for mean in means]).T
        return np.sum(cosines.argmax(1) == labels[some])

    everything = np.arange(35)
    steps = steps_on(everything)
    assert [{key: step[key] for key in steps[0]} for step in found["steps"]] == steps
    accuracies = [right(steps[:count], everything) / 35 for count in range(len(steps) + 1)]
    assert [step["accuracy"] for step in found["steps"]] == pytest.approx(accuracies[1:])
    assert [step["gained"] for step in found["steps"]] == pytest.approx(np.diff(accuracies))
    assert [found["accuracy_study"], found["accuracy"]] == pytest.approx(
        [accuracies[0], accuracies[-1]]
    )
    held_out = [
        right(steps_on(others), rest)
        for others, rest in folds(labels, list(learned["sha256"]), seed=0)
    ]
    assert found["accuracy_cross_validated"] == pytest.approx(sum(held_out) / 35)


def with_steps(steps: list[dict]) -> Texts:
    """The study's texts and what the steps added."""
    texts = {category: [text] for category, text in DESCRIPTIONS.items()}
    for step in steps:
        texts[step["category"]].append(step["text"])
    return texts


def test_better_texts_are_candidates_and_as_recorded() -> None:
    kept = json.loads(BETTER.read_text(encoding="utf-8"))
    found = kept["found"]
    assert load_texts("better") == with_steps(found["steps"]) and len(kept["texts"]) == 7
    assert {(step["category"], step["text"]) for step in found["steps"]} <= set(CANDIDATES)
    gained = sum(step["gained"] for step in found["steps"])
    assert found["accuracy_study"] + gained == pytest.approx(found["accuracy"])
    assert found["steps"][-1]["accuracy"] == pytest.approx(found["accuracy"])


def test_better_texts_gain_as_much_as_recorded(models: Models) -> None:
    """On the embeddings of the report that ships."""
    found = json.loads(BETTER.read_text(encoding="utf-8"))["found"]
    assert found["weights"] == models.zero_shot.identity.weights
    predictions = pd.read_csv(REPORT / "predictions.csv")
    learned = (predictions["split"] != "test").to_numpy()
    labels = predictions["label"].map(CATEGORIES.index).to_numpy()[learned]
    images = load_file(REPORT / EMBEDDINGS)["image_embeddings"][learned]
    assert found["photos"] == len(images)
    for name, key in (("study", "accuracy_study"), ("better", "accuracy")):
        logits = models.zero_shot.with_texts(load_texts(name)).logits_of(images)
        # One photo on a border may fall to either side on another processor.
        accuracy = (logits.argmax(1) == labels).mean()
        assert accuracy == pytest.approx(found[key], abs=1.5 / len(images))
