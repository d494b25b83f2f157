"""Publish the labelled photos on the Hub as a data set, with its splits and its card.

    python data/publish.py user/name                             # the bundled sample
    python data/publish.py user/name --dataset products.csv --private

`load_dataset("user/name")` and `train_vgg.py --dataset user/name` then load what was published.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from datasets import DatasetDict
from datasets.info import DatasetInfosDict
from datasets.table import embed_table_storage
from huggingface_hub import DatasetCard, DatasetCardData

from data.categories import CATEGORIES
from data.hub import PublishError, publish, publishing_parser
from data.labelled import add_dataset_arguments, load_photos, summary
from data.sources import DataError

CARD = Path(__file__).parent / "README.md"


def main() -> None:
    """Load, write as Parquet files with a card, publish."""
    parser = publishing_parser(__doc__)
    add_dataset_arguments(parser)
    arguments = parser.parse_args()
    photos = load_photos(arguments.dataset, skip_broken=arguments.skip_broken)
    print(summary(photos))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset(photos, folder, sample=arguments.dataset is None)
        url = publish(
            {
                file.relative_to(folder).as_posix(): file
                for file in folder.rglob("*")
                if file.is_file()
            },
            arguments.repository,
            "dataset",
            private=arguments.private,
            revision=arguments.revision,
        )
    print(f"Published: {url}")


def write_dataset(photos: DatasetDict, folder: Path, sample: bool) -> None:
    """Write each split as a Parquet file that holds its photos, and the data set's card.

    Args:
        photos: splits of image, label and description.
        folder: an empty one.
        sample: whether the photos are the bundled ones, which have a card already.
    """
    card = DatasetCard.load(CARD) if sample else _card(photos)
    card.data.configs = [
        {
            "config_name": "default",
            "data_files": [{"split": split, "path": f"data/{split}.parquet"} for split in photos],
        }
    ]
    DatasetInfosDict({"default": photos["train"].info}).to_dataset_card_data(card.data)
    card.save(folder / "README.md")
    for split, dataset in photos.items():
        embedded = dataset.with_format("arrow").map(embed_table_storage, batched=True)
        embedded.with_format(None).to_parquet(folder / "data" / f"{split}.parquet")


def _card(photos: DatasetDict) -> DatasetCard:
    """A card that says what the photos themselves tell: their number, categories and splits."""
    data = DatasetCardData(
        license="unknown",
        pretty_name="Labelled product photos",
        task_categories=["image-classification"],
    )
    table = summary(photos).replace("\n", "\n    ")
    return DatasetCard(
        f"---\n{data}\n---\n\n# Labelled product photos\n\n"
        f"{sum(map(len, photos.values()))} photos in {len(CATEGORIES)} categories. Byte-identical "
        "photos are in one split, and a photo's split follows from its content.\n\n"
        f"    {table}\n"
    )


if __name__ == "__main__":
    try:
        main()
    except DataError as error:
        raise SystemExit(str(error)) from None
    except PublishError as error:
        raise SystemExit(f"{error} Then run this command again.") from None
