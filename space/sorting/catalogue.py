"""A whole catalogue from its source to a table, and on from where an earlier run was stopped."""

import fcntl
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pandas as pd
import pyarrow as pa
import torch
from pyarrow.json import ParseOptions, open_json
from tqdm import tqdm

from data.sources import Source, open_source
from space.models.checkpoints import load_models
from space.report.report import REPORT
from space.sorting.batches import Photo, SortError, sort_photos
from space.sorting.rule import PERSON, find_rule
from space.sorting.table import WRITERS, row_schema, write_table

TO_PERSON, BROKEN = "left to a person", "broken"


def sort_catalogue(
    source: str, output: Path, precision: float, report: Path | None, cluster: str | None
) -> int:
    """Find, sort, write, and say what came of it; how many photos could not be read.

    Raises UserError where the run cannot begin or go on; rows that are written are kept.
    """
    try:
        _check_output(output)
        opened = open_source(source)
        models = load_models()
        rule = find_rule(precision, models, (report or REPORT).resolve())
        print(rule.in_words())
        if torch.cuda.is_available():
            for model in models:
                model.to("cuda")
        journal = output.with_name(f".{output.name}.part")  # hidden: it may lie among the photos
        with journal.open("a+b") as file:
            done, counts = _resume(file, output, {"source": source, **asdict(rule)})
            names = opened.table["name"]
            left = [name for name in names if name not in done]
            if cluster and left:
                from space.sorting.ray_cluster import sort_on_cluster

                batches = sort_on_cluster(cluster, rule, opened.read, left)
            else:
                photos = (Photo(name, partial(opened.read, name)) for name in left)
                batches = sort_photos(models, rule, photos)
            with tqdm(total=len(names), initial=len(names) - len(left), unit="photo") as progress:
                write_rows(batches, file, counts, progress)
            convert(journal, opened, list(rule.names), output)
            journal.unlink()
    except OSError as error:
        raise SortError(f"{error}: mend that, and go on with the same command.") from error
    n, person, broken = counts.total(), counts[TO_PERSON], counts[BROKEN]
    print(f"{n} photos: {n - person - broken} sorted, {person} {TO_PERSON}, {broken} {BROKEN}.")
    print(pd.Series(counts).sort_index().to_string(), output, sep="\n")
    return broken


def write_rows(
    batches: Iterable[list[dict]], journal: BinaryIO, counts: Counter, progress: tqdm
) -> None:
    """Append rows to the journal as they come, count what becomes of them, and show it."""
    for rows in batches:
        journal.write("".join(f"{json.dumps(row)}\n" for row in rows).encode())
        journal.flush()
        counts.update(map(_outcome, rows))
        progress.set_postfix_str(f"{counts[TO_PERSON]} to a person", refresh=False)
        progress.update(len(rows))


def convert(journal: Path, source: Source, keys: list[str], output: Path) -> None:
    """Write the rows as a table, block by block, beside the source's own columns."""
    schema = row_schema(keys)
    own = source.table.set_index("name")[source.columns]
    whole = row_schema(keys, (f"{text} (CSV)" if text in schema.names else text for text in own))

    def beside(block: pa.RecordBatch) -> pa.RecordBatch:
        rows = own.reindex(block["path"].to_pylist())
        columns = (pa.array(rows[text], pa.string(), from_pandas=True) for text in own)
        return pa.record_batch([*block, *columns], schema=whole)

    unfinished = output.with_name(f".{output.stem}.tmp{output.suffix}")
    with journal.open("rb") as lines:
        lines.readline()
        with open_json(lines, parse_options=ParseOptions(explicit_schema=schema)) as blocks:
            write_table(unfinished, whole, map(beside, blocks))
    unfinished.replace(output)


def _outcome(row: dict) -> str:
    """What became of a photo: a category, or why it has none."""
    if "agree" not in row:
        return BROKEN
    return TO_PERSON if row["decision"] == PERSON else row["decision"]


def _resume(journal: BinaryIO, output: Path, header: dict) -> tuple[set[str], Counter]:
    """The names that an earlier run has written whole rows of, and what became of them.

    The first line says what is sorted and how; a last line that was torn is cut off. The journal is
    locked until it is closed, which the system does for a process that is killed.
    """
    try:
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SortError(f"Another run is writing {output}: wait for it.") from error
    _check_output(output)  # the run that held it may have ended since
    first = f"{json.dumps(header)}\n".encode()
    journal.seek(0)
    found = journal.readline()
    if not found.endswith(b"\n"):
        journal.truncate(0)
        journal.write(first)
    elif found != first:
        raise SortError(
            f"{journal.name} is of other photos, models or another precision: go on with these, or "
            "delete it to begin anew."
        )
    done, counts, end = set(), Counter(), len(first)
    for line in journal:
        if line.endswith(b"\n"):
            end += len(line)
            row = json.loads(line)
            done.add(row["path"])
            counts[_outcome(row)] += 1
    journal.truncate(end)
    return done, counts


def _check_output(output: Path) -> None:
    if output.suffix not in WRITERS:
        raise SortError(f"{output} must end in {' or '.join(WRITERS)}.")
    if output.exists():
        raise SortError(f"{output} exists: move it away, or choose another --output.")
    if not output.parent.is_dir():
        raise SortError(f"There is no folder {output.parent}: make it, or choose another --output.")
