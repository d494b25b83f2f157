"""Compare both models on labelled photos: which to trust, on what, and how sure to be.

    python training/compare_models.py --dataset products.csv     # also a folder, or a Hub id
    python training/compare_models.py --dataset new.csv --all-test --output report

Leaves a folder (--output): the report that the page reads (space/report/report.py says what is in
it), and for people all figures as figures.json, pictures, and report.md, which shows them.
Temperatures and thresholds are fitted on validation; where a checkpoint was trained on validation
photos in the end, by the logits that it gave them before. The test photos are measured, and nothing
is chosen by them.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict, concatenate_datasets
from jinja2 import Template

from data.categories import CATEGORIES
from data.errors import UserError, run_script
from data.labelled import add_dataset_arguments, load_photos, summary
from data.texts import load_texts
from space.models.checkpoints import load_before_refit, load_models
from space.models.classifiers import FineTuned, Model, Models, ZeroShot, by_name
from space.models.pixels import prepare_all
from space.report import figures
from space.report.contact_sheet import save_contact_sheet
from space.report.metrics import measure
from space.report.report import Description, Measured, Report, columns, save_report
from space.report.statistics import accuracy, fit_temperature

TEMPLATE = Path(__file__).parents[1] / "space" / "report" / "comparison.md"


def main() -> None:
    """Load, score, measure, write and print."""
    arguments = _arguments()
    texts = load_texts(arguments.texts)
    photos = load_photos(
        arguments.dataset, skip_broken=arguments.skip_broken, all_test=arguments.all_test
    )
    print(summary(photos))
    models = load_models(arguments.vgg16, arguments.zero_shot, texts)
    dataset = arguments.dataset and Path(arguments.dataset).name
    report, embeddings = compare(models, photos, dataset or "the bundled sample of rendered photos")
    save_report(report, embeddings, arguments.output)
    metrics = measure(report)
    illustrate(report, metrics, None if arguments.no_photos else photos, arguments.output)
    for model in report.models:
        right = report.of("test").decided()[model.key]["right"].to_numpy()
        print(f"{model.name} ({model.checkpoint}): {accuracy(right)}")
    print(metrics["both"]["test"]["in_words"])
    print(f"Report: {arguments.output / 'report.md'}")


def compare(models: Models, photos: DatasetDict, dataset: str) -> tuple[Report, np.ndarray]:
    """What each model says of each photo, and the zero-shot model's embeddings (n, d) float32.

    Args:
        models: of the data set's categories, in any order.
        photos: by split.
        dataset: where the photos come from, in words.

    Raises:
        UserError: a model has other categories.
    """
    rows = concatenate_datasets(list(photos.values()))
    table = pd.DataFrame(
        {
            "image": rows["name"],
            "split": [split for split, part in photos.items() for _ in range(len(part))],
            "label": [CATEGORIES[label] for label in rows["label"]],
        }
    )
    validation = (table["split"] == "validation").to_numpy()
    measured, embeddings = [], None
    for model in models:
        if set(model.categories) != set(CATEGORIES):
            raise UserError(
                f"{model.identity.checkpoint} has other categories ({', '.join(model.categories)}) "
                "than the photos: measure it on photos of its own."
            )
        if isinstance(model, ZeroShot):
            embeddings = _over(model, rows, model.encoder.encode_photos)
            logits = model.logits_of(embeddings)
        else:
            logits = _before_refit(model, rows, _over(model, rows, model.logits), validation)
        logits = by_name(logits, model.categories, CATEGORIES).astype(float)
        table[columns(model.key, CATEGORIES)] = logits
        labels = np.array(rows["label"])[validation]
        temperature = fit_temperature(logits[validation], labels) if len(labels) else 1.0
        measured.append(_describe(model, temperature))
    return Report(Description(dataset, CATEGORIES, measured), table), embeddings


def illustrate(report: Report, metrics: dict, photos: DatasetDict | None, folder: Path) -> None:
    """Write what people look at: figures.json, the pictures, and report.md."""
    text = json.dumps(metrics, indent=1, ensure_ascii=False)
    (folder / "figures.json").write_text(text + "\n", encoding="utf-8")
    for name, plot in figures.PLOTS.items():
        plot.save(report, folder / f"{name}.png")
    sheet = folder / "contact_sheet.jpg"
    sheet.unlink(missing_ok=True)
    if photos:
        save_contact_sheet(report, photos, sheet)
    page = Template(TEMPLATE.read_text(encoding="utf-8"), trim_blocks=True).render(
        report=report,
        metrics=metrics,
        contact_sheet=photos is not None,
        study_similarities=figures.STUDY_SIMILARITIES,
        study_accuracies=figures.STUDY_ACCURACIES,
    )
    (folder / "report.md").write_text(page + "\n", encoding="utf-8")


def _over(model: Model, photos: Dataset, function: object) -> np.ndarray:
    """What a function makes of all photos' pixels, batch by batch."""
    batches = prepare_all(photos, model.processor, model.identity.name)
    return np.concatenate([*map(function, batches)])


def _before_refit(
    model: FineTuned, photos: Dataset, logits: np.ndarray, validation: np.ndarray
) -> np.ndarray:
    """The logits, with those of validation photos from before the model was trained on them."""
    before, categories = load_before_refit(model.folder)
    for row in np.flatnonzero(validation):
        if (known := before.get(photos["sha256"][int(row)])) is not None:
            logits[row] = by_name(known, categories, model.categories)
    return logits


def _describe(model: Model, temperature: float) -> Measured:
    zero_shot = isinstance(model, ZeroShot)
    return Measured(
        model.key,
        model.identity.name,
        model.kind,
        model.identity.checkpoint,
        model.identity.weights,
        texts=model.texts if zero_shot else {},
        logit_scale=model.encoder.logit_scale if zero_shot else 1.0,
        temperature=temperature,
    )


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
    run_script(main)
