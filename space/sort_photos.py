"""Sort a whole catalogue: without a person where that is safe, with a list for one where not.

    python space/sort_photos.py photos/ --output sorted.csv       # a folder, and all below it
    python space/sort_photos.py products.csv --output sorted.parquet
    python space/sort_photos.py photos.zip --output sorted.csv    # also user/name on the Hub
    python space/sort_photos.py s3://bucket/photos --output sorted.csv --ray auto

A row a photo: its path from the source, each model's first choice and confidence, whether they
agree, the decision (a category, or "person") and why, and the columns of a CSV. A photo that
cannot be read is left to a person, with the reason.

Rows are kept in .OUTPUT.part as they come: a run that was killed goes on with the same command, and
photos that came since are sorted, too. VGG16_MODEL and ZERO_SHOT_MODEL choose other checkpoints;
--report is then what training/compare_models.py said of them.

Exit status: 0, all photos are sorted or left to a person; 3, likewise, but some cannot be read;
1, it cannot begin or go on, and a sentence says why; 2, the command is mistyped; 130, Ctrl-C.
"""

import os
import signal
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
# Read once when torch is: its threads, when they have no work, leave the cores to OpenVINO's.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from data.errors import run_script


def main() -> None:
    """Sort, and exit with a status that a scheduler can read."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("source", help="a folder, zip, CSV, s3://bucket/folder, or a Hub id")
    add("--output", type=Path, required=True, help="ends in .csv or .parquet")
    add("--precision", type=float, default=0.99, help="of what is sorted, on validation")
    add("--report", type=Path, help="by compare_models.py (default: the bundled)")
    add("--ray", metavar="HOST:PORT", dest="cluster", help="of a cluster; auto: the one here")
    arguments = parser.parse_args()
    # Ctrl-C in the seconds that this takes waits for its end: libraries make other errors of it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    from space.sorting.catalogue import sort_catalogue

    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    if sort_catalogue(**vars(arguments)):
        sys.exit(3)


if __name__ == "__main__":
    run_script(main, "Stopped; the same command goes on from here.")
