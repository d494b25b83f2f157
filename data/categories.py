"""The study: the seven categories of its marketplace, its description of each, and its figures.

The one place where they are written: the loader's labels, the training, the zero-shot
models and the page all read them here. The order is the order of the class indices.
"""

import json
from pathlib import Path

_STUDY = json.loads(Path(__file__).with_name("study.json").read_text(encoding="utf-8"))

DESCRIPTIONS: dict[str, str] = _STUDY["descriptions"]
CATEGORIES: list[str] = list(DESCRIPTIONS)
# With CLIP ViT-B/32: the mean similarity of each text to its own photos.
STUDY_SIMILARITIES: dict[str, float] = _STUDY["similarities"]
STUDY_ACCURACIES: dict[str, float] = _STUDY["accuracies"]
