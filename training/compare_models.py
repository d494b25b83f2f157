"""Compare both models on labelled photos: which to trust, on what, and how sure to be.

    python training/compare_models.py --dataset products.csv     # also a folder, or a Hub id
    python training/compare_models.py --dataset new.csv --all-test --output report

Leaves a folder (--output): predictions.csv, a row a photo; metrics.json, all figures; image
embeddings; pictures; and report.md, which shows them. The page shows the report in space/report,
and its figures beside these checkpoints and texts alone. Temperatures and thresholds are fitted on
validation; where a checkpoint was trained on validation photos in the end, by what it said of them
before. The test photos are measured, and nothing is chosen by them.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict, Image, concatenate_datasets

from data.categories import CATEGORIES
from data.labelled import add_dataset_arguments, digests, load_photos, summary
from data.sources import DataError
from data.texts import Texts, TextsError, as_lines, load_texts
from space.models.checkpoints import BEFORE_REFIT, CheckpointError
from space.models.classifiers import category_embeddings, embed_all, prepare_all, zero_shot_scores
from space.models.scoring import Models, load_models
from space.report.figures import write_report
from space.report.metrics import Calibration, ClassificationReport, as_sentence
from space.report.report import MODELS, decisions, expected, logits, scores
from space.report.statistics import (
    coverage_at_precision,
    difference_in_words,
    fit_temperature,
    paired_difference,
)

PRECISIONS = (0.95, 0.99)


def main() -> None:
    """Load, score, measure, write and print."""
    arguments = _arguments()
    photos = load_photos(
        arguments.dataset, skip_broken=arguments.skip_broken, all_test=arguments.all_test
    )
    print(summary(photos))
    models = load_models(arguments.vgg16, arguments.zero_shot)
    texts = load_texts(arguments.texts)
    predictions, embeddings = score(models, photos, texts)
    metrics = measure(predictions, describe(models, texts))
    write_report(
        arguments.output,
        predictions,
        metrics,
        embeddings,
        dataset=arguments.dataset or "the bundled sample of rendered photos",
        photos=None if arguments.no_photos else photos,
    )
    for model in MODELS:
        figures = metrics[model]
        print(f"{figures['model']} ({figures['checkpoint']}): {as_sentence(figures['test'])}")
    print(metrics["both"]["test"]["in_words"])
    print(f"Report: {arguments.output / 'report.md'}")


def score(models: Models, photos: DatasetDict, texts: Texts) -> tuple[pd.DataFrame, np.ndarray]:
    """What both models say of each photo: predictions (see space/report.py), image embeddings.

    Args:
        models: both.
        photos: by split.
        texts: of the categories, for the zero-shot model.
    """
    everything = concatenate_datasets(list(photos.values()))
    batches = prepare_all(everything, models.vgg16.processor, models.vgg16_identity.model)
    probabilities = np.concatenate([*map(models.vgg16.classify, batches)])
    embeddings = embed_all(models.zero_shot, everything)
    similarities, shares = zero_shot_scores(
        embeddings,
        category_embeddings(models.zero_shot, texts.values()),
        models.zero_shot.logit_scale,
    )
    table = pd.concat([_names(rows, split) for split, rows in photos.items()], ignore_index=True)
    known = _before_refit(models, table, probabilities)
    del table["sha256"]
    columns = {"vgg16": (known, known), "zero_shot": (similarities, shares)}
    for model, (values, certainty) in columns.items():
        table[model] = np.array(CATEGORIES)[values.argmax(1)]
        table[f"{model}_probability"] = certainty.max(1).astype(float)
        table[[f"{model} {category}" for category in CATEGORIES]] = values.astype(float)
    return table, embeddings


def describe(models: Models, texts: Texts) -> dict[str, dict]:
    """What was measured: for each model its checkpoint, its logit scale and its texts."""
    described = {
        "vgg16": (models.vgg16_identity, 1.0, ()),
        "zero_shot": (models.zero_shot_identity, models.zero_shot.logit_scale, as_lines(texts)),
    }
    return {
        key: {
            "model": identity.model,
            "checkpoint": identity.checkpoint,
            "revision": identity.revision,
            "texts": list(compared),
            "logit_scale": logit_scale,
        }
        for key, (identity, logit_scale, compared) in described.items()
    }


def measure(predictions: pd.DataFrame, described: dict[str, dict]) -> dict[str, dict]:
    """All figures of the report, from its predictions and the models' logit scales alone."""
    metrics = {model: dict(described[model]) for model in MODELS}
    fitted_on = predictions[predictions["split"] == "validation"]
    labels = fitted_on["label"].map(CATEGORIES.index).to_numpy()
    for model, entry in metrics.items():
        fitted = logits(fitted_on, model, entry["logit_scale"])
        entry["temperature"] = fit_temperature(fitted, labels) if len(labels) else 1.0
    decided = decisions(predictions, metrics)
    metrics["both"] = {}
    for split, rows in predictions.groupby("split", sort=False):
        of_split = {way: table.loc[rows.index] for way, table in decided.items()}
        for model in MODELS:
            metrics[model][split] = _figures(rows, model, of_split[model])
        metrics["both"][split] = _side_by_side(of_split, metrics)
    metrics["rules"] = _rules(predictions["split"], decided)
    metrics["importance"] = importance(predictions)
    return metrics


def _figures(rows: pd.DataFrame, model: str, calibrated: pd.DataFrame) -> dict[str, object]:
    """The figures of one model on one split."""
    index = {name: number for number, name in enumerate(CATEGORIES)}
    sure = {
        "predictions": rows[model].map(index).tolist(),
        "references": rows["label"].map(index).tolist(),
    }
    after = Calibration().compute(confidences=calibrated["confidence"].tolist(), **sure)
    return {
        **ClassificationReport().compute(**sure, categories=CATEGORIES),
        **Calibration().compute(confidences=rows[f"{model}_probability"].tolist(), **sure),
        "ece_calibrated": after["ece"],
        "reliability_calibrated": after["reliability"],
    }


def _side_by_side(decided: dict[str, pd.DataFrame], metrics: dict[str, dict]) -> dict[str, object]:
    """Both models on the same photos: who is right more often, and what agreement is worth."""
    right = {model: decided[model]["right"].to_numpy() for model in MODELS}
    found = paired_difference(right["vgg16"], right["zero_shot"])
    agree = decided["both"]["confidence"].to_numpy() > 0
    both = decided["both"][["confidence", "right"]].to_numpy().T
    return {
        "n": len(agree),
        "agree": int(agree.sum()),
        "right_where_they_agree": int(right["vgg16"][agree].sum()),
        "one_is_right": int((right["vgg16"] | right["zero_shot"]).sum()),
        **found._asdict(),
        "in_words": difference_in_words(found, *(metrics[model]["model"] for model in MODELS)),
        **{
            f"coverage_at_precision_{round(100 * precision)}": coverage_at_precision(
                both[0].astype(float), both[1].astype(bool), precision
            ).share
            for precision in PRECISIONS
        },
    }


def _rules(splits: pd.Series, decided: dict[str, pd.DataFrame]) -> list[dict[str, object]]:
    """What is sorted without a person at a threshold found on validation, and what on test."""
    rules = []
    for precision in PRECISIONS if (splits == "validation").any() else ():
        for way, table in decided.items():
            validation = table[splits == "validation"]
            found = coverage_at_precision(
                validation["confidence"].to_numpy(), validation["right"].to_numpy(), precision
            )
            rules.append(
                {
                    "precision": precision,
                    "by": way,
                    "threshold": found.threshold if found.share else None,
                    **{
                        split: expected(table[splits == split], found.threshold)
                        for split in ("validation", "test")
                    },
                }
            )
    return rules


def importance(predictions: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The study's global importance: a text's mean similarity to its photos and to the others."""
    similarities = scores(predictions, "zero_shot")
    found = {}
    for index, category in enumerate(CATEGORIES):
        own = (predictions["label"] == category).to_numpy()
        mean, others = (float(similarities[rows, index].mean()) for rows in (own, ~own))
        found[category] = {"own": mean, "others": others, "margin": mean - others}
    return found


def _names(rows: Dataset, split: str) -> pd.DataFrame:
    """The file, split, label and digest of each photo."""
    paths = [
        image["path"] or "" for image in rows.cast_column("image", Image(decode=False))["image"]
    ]
    return pd.DataFrame(
        {
            # The folder and the name: where they lie on this machine is nobody's business.
            "image": ["/".join(Path(path).parts[-2:]) for path in paths],
            "split": split,
            "label": [CATEGORIES[label] for label in rows["label"]],
            "sha256": digests(rows),
        }
    )


def _before_refit(models: Models, table: pd.DataFrame, probabilities: np.ndarray) -> np.ndarray:
    """The probabilities, with those of validation photos from before VGG16 was trained on them."""
    file = models.vgg16.folder / BEFORE_REFIT
    if not file.exists():
        return probabilities
    before = pd.read_csv(file, index_col="sha256")[CATEGORIES]
    before = before[~before.index.duplicated()]
    known = (table["split"] == "validation") & table["sha256"].isin(before.index)
    probabilities[known] = before.loc[table["sha256"][known]]
    return probabilities


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_dataset_arguments(parser)
    parser.add_argument("--output", type=Path, default=Path("report"), help="a folder")
    parser.add_argument("--vgg16", metavar="FOLDER_OR_ID", help="as VGG16_MODEL does")
    parser.add_argument("--zero-shot", metavar="FOLDER_OR_ID", help="as ZERO_SHOT_MODEL does")
    parser.add_argument(
        "--texts", default="study", help="study (default), better, or a JSON file of one's own"
    )
    parser.add_argument(
        "--all-test", action="store_true", help="measure on all photos: no model has seen any"
    )
    parser.add_argument(
        "--no-photos",
        action="store_true",
        help="draw no contact sheet, of photos that must not be passed on",
    )
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except (DataError, CheckpointError, TextsError) as error:
        raise SystemExit(str(error)) from None
