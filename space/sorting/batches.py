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
from data.photos import PhotoError, read_photo
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
    # Its bytes, or an error, of which PhotoError's text is shown.
    read: Callable[[], bytes]


class _Prepared(NamedTuple):
    name: str
    pixels: Pixels
    shown: str | None = None
    # Why it cannot be read.
    reason: str = ""


def sort_photos(
    models: Models,
    rule: Rule,
    photos: Iterable[Photo],
    *,
    batch: int = BATCH,
    threads: int = THREADS,
    score: Callable[[Pixels], Logits] | None = None,
    show: Callable[[Image.Image], str] | None = None,
) -> Iterator[list[dict]]:
    """Sort photos, a batch at a time, in their order.

    Args:
        threads: so many photos are held at their full size.
        score: `logits_of` these models, unless it must run elsewhere.
        show: makes what a person is shown of a photo.

    Yields:
        Rows of `path` and the columns of `Rule.rows`; with `show`, also `picture`, what it made,
        and `probabilities` (models, categories). Of a photo that cannot be read, `path`,
        `decision` ("person") and `why` alone.
    """
    score = score or partial(logits_of, models, rule.categories)
    prepared = _ahead(partial(_prepare, models, show), photos, threads)
    while some := list(islice(prepared, batch)):
        yield _rows(rule, score, some)


def logits_of(models: Models, categories: list[str], pixels: Pixels) -> Logits:
    """The logits (n, categories) of each model of n photos as it is shown them."""
    return {
        model.key: by_name(model.logits(pixels[model.key]), model.categories, categories)
        for model in models
    }


def _prepare(models: Models, show: Callable[[Image.Image], str] | None, photo: Photo) -> _Prepared:
    try:
        image = read_photo(photo.read())
        pixels = {model.key: prepare([image], model.processor) for model in models}
        return _Prepared(photo.name, pixels, show(image) if show else None)
    except PhotoError as error:
        return _Prepared(photo.name, {}, reason=str(error))
    except Exception as error:  # processors, too, raise kinds of their own
        reason = f"This file cannot be read ({type(error).__name__})."
        return _Prepared(photo.name, {}, reason=reason)


def _rows(rule: Rule, score: Callable[[Pixels], Logits], batch: list[_Prepared]) -> list[dict]:
    good = [photo for photo in batch if not photo.reason]
    decided = iter(())
    if good:
        pixels = {key: torch.cat([photo.pixels[key] for photo in good]) for key in good[0].pixels}
        logits = score(pixels)
        table = rule.rows(logits)
        if good[0].shown is not None:
            table["picture"] = [photo.shown for photo in good]
            table["probabilities"] = list(np.stack(list(rule.probabilities(logits).values()), 1))
        decided = iter(table.to_dict("records"))
    return [
        {
            "path": photo.name,
            **({"decision": PERSON, "why": photo.reason} if photo.reason else next(decided)),
        }
        for photo in batch
    ]


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
