"""Search better texts for the zero-shot model, on train and validation only.

    python training/search_texts.py --dataset products.csv     # also a folder, or a Hub id
    python training/compare_models.py --dataset products.csv --texts better_texts.json

Starting from the study's, the one text of data/candidate_texts.json that lowers the cross-entropy
most is added to its category, until none does (greedy forward selection), for whatever zero-shot
model the demo would load. The texts, and what each gained, go to --output; cross-validation, the
whole search repeated in each fold, says what they are worth on other photos.
"""

import json
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
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
from space.models.pixels import map_photos
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
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add_dataset_arguments(parser)
    parser.add_argument("--output", type=Path, default=Path("better_texts.json"))
    arguments = parser.parse_args()
    photos = load_photos(arguments.dataset, skip_broken=arguments.skip_broken)
    print(summary(photos))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
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
    arguments.output.write_text(text + "\n", encoding="utf-8")


def find_texts(model: ZeroShot, photos: Dataset) -> tuple[Texts, dict[str, object]]:
    """Better texts, searched on all the photos, and what the search is worth on others.

    Returns:
        The texts; and `photos` (their number), `accuracy_study`, `accuracy`,
        `accuracy_cross_validated` and `steps`: `category` and `text` of each that was added, what
        it `gained` in accuracy, and `accuracy` and `cross_entropy` with it.
    """
    labels = np.array(photos["label"])
    splits = folds(labels, list(photos["sha256"]), seed=0)
    images = map_photos(photos, model.processor, model.encoder.encode_photos, "Encoding photos")
    candidates = model.encoder.encode_texts(tuple(text for _, text in CANDIDATES))
    category_of = np.array([CATEGORIES.index(category) for category, _ in CANDIDATES])
    start, scale = model.with_texts(STUDY).weights, model.encoder.logit_scale

    def search_on(some: np.ndarray) -> list[int]:
        return search(images[some], labels[some], start, candidates, category_of, scale)

    right = 0.0
    for others, held_out in tqdm(splits, desc="Cross-validation", unit="fold"):
        learned = model.with_texts(_texts(search_on(others)))
        right += _figures(learned, images[held_out], labels[held_out])["accuracy"] * len(held_out)
    added = search_on(np.arange(len(labels)))
    models = [model.with_texts(_texts(added[:count])) for count in range(len(added) + 1)]
    history = pd.DataFrame([_figures(some, images, labels) for some in models])
    steps = pd.DataFrame([CANDIDATES[index] for index in added], columns=["category", "text"])
    steps["gained"] = np.diff(history["accuracy"])
    steps[list(history)] = history[1:].to_numpy()
    return _texts(added), {
        "photos": len(labels),
        "accuracy_study": history["accuracy"].iloc[0],
        "accuracy": history["accuracy"].iloc[-1],
        "accuracy_cross_validated": right / len(labels),
        "steps": steps.to_dict("records"),
    }


def search(
    images: np.ndarray,
    labels: np.ndarray,
    start: np.ndarray,
    candidates: np.ndarray,
    category_of: np.ndarray,
    logit_scale: float,
) -> list[int]:
    """Add the text that lowers the cross-entropy most, until none does: indices of candidates.

    A search for accuracy fits itself to the few photos that lie on a border, and its texts are
    worth less on other photos.

    Of unit length are `images` (n, d), `start` (k, d), one text of each category, and `candidates`
    (m, d). `labels` (n,) and `category_of` (m,), what each candidate may be added to, are ints in
    [0, k). For `logit_scale` see space/models/encoders.py.
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


def _figures(model: ZeroShot, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy and cross-entropy on photos, given their embeddings (n, d)."""
    logits = model.logits_of(images)
    log_likelihoods = log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    accuracy = (logits.argmax(1) == labels).mean()
    return {"accuracy": accuracy, "cross_entropy": -log_likelihoods.mean()}


def _texts(added: list[int]) -> Texts:
    """The study's texts and some candidates, by category."""
    texts = {category: list(of_category) for category, of_category in STUDY.items()}
    for category, text in (CANDIDATES[index] for index in added):
        texts[category].append(text)
    return texts


if __name__ == "__main__":
    run_script(main)
