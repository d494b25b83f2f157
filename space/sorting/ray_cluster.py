"""The scoring of sort_photos.py on a cluster: Ray Data deals names to actors that hold the models.

    pip install -r requirements.txt -r space/requirements-ray.txt    # on every machine
    ray start --head                                                 # on one
    ray start --address=HEAD:6379                                    # on the others
    python space/sort_photos.py s3://bucket/photos --output sorted.csv --ray auto

A folder must be found under the same path on every machine; a bucket is everywhere. Rows come as
they are ready. A machine may fail: what it had not given back is sorted by the others.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

# Read when Ray starts: nothing is reported to anyone.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np

from space.models.checkpoints import load_models
from space.sorting.batches import BATCH, Photo, SortError, sort_photos
from space.sorting.rule import Rule

try:
    import ray
    from ray.data import ActorPoolStrategy, DataContext
    from ray.exceptions import RayError
except ImportError as error:
    raise SortError(f"{error}: pip install -r space/requirements-ray.txt.") from error

DEAL = 4 * BATCH  # photos of a task; where its machine fails, another actor gets them
ACTOR_BYTES = 2 * 2**30
ANSWER_SECONDS = 20


class Sorter:
    """An actor: the models on one core of the cluster."""

    def __init__(self, rule: Rule, read: Callable[[str], bytes]) -> None:
        self.models, self.rule, self.read = load_models(), rule, read
        for model in self.models:
            if rule.weights[model.key] != model.identity.weights:
                raise SortError(f"The rule was found for another {rule.names[model.key]}.")

    def __call__(self, dealt: dict[str, np.ndarray]) -> dict[str, list[str]]:
        """Rows as JSON: with the gaps of broken photos they fit no column types."""
        photos = (Photo(name, partial(self.read, name)) for name in dealt["item"])
        batches = sort_photos(self.models, self.rule, photos)
        return {"row": [json.dumps(row) for rows in batches for row in rows]}


def sort_on_cluster(
    address: str, rule: Rule, read: Callable[[str], bytes], names: list[str]
) -> Iterator[list[dict]]:
    """As `sort_photos`, in no order; "auto" is the cluster on this machine.

    Raises SortError where none answers, or its actors cannot start, such as for want of the models.
    """
    _connect(address)
    DataContext.get_current().enable_progress_bars = False
    rows = ray.data.from_items(names, override_num_blocks=-(-len(names) // DEAL)).map_batches(
        Sorter,
        fn_constructor_args=(rule, read),
        batch_size=DEAL,
        compute=ActorPoolStrategy(min_size=1, max_size=int(ray.cluster_resources().get("CPU", 1))),
        num_cpus=1,
        memory=ACTOR_BYTES,
    )
    try:
        for batch in rows.iter_batches(batch_size=None):
            yield [json.loads(row) for row in batch["row"]]
    except (
        RayError
    ) as error:  # the last line is the actor's own error, those before it its traceback
        raise SortError(f"The cluster gave up: {str(error).splitlines()[-1]}") from error


def _connect(address: str) -> None:
    if address != "auto" and "://" not in address:
        # Without a cluster there, ray.init waits for ever, and no exception ends it.
        ask = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
        try:
            subprocess.run(ask, capture_output=True, timeout=ANSWER_SECONDS, check=True)
        except subprocess.SubprocessError as error:
            raise SortError(f"No cluster answers at {address}.") from error
    root, chosen = Path(__file__).parents[2], {"VGG16_MODEL", "ZERO_SHOT_MODEL"} & set(os.environ)
    environment = {
        "py_modules": [str(root / "data"), str(root / "space")],
        "env_vars": {name: os.environ[name] for name in chosen},
    }
    try:
        ray.init(address, runtime_env=environment, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise SortError(f"No cluster answers at {address}: {reason}") from error
