"""Search better texts for the zero-shot model, on train and validation only.

    python training/search_texts.py --dataset products.csv     # also a folder, or a Hub id
    python training/compare_models.py --dataset products.csv --texts better_texts.json

Starting from the study's, the one text of data/candidate_texts.json that lowers the cross-entropy
most is added to its category, until none does (greedy forward selection), for whatever zero-shot
model the demo would load. The texts, and what each gained, go to --output; cross-validation, the
whole search repeated in each fold, says what they are worth on other photos.
"""

import argparse
import json
import sys
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from datasets import Dataset, concatenate_datasets
from scipy.special import log_softmax, logsumexp
from sklearn.preprocessing import normalize
from tqdm.auto import tqdm

from data.categories import CATEGORIES
from data.errors import run_script
from data.labelled import add_dataset_arguments, load_photos, summary
from data.texts import STUDY, Texts
from space.models.checkpoints import load_zero_shot
from space.models.classifiers import ZeroShot
from space.models.pixels import prepare_all
from training.tune import folds

_PARTS = json.loads((Path(__file__).parents[1] / "data/candidate_texts.json").read_text("utf-8"))
# (category, text): what is sold in each category, by its name and by the descriptions of train and
# validation.
CANDIDATES: list[tuple[str, str]] = [
    (category, template.format(noun))
    for category, nouns in _PARTS["nouns"].items()
    for noun in nouns
    for template in _PARTS["templates"]
]


def main() -> None:
    """Load, search, print and write."""
    arguments = _arguments()
    photos = load_photos(arguments.dataset, skip_broken=arguments.skip_broken)
    print(summary(photos))
    model = load_zero_shot()
    print(f"Searching texts for {model.identity.name} ({model.identity.checkpoint}).")
    texts, found = find_texts(model, concatenate_datasets([photos["train"], photos["validation"]]))
    for step in found["steps"]:
        print(f"{step['accuracy']:.1%} ({step['gained']:+.1%})  {step['category']}: {step['text']}")
    print(
        f"Right on {found['photos']} photos of train and validation: {found['accuracy_study']:.1%} "
        f"with the study's texts, {found['accuracy']:.1%} with {len(found['steps'])} more; by "
        f"cross-validation {found['accuracy_cross_validated']:.1%}."
    )
    model_of = {key: getattr(model.identity, key) for key in ("name", "checkpoint", "weights")}
    text = json.dumps({"texts": texts, "found": model_of | found}, indent=1, ensure_ascii=False)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text + "\n", encoding="utf-8")


def find_texts(model: ZeroShot, photos: Dataset) -> tuple[Texts, dict[str, object]]:
    """Better texts, searched on all the photos, and what the search is worth on others.

    Returns:
        The texts, and `photos` (their number), `accuracy_study`, `accuracy` and
        `accuracy_cross_validated`, and `steps`: `category` and `text` of each that was added, what
        it `gained` in accuracy, and `accuracy` and `cross_entropy` with it.
    """
    labels = np.array(photos["label"])
    splits = folds(labels, list(photos["sha256"]), seed=0)
    pixels = prepare_all(photos, model.processor, "Encoding photos")
    images = np.concatenate([*map(model.encoder.encode_photos, pixels)])
    candidates = model.encoder.encode_texts(tuple(text for _, text in CANDIDATES))
    category_of = np.array([CATEGORIES.index(category) for category, _ in CANDIDATES])
    start, scale = model.with_texts(STUDY).weights, model.encoder.logit_scale

    def search_on(some: np.ndarray) -> list[int]:
        return search(images[some], labels[some], start, candidates, category_of, scale)

    right = 0.0
    for others, held_out in tqdm(splits, desc="Cross-validation", unit="fold"):
        figures = _figures(model, images[held_out], labels[held_out], search_on(others))
        right += figures["accuracy"] * len(held_out)
    added = search_on(np.arange(len(labels)))
    history = [_figures(model, images, labels, added[:count]) for count in range(len(added) + 1)]
    gains = [after["accuracy"] - before["accuracy"] for before, after in pairwise(history)]
    return _texts(added), {
        "photos": len(labels),
        "accuracy_study": history[0]["accuracy"],
        "accuracy": history[-1]["accuracy"],
        "accuracy_cross_validated": right / len(labels),
        "steps": [
            {
                "category": CANDIDATES[index][0],
                "text": CANDIDATES[index][1],
                "gained": gain,
                **after,
            }
            for index, gain, after in zip(added, gains, history[1:], strict=True)
        ],
    }


def search(
    images: np.ndarray,
    labels: np.ndarray,
    start: np.ndarray,
    candidates: np.ndarray,
    category_of: np.ndarray,
    logit_scale: float,
) -> list[int]:
    """Add the text that lowers the cross-entropy most, until none does.

    A search for accuracy fits itself to the few photos that lie on a border, and its texts are
    worth less on other photos.

    Args:
        images, start, candidates: (n, d), (k, d) and (m, d), of unit length; `start` is a text of
            each category.
        labels, category_of: (n,) and (m,) int in [0, k); the second is the category that each
            candidate may be added to.
        logit_scale: see space/models/encoders.py.

    Returns:
        The indices of the added candidates, in the order in which they were added.
    """
    added: list[int] = []
    sums = start.copy()
    while True:
        logits = logit_scale * images @ normalize(sums).T
        label = logits[np.arange(len(labels)), labels][:, None]
        without = [logsumexp(np.delete(logits, k, axis=1), axis=1) for k in range(len(sums))]
        trials = logit_scale * images @ normalize(sums[category_of] + candidates).T
        own = np.where(labels[:, None] == category_of, trials, label)
        losses = (np.logaddexp(np.stack(without, 1)[:, category_of], trials) - own).mean(0)
        losses[added] = np.inf
        best = int(losses.argmin())
        if losses[best] >= (logsumexp(logits, axis=1) - label[:, 0]).mean():
            return added
        added.append(best)
        sums[category_of[best]] += candidates[best]


def _figures(
    model: ZeroShot, images: np.ndarray, labels: np.ndarray, added: list[int]
) -> dict[str, float]:
    """Accuracy and cross-entropy on photos with the study's texts and some candidates."""
    logits = model.with_texts(_texts(added)).logits_of(images)
    log_probabilities = log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    return {
        "accuracy": float((logits.argmax(1) == labels).mean()),
        "cross_entropy": float(-log_probabilities.mean()),
    }


def _texts(added: list[int]) -> Texts:
    """The study's texts and some candidates, by category."""
    texts = {category: list(of_category) for category, of_category in STUDY.items()}
    for category, text in (CANDIDATES[index] for index in added):
        texts[category].append(text)
    return texts


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_dataset_arguments(parser)
    parser.add_argument("--output", type=Path, default=Path("better_texts.json"))
    return parser.parse_args()


if __name__ == "__main__":
    run_script(main)
