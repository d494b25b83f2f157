"""Which checkpoints the demo runs, and where they come from: a folder, the cache, or the Hub.

`VGG16_MODEL` and `ZERO_SHOT_MODEL` in the environment name a folder or a Hub id instead of the
bundled VGG16 and of OpenAI's CLIP.
"""

import json
import os
import threading
from concurrent.futures import Future
from pathlib import Path

import huggingface_hub
import numpy as np
from huggingface_hub import ModelInfo, errors, model_info, snapshot_download
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
REVISIONS = {CLIP_CHECKPOINT: "c237dc49a33fc61debc9276459120b7eac67e7ef"}
HUB_SECONDS = 2.0
REASONS: dict[type | tuple[type, ...], str] = {
    errors.OfflineModeIsEnabled: "the Hub is switched off here (HF_HUB_OFFLINE)",
    errors.GatedRepoError: "the Hub asks for its terms to be accepted first",
    errors.RepositoryNotFoundError: "the Hub has no such repository, or keeps it private",
    (TimeoutError, httpx.TimeoutException): f"the Hub did not answer within {HUB_SECONDS:.0f} s",
    httpx.ConnectError: "the Hub could not be reached",
}
# What transformers raises for a folder that holds something else, and what a torn file raises.
OTHER = (OSError, ValueError, KeyError, AttributeError, RuntimeError)
TORN = (SafetensorError, errors.SafetensorsParsingError)


class CheckpointError(UserError):
    """A checkpoint that cannot be had; the text is one sentence that says why."""


def load_models(
    vgg16: str | None = None, zero_shot: str | None = None, texts: Texts = STUDY
) -> Models:
    """Load both models on the processor, each from a folder or a Hub id, and encode the texts once.

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
    except (*OTHER, *TORN) as error:
        raise CheckpointError(
            f"{name} is not an image classifier that transformers can load ({error})."
        ) from error


def load_zero_shot(name: str | None = None, texts: Texts = STUDY) -> ZeroShot:
    """Load CLIP, or ConSE where there is none; see `load_models`."""
    name = name or os.environ.get("ZERO_SHOT_MODEL") or CLIP_CHECKPOINT
    try:
        folder = find_checkpoint(name)
        model = ZeroShot(CLIP(folder), texts, _identity("CLIP", name, [folder]))
    except (CheckpointError, *OTHER, *TORN) as error:
        other = f"{name} is not a CLIP checkpoint that transformers can load."
        reason = str(error) if isinstance(error, CheckpointError) else other
        folders = [BUNDLED / "efficientnet_lite0", BUNDLED / "minilm"]
        identity = _identity("ConSE", "efficientnet_lite0 + minilm", folders, stands_in=reason)
        model = ZeroShot(ConSE(*folders), texts, identity)
    _ = model.weights  # encoded here, before the first photo
    return model


def save_before_refit(
    folder: Path, logits: np.ndarray, sha256: list[str], categories: list[str]
) -> None:
    """Keep beside the weights what the training gave photos before it was trained on them.

    The logits are (photos, categories); `sha256` is of each photo's bytes.
    """
    listed = {"photos": json.dumps(sha256), "categories": json.dumps(categories)}
    about = {"weights": digest(folder)} | listed
    save_file({"logits": np.ascontiguousarray(logits, np.float32)}, folder / BEFORE_REFIT, about)


def load_before_refit(folder: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Logits (categories,) by SHA-256, and their categories; none where of other weights."""
    try:
        with safe_open(folder / BEFORE_REFIT, "np") as file:
            about, logits = file.metadata() or {}, file.get_tensor("logits")
    except (OSError, SafetensorError):
        return {}, []
    if about.get("weights") != digest(folder):
        return {}, []
    photos, categories = json.loads(about["photos"]), json.loads(about["categories"])
    return dict(zip(photos, logits, strict=True)), categories


def find_checkpoint(name: str) -> Path:
    """The folder that holds a checkpoint's files, fetched from the Hub where it must be.

    The name is a folder, or a Hub id such as `user/name` or `user/name@revision`. The Hub is asked
    what it means today; where it does not say so within HUB_SECONDS, the cache counts.

    Raises:
        CheckpointError: no such folder, or not in the cache and not to be had from the Hub.
    """
    if Path(name).is_dir():
        return Path(name)
    repository, _, revision = name.partition("@")
    revision = revision or REVISIONS.get(repository)
    problem = _ask_hub(repository, revision)
    try:
        folder = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors"],
            local_files_only=problem is not None,
        )
    except Exception as error:  # the network and the Hub raise dozens of kinds
        known = (why for kinds, why in REASONS.items() if isinstance(problem or error, kinds))
        reason = next(known, f"the Hub did not give it ({type(problem or error).__name__})")
        place = "in the cache" if problem else "whole in the cache"
        raise CheckpointError(f"{name} is not {place}, and {reason}.") from error
    if not weight_files(Path(folder)):
        where = " in the cache" if problem else ""
        raise CheckpointError(f"{name} has no weights in the safetensors format{where}.")
    return Path(folder)


def _ask_hub(repository: str, revision: str | None) -> Exception | None:
    """Whether the Hub has a revision, in one short question: what speaks against it, or None.

    The question runs in a daemon thread: the client tries again after its time limit, which a name
    server that hangs does not even reach, and either would hold up the exit.
    """
    answer: Future[ModelInfo] = Future()

    def ask() -> None:
        try:
            answer.set_result(model_info(repository, revision=revision, timeout=HUB_SECONDS))
        except Exception as error:  # handed over to the thread that waits
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answer.exception(HUB_SECONDS)
    except TimeoutError as error:
        return error


def _identity(model: str, name: str, folders: list[Path], stands_in: str = "") -> Identity:
    weights = weight_files(*folders)
    tensors = [huggingface_hub.parse_local_safetensors_file_metadata(file) for file in weights]
    return Identity(
        name=model,
        # A folder's own name: where it lies on the server is nobody's business.
        checkpoint=name if "/" in name and not Path(name).is_dir() else Path(name).name,
        weights=digest(*folders),
        parameters=sum(sum(file.parameter_count.values()) for file in tensors),
        bytes=sum(file.stat().st_size for file in weights),
        stands_in=stands_in,
    )
