"""Put a trained VGG16 into 8-bit integers, which the demo runs where it has a processor alone.

    pip install -r requirements.txt -r training/requirements-quantise.txt
    python training/quantise.py vgg16-finetuned --dataset products.csv

The quantised network is left beside the weights (quantised.safetensors), and what it costs in
quantised.json and in the card. It is calibrated on training photos; the test photos are measured.
"""

import json
import re
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from datasets import Dataset
from scipy.special import softmax
from transformers import AutoImageProcessor

from data.categories import CATEGORIES
from data.errors import UserError, run_script
from data.labelled import add_dataset_arguments, load_photos
from space.models import engine
from space.models.classifiers import by_name
from space.models.pixels import map_photos
from space.report.metrics import as_sentence
from training.model_folder import figures_of

CALIBRATION_PHOTOS = 300
SECTION = "## In 8-bit integers"


def main() -> None:
    """Load, quantise, measure, and say so in the card."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what train_vgg.py left")
    add_dataset_arguments(parser)
    arguments = parser.parse_args()
    folder, card = arguments.folder, arguments.folder / "README.md"
    if not engine.weight_files(folder):
        raise UserError(f"{folder} holds no trained model; train one with train_vgg.py.")
    photos = load_photos(arguments.dataset, skip_broken=arguments.skip_broken)
    train = photos["train"]
    calibration = train.select(range(0, len(train), -(-len(train) // CALIBRATION_PHOTOS)))
    quantise(folder, calibration)
    figures = {"calibration_photos": len(calibration), "nncf": version("nncf")}
    figures["test"] = compare_with_float32(folder, photos["test"])
    text = json.dumps(figures, indent=1, ensure_ascii=False)
    (folder / "quantised.json").write_text(text + "\n", encoding="utf-8")
    print(in_words(figures))
    if card.exists():
        card.write_text(with_section(card.read_text("utf-8"), figures), encoding="utf-8")


def quantise(folder: Path, photos: Dataset) -> None:
    """Quantise a checkpoint's network after training and leave it beside the weights.

    Weights by channel, activations by layer to what the photos reach (Jacob et al. 2018, arXiv
    1712.05877), the bias then corrected. Raises UserError where nncf is not installed.
    """
    try:
        import nncf
        from nncf.quantization.advanced_parameters import OverflowFix
    except ImportError as error:
        raise UserError(f"{error}: pip install -r training/requirements-quantise.txt.") from error

    processor = AutoImageProcessor.from_pretrained(folder)
    pixels = map_photos(photos, processor, np.asarray, "Preparing")
    model = engine.class_logits(engine.load_classifier(folder))
    network = nncf.quantize(
        engine.convert(model, torch.Size(pixels[:1].shape)),
        nncf.Dataset(np.split(pixels, len(pixels))),
        subset_size=len(pixels),
        # Without VNNI, products are added in 16 bits, which weights of 7 bits never overflow.
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
    )
    engine.save_quantised(network, folder)


def compare_with_float32(folder: Path, photos: Dataset) -> dict[str, object]:
    """The figures of the quantised network, and how far it agrees with float32.

    `same_choice` is a share; `probability_difference` the mean over photos and categories.
    """
    processor, model = AutoImageProcessor.from_pretrained(folder), engine.load_classifier(folder)
    categories = [model.config.id2label[index] for index in range(model.config.num_labels)]
    networks = engine.load_quantised(folder), engine.TorchNetwork(engine.class_logits(model))
    int8, float32 = (
        by_name(map_photos(photos, processor, network, "Measuring"), categories, CATEGORIES)
        for network in networks
    )
    return figures_of(int8, photos) | {
        "same_choice": float((int8.argmax(1) == float32.argmax(1)).mean()),
        "probability_difference": float(np.abs(softmax(int8, 1) - softmax(float32, 1)).mean()),
    }


def in_words(figures: dict[str, object]) -> str:
    """The figures of quantised.json in a sentence."""
    test = figures["test"]
    return (
        f"In 8-bit integers it is {as_sentence(test)} of test; its first choice is that of "
        f"float32 on {test['same_choice']:.1%}, and a probability differs by "
        f"{test['probability_difference']:.4f} on average."
    )


def with_section(card: str, figures: dict[str, object]) -> str:
    """A model card with what the quantised network is worth, before the section on training."""
    section = f"""{SECTION}

`quantised.safetensors` holds the same network for OpenVINO, quantised after training with NNCF
{figures["nncf"]}, calibrated on {figures["calibration_photos"]} training photos; the demo runs it
on a processor. {in_words(figures)}

"""
    pattern = rf"({SECTION}\n.*?)?(?=## Training)"
    return re.sub(pattern, lambda _: section, card, count=1, flags=re.DOTALL)


if __name__ == "__main__":
    run_script(main)
