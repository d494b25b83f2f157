"""What the zero-shot model compares with: sets of texts by name, or of one's own.

A set maps each category to one or several texts. `study` is the study's one description of each;
`better` was found by training/search_texts.py, among the candidates below, and is kept with what
each text gained.
"""

import json
from pathlib import Path

from data.categories import CATEGORIES, DESCRIPTIONS

Texts = dict[str, list[str]]

STUDY: Texts = {category: [text] for category, text in DESCRIPTIONS.items()}
BETTER = Path(__file__).with_name("better_texts.json")

TEMPLATES = ["{}", "a photo of {}", "a close-up of {}", "{} in an online shop"]
# What is sold in each category, by its name and by the descriptions of train and validation.
NOUNS: dict[str, str] = {
    "baby care": (
        "a baby dress, a baby romper, a baby bodysuit, a children's T-shirt, a children's "
        "shirt, baby pyjamas, baby trousers, a baby cap, a nappy, a bib, a baby blanket, a "
        "feeding bottle, a soft toy, a pram, a nursery wall sticker"
    ),
    "beauty and personal care": (
        "perfume, a deodorant spray, lipstick, nail polish, face cream, body lotion, "
        "sunscreen, shampoo, a bar of soap, essential oil, eye shadow, a make-up kit, a "
        "manicure set, a vanity box, a body massager"
    ),
    "computers": (
        "a laptop, a computer keyboard, a computer mouse, a mouse pad, a wireless router, a "
        "modem, a laptop battery, a laptop charger, a power adapter, a pen drive, a USB hub, "
        "a USB light, a hard disk, a laptop skin, a computer cable"
    ),
    "home decor & festive needs": (
        "a showpiece, a figurine, a statue of a Hindu god, a brass handicraft, a marble "
        "elephant, a painting, a poster, a wall sticker, a wall clock, a vase, an artificial "
        "plant, fairy lights, a table lamp, a wall hanging, a hookah"
    ),
    "home furnishing": (
        "a bedsheet, a blanket, a quilt, a pillow, a cushion cover, a door curtain, a window "
        "curtain, a bath towel, a carpet, a doormat, a tablecloth, a table mat, a sofa cover, "
        "an apron, a duvet cover"
    ),
    "kitchen & dining": (
        "a coffee mug, a ceramic mug, a drinking glass, a water jug, a water bottle, a lunch "
        "box, a food container, a frying pan, a wok, a pressure cooker, a dinner plate, a "
        "spoon, a knife, a pizza cutter, an LED bulb"
    ),
    "watches": (
        "a wristwatch, an analogue watch, a digital watch, a sports watch, a chronograph, a "
        "men's watch, a women's watch, a children's watch, a watch with a leather strap, a "
        "watch with a metal bracelet, a smart watch, a stopwatch"
    ),
}
# (category, text)
CANDIDATES: list[tuple[str, str]] = [
    (category, template.format(noun))
    for category, nouns in NOUNS.items()
    for noun in nouns.split(", ")
    for template in TEMPLATES
]


class TextsError(ValueError):
    """A set of texts that cannot be used; the text is one sentence that says what to mend."""


def load_texts(name_or_file: str) -> Texts:
    """A set of texts, in the order of CATEGORIES.

    Args:
        name_or_file: `study`, `better`, or a JSON file: `{"<category>": ["<text>", ...], ...}`,
            or the same below the key `texts`, as training/search_texts.py writes it.

    Raises:
        TextsError: no such name or file, or not such a set.
    """
    if name_or_file == "study":
        return STUDY
    file = BETTER if name_or_file == "better" else Path(name_or_file)
    try:
        return parse_texts(file.read_text(encoding="utf-8"), name_or_file)
    except (OSError, UnicodeDecodeError) as error:
        raise TextsError(
            f"{name_or_file} is neither study nor better nor a JSON file that can be read."
        ) from error


def parse_texts(content: str, what: str) -> Texts:
    """Read a set of texts from JSON; see `load_texts`.

    Args:
        content: the JSON.
        what: it is, for the error's sentence.

    Raises:
        TextsError: not JSON, a category that is missing or unknown, or anything but a list of
            texts for one.
    """
    try:
        loaded = json.loads(content)
    except ValueError as error:
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
