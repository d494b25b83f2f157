"""Publish the demo on the Hub as a Gradio Space: the app, the models and the sample photos.

    python space/publish.py user/name

The front matter of README.md is all the setup that the Space needs.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from data.hub import PublishError, publish, publishing_parser

# The training goes along, so that who copies the Space can train as well.
PARTS = ("app.py", "README.md", "LICENSE", "requirements.txt", "data", "space", "training")


def main() -> None:
    """Publish PARTS of the repository."""
    arguments = publishing_parser(__doc__).parse_args()
    url = publish(
        {file.relative_to(ROOT).as_posix(): file for file in space_files()},
        arguments.repository,
        "space",
        private=arguments.private,
        revision=arguments.revision,
    )
    print(f"Published: {url}")


def space_files() -> list[Path]:
    """The files of the Space: no caches, nothing hidden."""
    found = [ROOT / part for part in PARTS]
    found += (inside for part in PARTS for inside in (ROOT / part).rglob("*"))
    return [
        file
        for file in found
        if file.is_file()
        and file.suffix not in (".pyc", ".pyi")
        and not any(part.startswith(".") for part in file.relative_to(ROOT).parts)
    ]


if __name__ == "__main__":
    try:
        main()
    except PublishError as error:
        raise SystemExit(f"{error} Then run this command again.") from None
