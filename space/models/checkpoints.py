"""Which checkpoints the demo runs, and where they come from: a folder, the cache, or the Hub.

`VGG16_MODEL` and `ZERO_SHOT_MODEL` in the environment name a folder or a Hub id instead of the
bundled VGG16 and of OpenAI's CLIP.
"""

import json
import math
import os
import threading
from pathlib import Path
from queue import Empty, SimpleQueue

import numpy as np
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import httpx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from data.errors import UserError
from data.texts import STUDY, Texts
from space.models.classifiers import FineTuned, Identity, Models, ZeroShot
from space.models.encoders import CLIP, ConSE
from space.models.engine import BEFORE_REFIT, digest, weight_files

BUNDLED = Path(__file__).parents[1]
VGG16_CHECKPOINT = BUNDLED / "vgg16"
CLIP_CHECKPOINT = "openai/clip-vit-base-patch32"
# The repository's own branch holds pickles alone, which are never loaded; the Hub's converter
# keeps the same weights as safetensors in a pull request, at this commit.
REVISIONS = {CLIP_CHECKPOINT: ("main", "c237dc49a33fc61debc9276459120b7eac67e7ef")}
FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
HUB_SECONDS = 2.0
REASONS: dict[type[Exception], str] = {
    OfflineModeIsEnabled: "the Hub is switched off here (HF_HUB_OFFLINE)",
    RepositoryNotFoundError: "the Hub has no such repository, or keeps it private",
    TimeoutError: f"the Hub did not answer within {HUB_SECONDS:.0f} s",
    httpx.ReadTimeout: f"the Hub did not answer within {HUB_SECONDS:.0f} s",
    httpx.ConnectTimeout: f"the Hub did not answer within {HUB_SECONDS:.0f} s",
    httpx.ConnectError: "the Hub could not be reached",
}


class CheckpointError(UserError):
    """A checkpoint that cannot be had; the text is one sentence that says why."""


def load_models(
    vgg16: str | None = None, zero_shot: str | None = None, texts: Texts = STUDY
) -> Models:
    """Load both models on the processor, and encode the texts once.

    Args:
        vgg16: a folder or a Hub id (default: `VGG16_MODEL`, or the bundled checkpoint).
        zero_shot: likewise (default: `ZERO_SHOT_MODEL`, or OpenAI's CLIP).
        texts: of each category, for the zero-shot model.

    Raises:
        CheckpointError: VGG16's checkpoint cannot be had, or is not an image classifier.
    """
    return Models(load_vgg16(vgg16), load_zero_shot(zero_shot, texts))


def load_vgg16(name: str | None = None) -> FineTuned:
    """Load the fine-tuned VGG16; see `load_models`."""
    name = name or os.environ.get("VGG16_MODEL") or str(VGG16_CHECKPOINT)
    folder = find_checkpoint(name)
    try:
        return FineTuned(folder, _identity("VGG16", name, [folder]))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{name} is not an image classifier that transformers can load ({error})."
        ) from error


def load_zero_shot(name: str | None = None, texts: Texts = STUDY) -> ZeroShot:
    """Load CLIP, or ConSE where there is none; see `load_models`."""
    name = name or os.environ.get("ZERO_SHOT_MODEL") or CLIP_CHECKPOINT
    try:
        folder = find_checkpoint(name)
        model = ZeroShot(CLIP(folder), texts, _identity("CLIP", name, [folder]))
    except CheckpointError as error:
        model = _stand_in(str(error), texts)
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError, SafetensorError):
        model = _stand_in(f"{name} is not a CLIP checkpoint that transformers can load.", texts)
    _ = model.weights  # encoded here, before the first photo
    return model


def _stand_in(reason: str, texts: Texts) -> ZeroShot:
    folders = [BUNDLED / "efficientnet_lite0", BUNDLED / "minilm"]
    identity = _identity("ConSE", "efficientnet_lite0 + minilm", folders, stands_in=reason)
    return ZeroShot(ConSE(*folders), texts, identity)


def save_before_refit(
    folder: Path, logits: np.ndarray, sha256: list[str], categories: list[str]
) -> None:
    """Keep beside the weights what the training gave photos before it was trained on them.

    Args:
        folder: holds the weights.
        logits: (photos, categories).
        sha256: of each photo's bytes.
        categories: in the order of the logits.
    """
    about = {"weights": digest(folder), "photos": json.dumps(sha256)}
    about["categories"] = json.dumps(categories)
    save_file({"logits": np.ascontiguousarray(logits, np.float32)}, folder / BEFORE_REFIT, about)


def load_before_refit(folder: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The logits (categories,) by SHA-256, and their categories; empty where none are of these
    weights."""
    try:
        with safe_open(folder / BEFORE_REFIT, "np") as file:
            about, logits = file.metadata(), file.get_tensor("logits")
    except (OSError, SafetensorError):
        return {}, []
    if about.get("weights") != digest(folder):
        return {}, []
    return dict(zip(json.loads(about["photos"]), logits, strict=True)), json.loads(
        about["categories"]
    )


def find_checkpoint(name: str) -> Path:
    """The folder that holds a checkpoint's files, fetched from the Hub where it must be.

    What is in the cache is used without asking the Hub; a Hub that does not answer costs
    HUB_SECONDS and no more.

    Args:
        name: a folder, or a Hub id such as `user/name`.

    Raises:
        CheckpointError: no such folder, or not in the cache and not to be had from the Hub.
    """
    if Path(name).is_dir():
        return Path(name)
    revisions = REVISIONS.get(name, ("main",))
    for revision in revisions:
        if folder := _cached(name, revision):
            return folder
    return _download(name, _ask_hub(name, revisions))


def _cached(name: str, revision: str) -> Path | None:
    try:
        folder = Path(
            snapshot_download(name, revision=revision, allow_patterns=FILES, local_files_only=True)
        )
    except (OSError, ValueError):
        return None
    return folder if (folder / "config.json").exists() and weight_files(folder) else None


def _ask_hub(name: str, revisions: tuple[str, ...]) -> str:
    """The first of the revisions that holds safetensors, in one short question to the Hub.

    The question runs in a thread of its own: a name server that hangs is not covered by the
    client's time limit.
    """
    answers: SimpleQueue[str | Exception] = SimpleQueue()

    def ask() -> None:
        try:
            for revision in revisions:
                info = HfApi().model_info(name, revision=revision, timeout=HUB_SECONDS)
                if any(file.rfilename.endswith(".safetensors") for file in info.siblings or []):
                    return answers.put(revision)
            answers.put(CheckpointError(f"{name} has no weights in the safetensors format."))
        except Exception as error:  # handed over to the thread that waits
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=HUB_SECONDS + 0.5)
    except Empty:
        answer = TimeoutError()
    if isinstance(answer, CheckpointError):
        raise answer
    if isinstance(answer, Exception):
        reason = REASONS.get(type(answer), f"the Hub did not give it ({type(answer).__name__})")
        raise CheckpointError(f"{name} is not in the cache, and {reason}.") from answer
    return answer


def _download(name: str, revision: str) -> Path:
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES))
    except Exception as error:  # the network and the Hub raise dozens of kinds
        raise CheckpointError(
            f"The download of {name} broke off ({type(error).__name__})."
        ) from error


def _identity(model: str, name: str, folders: list[Path], stands_in: str = "") -> Identity:
    weights = [file for folder in folders for file in weight_files(folder)]
    return Identity(
        name=model,
        # A folder's own name: where it lies on the server is nobody's business.
        checkpoint=name if "/" in name and not Path(name).is_dir() else Path(name).name,
        weights=digest(*folders),
        parameters=sum(map(count_parameters, weights)),
        bytes=sum(file.stat().st_size for file in weights),
        stands_in=stands_in,
    )


def count_parameters(weights: Path) -> int:
    """How many numbers a safetensors file holds."""
    with safe_open(weights, "pt") as tensors:
        names = tensors.keys()  # the file itself cannot be iterated
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in names)
