"""From photos to rows, however many: threads read and prepare them, the networks follow.

A photo costs memory only between the moment it is read, at most AHEAD photos before its turn, and
its row. The command, each actor on a cluster and the tab sort by this one function.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from data.errors import UserError
from data.photos import PhotoError, read_photo, reading_faults
from space.models.classifiers import Models, by_name
from space.models.pixels import BATCH, prepare
from space.sorting.rule import PERSON, Rule

AHEAD = 3 * BATCH
# A bucket answers late: more than the processor needs where that has few cores.
THREADS = max(4, torch.get_num_threads())
# By the key of each model.
Pixels = dict[str, torch.Tensor]
Logits = dict[str, np.ndarray]


class SortError(UserError):
    """A run that cannot begin or go on."""


class Photo(NamedTuple):
    """A photo that is read when its turn comes."""

    name: str
    read: Callable[[], bytes]  # or an error, of which PhotoError's text is shown


def sort_photos(
    models: Models,
    rule: Rule,
    photos: Iterable[Photo],
    *,
    threads: int = THREADS,
    score: Callable[[Pixels], Logits] | None = None,
    show: Callable[[Image.Image], str] | None = None,
) -> Iterator[list[dict]]:
    """Sort photos, a batch at a time, in their order; each thread holds one at its full size.

    `score` is `logits_of` these models, unless the networks must be called in another way.

    Yields:
        Rows of `path` and the columns of `Rule.rows`; with `show`, also `picture`, what it makes
        of the photo, and `probabilities` (models, categories). Of a photo that cannot be read,
        `path`, `decision` ("person") and `why` alone.
    """
    score = score or partial(logits_of, models, rule.categories)
    prepared = _ahead(partial(_prepare, models, show), photos, threads)
    while batch := list(islice(prepared, BATCH)):
        decided, good = iter(()), [pixels for _, pixels in batch if pixels]
        if good:
            logits = score({key: torch.cat([pixels[key] for pixels in good]) for key in good[0]})
            table = rule.rows(logits)
            if show:
                table["probabilities"] = list(rule.probabilities(logits))
            decided = iter(table.to_dict("records"))
        yield [row | next(decided) if pixels else row for row, pixels in batch]


def logits_of(models: Models, categories: list[str], pixels: Pixels) -> Logits:
    """The logits (n, categories) of each model of n photos as it is shown them."""
    return {
        model.key: by_name(model.logits(pixels[model.key]), model.categories, categories)
        for model in models
    }


def _prepare(
    models: Models, show: Callable[[Image.Image], str] | None, photo: Photo
) -> tuple[dict, Pixels]:
    """What is known of a row before the networks; no pixels where the photo cannot be read."""
    row = {"path": photo.name}
    try:
        with reading_faults():  # processors, too, raise kinds of their own
            image = read_photo(photo.read())
            pixels = {model.key: prepare([image], model.processor) for model in models}
            return row | ({"picture": show(image)} if show else {}), pixels
    except PhotoError as error:
        return row | {"decision": PERSON, "why": str(error)}, {}


def _ahead(function: Callable, items: Iterable, threads: int) -> Iterator:
    """What a function makes of each item, in order, worked out by threads up to AHEAD items on."""
    pool, waiting = ThreadPoolExecutor(threads), deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) == AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # also where nobody asks for the rest
        pool.shutdown(cancel_futures=True)
