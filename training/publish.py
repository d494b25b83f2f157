"""Publish a trained folder on the Hub as a model, without training again.

python training/publish.py user/name                            # what train_vgg.py left
python training/publish.py user/name --folder space/vgg16       # the bundled checkpoint
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from data.hub import PublishError, publish, publishing_parser


def publish_model(folder: Path, repository: str, private: bool, revision: str | None) -> str:
    """Put a trained folder into a repository of the Hub, in one commit; its address.

    Raises:
        PublishError: no trained folder, no token, or a connection that was lost.
    """
    if not (folder / "model.safetensors").is_file():
        raise PublishError(f"{folder} holds no trained model; train one with train_vgg.py.")
    files: dict[str, Path | bytes] = {
        file.name: file for file in folder.iterdir() if file.is_file()
    }
    card = folder / "README.md"
    if card.exists():
        # The card's example names the folder; on the Hub it is the repository.
        text = re.sub(r'model="[^"]+"', f'model="{repository}"', card.read_text("utf-8"))
        files[card.name] = text.encode()
    return publish(files, repository, private=private, revision=revision)


def main() -> None:
    """Publish the folder."""
    parser = publishing_parser(__doc__)
    parser.add_argument("--folder", type=Path, default=Path("vgg16-finetuned"))
    arguments = parser.parse_args()
    url = publish_model(
        arguments.folder, arguments.repository, arguments.private, arguments.revision
    )
    print(f"Published: {url}")


if __name__ == "__main__":
    try:
        main()
    except PublishError as error:
        raise SystemExit(f"{error} Then run this command again.") from None
