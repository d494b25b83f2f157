"""Measure both models of the demo on the test split, and write the report that the page shows.

    python training/compare_models.py --dataset products.csv     # also a folder, or a Hub id

VGG16_MODEL and ZERO_SHOT_MODEL choose the checkpoints, as they do for the demo. The report
(--output, by default the one that ships with the demo) names the checkpoints and the texts that
were measured; the page shows its figures beside these alone.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from datasets import Dataset
from tqdm.auto import tqdm

from data.categories import CATEGORIES, DESCRIPTIONS
from data.load import DataError, add_dataset_arguments, load_photos, summary
from space.checkpoints import CheckpointError
from space.compare import REPORT, Models, compare, load_models
from training.metrics import ClassificationReport, as_sentence


def main() -> None:
    """Load, measure on test, write and print."""
    arguments = _arguments()
    photos = load_photos(arguments.dataset, skip_broken=arguments.skip_broken)
    print(summary(photos))
    report = measure(load_models(), photos["test"])
    arguments.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (arguments.output / "metrics.json").write_text(text + "\n", encoding="utf-8")
    for model in report.values():
        print(f"{model['model']} ({model['checkpoint']}): {as_sentence(model['test'])}")


def measure(models: Models, photos: Dataset) -> dict[str, dict]:
    """The figures of both models on photos, by the function that the demo's API runs."""
    first_choices: dict[str, list[int]] = {"vgg16": [], "zero_shot": []}
    for image in tqdm(photos["image"], desc="Comparing", unit="photo"):
        _, _, details = compare(models, image)
        for model, category in details["categories"].items():
            first_choices[model].append(CATEGORIES.index(category))
    identities = {"vgg16": models.vgg16_identity, "zero_shot": models.zero_shot_identity}
    texts = {"vgg16": [], "zero_shot": list(DESCRIPTIONS.values())}
    return {
        key: {
            "model": identity.model,
            "checkpoint": identity.checkpoint,
            "revision": identity.revision,
            "texts": texts[key],
            "test": ClassificationReport().compute(
                predictions=first_choices[key],
                references=list(photos["label"]),
                categories=CATEGORIES,
            ),
        }
        for key, identity in identities.items()
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_dataset_arguments(parser)
    parser.add_argument("--output", type=Path, default=REPORT.parent, help="a folder")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except (DataError, CheckpointError) as error:
        raise SystemExit(str(error)) from None
