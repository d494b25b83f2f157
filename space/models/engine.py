"""Where an image network runs: OpenVINO on a processor, torch on a GPU or where that is absent.

    a torch model --fastest----> Network: pixels (n, 3, height, width) -> outputs (n, d) float32
    a checkpoint  --quantised--> Network, in 8-bit integers

training/quantise.py makes the integers, and they are used with the weights that they were made of.
"""

import hashlib
import logging
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import nn
from transformers import AutoModelForImageClassification, PreTrainedModel

# Importing openvino reports to its makers, unless its reporter cannot be found.
sys.modules.setdefault("openvino_telemetry", None)
try:
    import openvino
except ImportError:
    openvino = None

log = logging.getLogger(__name__)
# Its own: where a conversion fails, OpenVINO leaves the root logger at ERROR, with a handler that
# fills in no arguments.
log.setLevel(logging.WARNING)
# Beside the weights: the constants of OpenVINO's network as bytes, and its graph as metadata.
QUANTISED = "quantised.safetensors"
# Beside weights that were trained on validation photos, too, in the end: the logits that the same
# training gave these photos before.
BEFORE_REFIT = "before_refit.safetensors"


class Network(Protocol):
    """An image network, ready to run."""

    def __call__(self, pixels: torch.Tensor) -> np.ndarray:
        """The outputs (n, d) float32 for n prepared photos (n, 3, height, width) float32."""

    def to(self, device: str) -> None:
        """Move it to a device, where it can be moved."""


def uses_openvino() -> bool:
    """Whether image networks run through OpenVINO here."""
    return openvino is not None and not torch.cuda.is_available()


def bfloat16_pays(device: str) -> bool:
    """Whether a device multiplies bfloat16 in hardware."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and torch.cpu._is_avx512_bf16_supported()


def fastest(
    model: nn.Module,
    forward: Callable[[nn.Module, torch.Tensor], torch.Tensor],
    shape: torch.Size,
    *,
    exact: bool,
) -> Network:
    """A torch model, run by what is fastest here.

    Args:
        model: float32.
        forward: gives the outputs (n, ...) of the model for pixels.
        shape: of pixels, (n, 3, height, width); n may differ later.
        exact: whether OpenVINO stays in float32 where bfloat16 is faster.
    """
    if uses_openvino():
        try:
            return OpenVINONetwork(convert(model, forward, shape), exact=exact)
        except Exception as error:  # its frontend raises dozens of kinds for what it cannot read
            log.warning(f"OpenVINO cannot run this network, torch does: {first_line(error)}")
    return TorchNetwork(model, forward)


def quantised(folder: Path) -> Network | None:
    """A checkpoint's network in 8-bit integers; None where a GPU or the weights run instead."""
    return load_quantised(folder) if uses_openvino() else None


def load_quantised(folder: Path) -> Network | None:
    """A checkpoint's network in 8-bit integers, on the processor.

    None where there is no such network of these very weights, or it is broken, or cannot be run.
    """
    if openvino is None or not (folder / QUANTISED).exists():
        return None
    try:
        with safe_open(folder / QUANTISED, "np") as file:
            about, constants = file.metadata(), file.get_tensor("constants")
        if about["weights"] != digest(folder):
            return None
        network = openvino.Core().read_model(about["graph"], openvino.Tensor(constants))
        return OpenVINONetwork(network, exact=False)
    except (SafetensorError, KeyError, RuntimeError) as error:
        log.warning(f"{QUANTISED} cannot be run, the weights are: {first_line(error)}")
        return None


def save_quantised(network: "openvino.Model", folder: Path) -> None:
    """Leave a quantised network beside the weights that it was made of."""
    with tempfile.TemporaryDirectory() as name:
        graph = Path(name) / "network.xml"
        openvino.save_model(network, graph)
        constants = np.fromfile(graph.with_suffix(".bin"), np.uint8)
        about = {"graph": graph.read_text(encoding="utf-8"), "weights": digest(folder)}
        save_file({"constants": constants}, folder / QUANTISED, about)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold a checkpoint's weights."""
    beside = {QUANTISED, BEFORE_REFIT}
    return sorted(file for file in folder.glob("*.safetensors") if file.name not in beside)


def digest(*folders: Path) -> str:
    """The SHA-256 of a checkpoint's weights, which is what it is, wherever it lies.

    What was made of a checkpoint (a quantised network, a report) names it, and is used with these
    weights alone.
    """
    sha256 = hashlib.sha256()
    for file in (file for folder in folders for file in weight_files(folder)):
        with file.open("rb") as weights:
            while block := weights.read(2**20):
                sha256.update(block)
    return sha256.hexdigest()


def load_classifier(folder: Path) -> PreTrainedModel:
    """An image classifier as torch knows it, float32, for inference."""
    return AutoModelForImageClassification.from_pretrained(
        folder, use_safetensors=True, dtype=torch.float32
    )


def class_logits(model: PreTrainedModel, pixels: torch.Tensor) -> torch.Tensor:
    """The logits (n, classes) of an image classifier."""
    return model(pixels).logits


def first_line(error: Exception) -> str:
    """What an error says, in a line."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def convert(
    model: nn.Module, forward: Callable[[nn.Module, torch.Tensor], torch.Tensor], shape: torch.Size
) -> "openvino.Model":
    """A torch model as OpenVINO knows it; the arguments are those of `fastest`."""
    with warnings.catch_warnings(action="ignore"):
        return openvino.convert_model(
            _Forward(model, forward), example_input=torch.zeros(shape), input=[-1, *shape[1:]]
        )


class TorchNetwork:
    """A float32 model through torch, in the memory layout in which convolutions are fastest."""

    def __init__(
        self, model: nn.Module, forward: Callable[[nn.Module, torch.Tensor], torch.Tensor]
    ) -> None:
        self._model, self._forward = model.to(memory_format=torch.channels_last), forward
        self._device = "cpu"

    @torch.inference_mode()
    def __call__(self, pixels: torch.Tensor) -> np.ndarray:
        pixels = pixels.to(self._device, memory_format=torch.channels_last)
        return self._forward(self._model, pixels).float().cpu().numpy()

    def to(self, device: str) -> None:
        self._model.to(device)
        self._device = device


class OpenVINONetwork:
    """A network through OpenVINO, on as many cores as torch would take."""

    def __init__(self, network: "openvino.Model", *, exact: bool) -> None:
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            **({"INFERENCE_PRECISION_HINT": "f32"} if exact else {}),
        }
        compiled = openvino.Core().compile_model(network, "CPU", settings)
        self._request, self._lock = compiled.create_infer_request(), threading.Lock()

    def __call__(self, pixels: torch.Tensor) -> np.ndarray:
        # One after the other: a request takes all cores, and a second would cost its memory again.
        with self._lock:
            return self._request.infer(pixels.contiguous().numpy())[0]

    def to(self, device: str) -> None:
        """It stays on the processor."""


class _Forward(nn.Module):
    """One function of a model as a module, which is what OpenVINO converts."""

    def __init__(
        self, model: nn.Module, forward: Callable[[nn.Module, torch.Tensor], torch.Tensor]
    ) -> None:
        super().__init__()
        self.model, self._forward = model, forward

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._forward(self.model, pixels)
