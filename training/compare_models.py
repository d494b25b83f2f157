"""Compare both models on labelled photos: which to trust, on what, and how sure to be.

    python training/compare_models.py --dataset products.csv     # also a folder, or a Hub id
    python training/compare_models.py --dataset new.csv --all-test --output report

Leaves a folder (--output): the report that the page reads (space/report/report.py says what is in
it), and for people all figures as figures.json, pictures, and report.md, which shows them.
Temperatures and thresholds are fitted on validation; where a checkpoint was trained on validation
photos in the end, by the logits that it gave them before. The test photos are measured, and nothing
is chosen by them.
"""

import json
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict, concatenate_datasets
from jinja2 import Template

from data.categories import CATEGORIES, STUDY_ACCURACIES, STUDY_SIMILARITIES
from data.errors import UserError, run_script
from data.labelled import add_dataset_arguments, load_photos, summary
from data.texts import load_texts
from space.models.checkpoints import load_before_refit, load_models
from space.models.classifiers import FineTuned, Models, ZeroShot, by_name
from space.models.pixels import map_photos
from space.report.contact_sheet import save_contact_sheet
from space.report.figures import PLOTS
from space.report.metrics import measure
from space.report.report import Measured, Report, columns, save_report
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
    arguments.output.mkdir(parents=True, exist_ok=True)
    models = load_models(arguments.vgg16, arguments.zero_shot, texts)
    dataset = arguments.dataset and Path(arguments.dataset).name
    report, embeddings = compare(models, photos, dataset or "the bundled sample of rendered photos")
    save_report(report, embeddings, arguments.output)
    metrics = measure(report)
    illustrate(report, metrics, None if arguments.no_photos else photos, arguments.output)
    for model in report.models:
        right = report.of("test").decided()[model.key]["right"]
        print(f"{model.name} ({model.checkpoint}): {accuracy(right)}")
    print(metrics["both"]["test"]["in_words"])
    print(f"Report: {arguments.output / 'report.md'}")


def compare(models: Models, photos: DatasetDict, dataset: str) -> tuple[Report, np.ndarray]:
    """What each model says of each photo, and the zero-shot model's embeddings (n, d) float32.

    The models have the categories in any order; `dataset` says where the photos come from. Raises
    UserError where a model has other categories.
    """
    rows = concatenate_datasets(list(photos.values()))
    table = pd.DataFrame({"image": rows["name"]})
    table["split"] = np.repeat(list(photos), list(photos.num_rows.values()))
    table["label"] = np.array(CATEGORIES)[rows["label"]]
    validation = (table["split"] == "validation").to_numpy()
    measured, embeddings = [], None
    for model in models:
        if set(model.categories) != set(CATEGORIES):
            raise UserError(
                f"{model.identity.checkpoint} has other categories ({', '.join(model.categories)}) "
                "than the photos: measure it on photos of its own."
            )
        identity, texts, scale = model.identity, {}, 1.0
        if isinstance(model, ZeroShot):
            texts, scale = model.texts, model.encoder.logit_scale
            embeddings = map_photos(
                rows, model.processor, model.encoder.encode_photos, identity.name
            )
            logits = model.logits_of(embeddings)
        else:
            logits = map_photos(rows, model.processor, model.logits, identity.name)
            _put_before_refit(logits, model, rows, validation)
        logits = by_name(logits, model.categories, CATEGORIES).astype(float)
        table[columns(model.key, CATEGORIES)] = logits
        labels = np.array(rows["label"])[validation]
        temperature = fit_temperature(logits[validation], labels) if len(labels) else 1.0
        known = model.key, identity.name, model.kind, identity.checkpoint, identity.weights
        measured.append(Measured(*known, texts, scale, temperature))
    return Report(dataset, CATEGORIES, measured, table), embeddings


def illustrate(report: Report, metrics: dict, photos: DatasetDict | None, folder: Path) -> None:
    """Write what people look at: figures.json, the pictures, and report.md."""
    text = json.dumps(metrics, indent=1, ensure_ascii=False)
    (folder / "figures.json").write_text(text + "\n", encoding="utf-8")
    for name, plot in PLOTS.items():
        plot.save(report, folder / f"{name}.png")
    sheet = folder / "contact_sheet.jpg"
    sheet.unlink(missing_ok=True)
    if photos:
        save_contact_sheet(report, photos, sheet)
    page = Template(TEMPLATE.read_text(encoding="utf-8"), trim_blocks=True).render(
        report=report,
        metrics=metrics,
        contact_sheet=photos is not None,
        study_similarities=STUDY_SIMILARITIES,
        study_accuracies=STUDY_ACCURACIES,
    )
    (folder / "report.md").write_text(page + "\n", encoding="utf-8")


def _put_before_refit(
    logits: np.ndarray, model: FineTuned, photos: Dataset, validation: np.ndarray
) -> None:
    """Replace the logits of validation photos by those from before the refit."""
    before, categories = load_before_refit(model.folder)
    for row in np.flatnonzero(validation):
        if (known := before.get(photos["sha256"][int(row)])) is not None:
            logits[row] = by_name(known, categories, model.categories)


def _arguments() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
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
