"""From files to decisions, however many: threads read and prepare photos, the networks follow.

A file costs memory only between the moment it is read, at most AHEAD photos before its turn, and
its row.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

import torch

from data.photos import PhotoError, read_photo
from space.models.classifiers import prepare
from space.models.scoring import Models
from space.sorting.rule import PERSON, Rule, sort_pixels

BATCH = 16
AHEAD = 3 * BATCH
# Twice what the networks look at: a large JPEG takes half the time, and no first choice of 65
# photos at four times their size was another.
DRAFT_SIDE = 448
# A bucket answers late: more than the processor needs where that has few cores.
THREADS = max(4, torch.get_num_threads())
# Of a photo, as VGG16 and as the zero-shot model are shown it; or why it cannot be read.
Prepared = tuple[torch.Tensor, torch.Tensor] | str


class SortError(RuntimeError):
    """A run that cannot begin or go on; the text is one sentence that says what to do."""


def sort_files(
    models: Models, rule: Rule, read: Callable[[str], bytes], names: Iterable[str]
) -> Iterator[list[dict]]:
    """Sort photos by name, BATCH at a time, in their order.

    Args:
        models: both.
        rule: what is decided without a person.
        read: gives the bytes of a name; what it raises becomes the reason of that photo's row.
        names: of the photos.

    Yields:
        Rows of `path` and the columns of `space.sorting.sort_pixels`; of a photo that cannot be
        read, `path`, `decision` ("person") and `why` alone.
    """
    prepared = _ahead(partial(_prepare, models, read), names)
    while batch := list(islice(prepared, BATCH)):
        yield _rows(models, rule, batch)


def _prepare(models: Models, read: Callable[[str], bytes], name: str) -> tuple[str, Prepared]:
    try:
        photo = read_photo(read(name), DRAFT_SIDE)
        processors = models.vgg16.processor, models.zero_shot.processor
        return name, tuple(prepare([photo], processor) for processor in processors)
    except PhotoError as error:
        return name, str(error)
    except Exception as error:  # disks, archives, buckets and processors raise dozens of kinds
        return name, f"This file cannot be read ({type(error).__name__})."


def _rows(models: Models, rule: Rule, batch: list[tuple[str, Prepared]]) -> list[dict]:
    rows = {
        name: {"path": name, "decision": PERSON, "why": reason}
        for name, reason in batch
        if isinstance(reason, str)
    }
    good = {name: pixels for name, pixels in batch if name not in rows}
    if good:
        pixels = map(torch.cat, zip(*good.values(), strict=True))
        decided = sort_pixels(models, rule, *pixels).to_dict("records")
        rows |= {name: {"path": name, **row} for name, row in zip(good, decided, strict=True)}
    return [rows[name] for name, _ in batch]


def _ahead(function: Callable, items: Iterable) -> Iterator:
    """What a function makes of each item, in order, worked out by threads up to AHEAD items on."""
    with ThreadPoolExecutor(THREADS) as pool:
        waiting = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) == AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
