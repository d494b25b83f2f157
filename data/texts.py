"""What the zero-shot model compares with: sets of texts by name, or of one's own.

A set maps each category to one or several texts. `study` is the study's one description of each;
`better` was found by training/search_texts.py, and is kept with what each text gained.
"""

import json
from pathlib import Path

from data.categories import CATEGORIES, DESCRIPTIONS
from data.errors import UserError

Texts = dict[str, list[str]]

STUDY: Texts = {category: [text] for category, text in DESCRIPTIONS.items()}
BETTER = Path(__file__).with_name("better_texts.json")


class TextsError(UserError):
    """A set of texts that cannot be used."""


def load_texts(name_or_file: str) -> Texts:
    """A set of texts, in the order of CATEGORIES.

    It is called `study` or `better`, or is a JSON file: `{"<category>": ["<text>", ...], ...}`, or
    the same below the key `texts`, as training/search_texts.py writes it.

    Raises:
        TextsError: no such name or file, or not such a set.
    """
    if name_or_file == "study":
        return STUDY
    file = BETTER if name_or_file == "better" else Path(name_or_file)
    try:
        return parse_texts(file.read_text(encoding="utf-8"), name_or_file)
    except (OSError, UnicodeDecodeError) as error:
        sentence = f"{name_or_file} is neither study nor better nor a JSON file that can be read."
        raise TextsError(sentence) from error


def parse_texts(content: str, what: str) -> Texts:
    """Read a set of texts from JSON, called `what` in a TextsError; see `load_texts`."""
    try:
        loaded = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise TextsError(f"{what} is not JSON ({error}).") from error
    texts = loaded.get("texts", loaded) if isinstance(loaded, dict) else {}
    if not isinstance(texts, dict) or set(texts) != set(CATEGORIES):
        wrong = sorted(set(texts) ^ set(CATEGORIES))
        raise TextsError(
            f"{what} needs a list of texts for each category and for nothing else; missing or "
            f"unknown: {', '.join(wrong)}."
        )
    for category, listed in texts.items():
        if not isinstance(listed, list) or not listed or not all(map(_is_text, listed)):
            raise TextsError(f"{what} needs a list of one text or more for {category}.")
    return {category: texts[category] for category in CATEGORIES}


def as_lines(texts: Texts) -> tuple[str, ...]:
    """A set in the form that people edit: for each category its texts, one a line."""
    return tuple("\n".join(listed) for listed in texts.values())


def from_lines(lines: str) -> list[str]:
    """The texts of one category, from one a line."""
    return [text.strip() for text in lines.splitlines() if text.strip()]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
