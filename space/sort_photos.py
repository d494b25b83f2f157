"""Sort a whole catalogue: without a person where that is safe, with a list for one where not.

    python space/sort_photos.py photos/ --output sorted.csv       # a folder, and all below it
    python space/sort_photos.py products.csv --output sorted.parquet
    python space/sort_photos.py photos.zip --output sorted.csv    # also user/name on the Hub
    python space/sort_photos.py s3://bucket/photos --output sorted.csv --ray auto

A row a photo: its path from the source, what each model says and how sure it is, whether they
agree, the decision (a category, or "person") and why. A photo that cannot be read is left to a
person, with the reason.

Rows are kept in .OUTPUT.part as they come: a run that was killed goes on with the same command, and
photos that came since are sorted, too. VGG16_MODEL and ZERO_SHOT_MODEL choose other checkpoints;
--report is then what training/compare_models.py said of them.
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
# Read once when torch is: its threads, when they have no work, leave the cores to OpenVINO's.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pyarrow as pa
import torch
from pyarrow.csv import CSVWriter
from pyarrow.json import ParseOptions, open_json
from pyarrow.parquet import ParquetWriter
from tqdm import tqdm

from data.catalogue import find_photos
from data.sources import DataError
from space.models.checkpoints import CheckpointError
from space.models.scoring import load_models
from space.report.report import REPORT
from space.sorting.batches import SortError, sort_files
from space.sorting.rule import PERSON, RuleError, find_rule

FATES = ("sorted", "left to a person", "broken")
WRITERS = {".csv": CSVWriter, ".parquet": ParquetWriter}
SCHEMA = pa.schema(
    {
        "path": pa.string(),
        "vgg16": pa.string(),
        "vgg16_confidence": pa.float64(),
        "zero_shot": pa.string(),
        "zero_shot_confidence": pa.float64(),
        "agree": pa.bool_(),
        "decision": pa.string(),
        "why": pa.string(),
    }
)


def main() -> None:
    """Find, sort, write, and say what came of it."""
    arguments = _arguments()
    _check_output(arguments.output)
    names, read = find_photos(arguments.source)
    models = load_models()
    rule = find_rule(arguments.precision, models, arguments.report)
    print(rule.in_words())
    if torch.cuda.is_available():
        models.to("cuda")
    # Hidden, so that it is not taken for a photo where it lies among them.
    journal = arguments.output.with_name(f".{arguments.output.name}.part")
    done, counts = _resume(journal, {"source": arguments.source, **asdict(rule)})
    left = [name for name in names if name not in done]
    batches = sort_files(models, rule, read, left)
    if arguments.ray and left:
        from space.sorting.ray_cluster import sort_on_cluster

        batches = sort_on_cluster(arguments.ray, rule, read, left)
    with tqdm(total=len(names), initial=len(names) - len(left), unit="photo") as progress:
        write_rows(batches, journal, counts, progress)
    convert(journal, arguments.output)
    print(f"{counts.total()} photos: {', '.join(f'{counts[fate]} {fate}' for fate in FATES)}.")
    print(arguments.output)


def write_rows(
    batches: Iterable[list[dict]], journal: Path, counts: Counter, progress: tqdm
) -> None:
    """Append rows to the journal as they come, count what becomes of them, and show it."""
    with journal.open("a", encoding="utf-8") as file:
        for rows in batches:
            file.writelines(f"{json.dumps(row)}\n" for row in rows)
            file.flush()
            counts.update(map(_fate, rows))
            progress.set_postfix_str(f"{counts['left to a person']} to a person", refresh=False)
            progress.update(len(rows))


def _fate(row: dict) -> str:
    if "vgg16" not in row:
        return "broken"
    return "left to a person" if row["decision"] == PERSON else "sorted"


def _resume(journal: Path, header: dict) -> tuple[set[str], Counter]:
    """The names that an earlier run has written whole rows of, and what became of them.

    The first line says what is sorted and how; a last line that was torn is cut off.
    """
    first = f"{json.dumps(header)}\n"
    if not journal.exists() or not journal.stat().st_size:
        journal.write_text(first, encoding="utf-8")
    done, counts = set(), Counter()
    with journal.open("r+b") as lines:
        if lines.readline().decode() != first:
            raise SortError(
                f"{journal} is of other photos, models or another precision: go on with these, or "
                "delete it to begin anew."
            )
        end = lines.tell()
        for line in lines:
            if line.endswith(b"\n"):
                end += len(line)
                row = json.loads(line)
                done.add(row["path"])
                counts[_fate(row)] += 1
        lines.truncate(end)
    return done, counts


def convert(journal: Path, output: Path) -> None:
    """Write the rows as a table, block by block, and remove the journal."""
    unfinished = output.with_name(f".{output.name}.tmp")
    with journal.open("rb") as lines:
        lines.readline()
        rows = open_json(lines, parse_options=ParseOptions(explicit_schema=SCHEMA))
        with rows, WRITERS[output.suffix](unfinished, SCHEMA) as table:
            for block in rows:
                table.write_batch(block)
    unfinished.replace(output)
    journal.unlink()


def _check_output(output: Path) -> None:
    if output.suffix not in WRITERS:
        raise SortError(f"{output} must end in {' or '.join(WRITERS)}.")
    if output.exists():
        raise SortError(f"{output} exists: move it away, or choose another --output.")
    if not output.parent.is_dir():
        raise SortError(f"There is no folder {output.parent}: make it, or choose another --output.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="a folder, zip, CSV, s3://bucket/folder, or a Hub id")
    parser.add_argument("--output", type=Path, required=True, help="ends in .csv or .parquet")
    parser.add_argument(
        "--precision", type=float, default=0.99, help="of what is sorted, on validation"
    )
    parser.add_argument("--report", type=Path, default=REPORT, help="by compare_models.py")
    parser.add_argument("--ray", metavar="ADDRESS", help="sort on a cluster; auto: the one here")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except (DataError, CheckpointError, RuleError, SortError) as error:
        raise SystemExit(str(error)) from None
    except ImportError as error:
        raise SystemExit(f"{error}: pip install -r space/requirements-ray.txt.") from None
    except OSError as error:
        raise SystemExit(f"{error}: mend that, and go on with the same command.") from None
    except KeyboardInterrupt:
        raise SystemExit("Stopped; the same command goes on from here.") from None
