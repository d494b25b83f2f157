"""Publish on the Hub: a trained model, the labelled photos as a data set, or the demo as a Space.

    python training/publish.py model user/name                           # what train_vgg.py left
    python training/publish.py model user/name --folder space/vgg16      # the bundled checkpoint
    python training/publish.py photos user/name --dataset products.csv   # (default: the sample)
    python training/publish.py demo user/name                            # what git tracks of it

The repository is made where it is missing, and then holds what is published and nothing else.
`load_dataset("user/name")` and `train_vgg.py --dataset user/name` then load the photos.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from datasets import DatasetDict
from datasets.info import DatasetInfosDict
from datasets.table import embed_table_storage
from huggingface_hub import DatasetCard, HfApi, get_session, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx
from jinja2 import Template

from data.categories import CATEGORIES
from data.errors import UserError, run_script
from data.labelled import add_dataset_arguments, load_photos, summary

# Between two packets, not for the whole: a connection that is silent for so long is lost.
SILENT_SECONDS = 60.0
REFUSALS = {
    401: "the Hub does not know the token; log in with `hf auth login`",
    402: "the Hub asks for a paid plan for this kind of repository",
    403: "the token may not write there; log in with one that may (`hf auth login`)",
    404: "there is no such repository or revision, or the token may not see it",
}
# With the training, so that whoever copies the Space can train, too.
DEMO = ("app.py", "README.md", "LICENSE", "requirements.txt", "data", "space", "training")

Paths = list[str] | str  # of paths in a folder


class PublishError(UserError):
    """Files that could not be published."""


def main() -> None:
    """Publish the model, the photos or the demo."""
    arguments = _arguments()
    address = arguments.repository, arguments.private, arguments.revision
    try:
        if arguments.what == "model":
            url = publish_model(arguments.folder, *address)
        elif arguments.what == "demo":
            files = tracked_files()
            print(*files, sep="\n")
            url = _publish(str(ROOT), "space", *address, files)
        else:
            photos = load_photos(arguments.dataset, skip_broken=arguments.skip_broken)
            print(summary(photos))
            with tempfile.TemporaryDirectory() as folder:
                write_dataset(photos, Path(folder), sample=arguments.dataset is None)
                url = _publish(folder, "dataset", *address)
    except PublishError as error:
        raise PublishError(f"{error} Then run this command again.") from error
    print(f"Published: {url}")


def publish_model(folder: Path, repository: str, private: bool, revision: str | None) -> str:
    """Put a trained folder into a repository of the Hub; its address."""
    if not (folder / "model.safetensors").is_file():
        raise PublishError(f"{folder} holds no trained model; train one with train_vgg.py.")
    with tempfile.TemporaryDirectory() as copy:
        for file in filter(Path.is_file, folder.glob("[!.]*")):
            shutil.copy(file, copy)
        if (card := Path(copy, "README.md")).exists():
            # The card's example names the folder; on the Hub it is the repository.
            text = re.sub(r'model="[^"]+"', f'model="{repository}"', card.read_text("utf-8"))
            card.write_text(text, "utf-8")
        return _publish(copy, "model", repository, private, revision)


def write_dataset(photos: DatasetDict, folder: Path, sample: bool) -> None:
    """Write each split as a Parquet file that holds its photos, and the data set's card.

    The bundled sample has a card; for other photos one is made of what they are.
    """
    if sample:
        card = DatasetCard.load(ROOT / "data/README.md")
    else:
        told = {"photos": sum(map(len, photos.values())), "categories": len(CATEGORIES)}
        template = Template((ROOT / "data/card.md").read_text("utf-8"))
        card = DatasetCard(template.render(told, table=summary(photos)))
    files = [{"split": split, "path": f"data/{split}.parquet"} for split in photos]
    card.data.configs = [{"config_name": "default", "data_files": files}]
    photos = photos.select_columns(["image", "label", "description"])
    DatasetInfosDict({"default": photos["train"].info}).to_dataset_card_data(card.data)
    card.save(folder / "README.md")
    for split, dataset in photos.items():
        embedded = dataset.with_format("arrow").map(embed_table_storage, batched=True)
        embedded.with_format(None).to_parquet(folder / "data" / f"{split}.parquet")


def tracked_files() -> list[str]:
    """What git tracks of the demo: what else lies there is private."""
    command = ["git", "ls-files", "-z", "--", *DEMO]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.split("\0")
    if files == [""]:
        raise PublishError("The demo is published from a clone: git knows what belongs to it.")
    return files[:-1]


def _publish(
    folder: str, kind: str, repository: str, private: bool, revision: str | None, files: Paths = "*"
) -> str:
    """Make a repository of a kind (model, dataset, space) hold a folder's files; its address."""
    if not get_token():
        raise PublishError("There is no token of the Hub here; log in with `hf auth login`.")
    get_session().timeout = httpx.Timeout(SILENT_SECONDS)
    api, place = HfApi(), {"repo_id": repository, "repo_type": kind}
    try:
        sdk = "gradio" if kind == "space" else None
        url = api.create_repo(**place, private=private or None, space_sdk=sdk, exist_ok=True)
        if revision:
            api.create_branch(**place, branch=revision, exist_ok=True)
        upload = {"folder_path": folder, "allow_patterns": files, "delete_patterns": "*"}
        api.upload_folder(**place, **upload, revision=revision, commit_message=f"Publish a {kind}")
    except (HfHubHTTPError, HFValidationError, OSError, RuntimeError, httpx.HTTPError) as error:
        raise PublishError(f"{repository} was not published: {_reason(error)}.") from error
    return str(url)


def _reason(error: Exception) -> str:
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return REFUSALS.get(status, f"the Hub refused it ({status}: {error.server_message})")
    if isinstance(error, HFValidationError):
        return "its name must be like user/name"
    if isinstance(error, OfflineModeIsEnabled):
        return "the Hub is switched off here (HF_HUB_OFFLINE)"
    return f"the connection to the Hub was lost ({type(error).__name__})"


def add_publishing_arguments(parser: ArgumentParser) -> None:
    """Add what every command that publishes takes, beside the repository's name."""
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--revision", help="a branch, made where it is missing (default: main)")


def _arguments() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    model, photos, demo = map(commands.add_parser, ("model", "photos", "demo"))
    for command in (model, photos, demo):
        command.add_argument("repository", help="user/name")
        add_publishing_arguments(command)
    model.add_argument("--folder", type=Path, default=Path("vgg16-finetuned"))
    add_dataset_arguments(photos)
    return parser.parse_args()


if __name__ == "__main__":
    run_script(main)
