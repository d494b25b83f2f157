"""Where an image network runs: OpenVINO on a processor, torch on a GPU or where that is absent.

    a torch module --fastest---------> Network: pixels (n, 3, height, width) -> (n, ...) float32
    a checkpoint   --load_quantised--> Network, in 8-bit integers

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


class Outputs(nn.Module):
    """A function of a model as a module of its own: pixels -> function(model, pixels)."""

    def __init__(
        self, model: nn.Module, function: Callable[[nn.Module, torch.Tensor], torch.Tensor]
    ) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.function(self.model, pixels)


class TorchNetwork:
    """A float32 module through torch, in the memory layout in which convolutions are fastest."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._device = module.to(memory_format=torch.channels_last), "cpu"

    @torch.inference_mode()
    def __call__(self, pixels: torch.Tensor) -> np.ndarray:
        pixels = pixels.to(self._device, memory_format=torch.channels_last)
        return self._module(pixels).float().cpu().numpy()

    def to(self, device: str) -> None:
        self._module.to(device)
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


Network = TorchNetwork | OpenVINONetwork


def uses_openvino() -> bool:
    """Whether image networks run through OpenVINO here."""
    return openvino is not None and not torch.cuda.is_available()


def bfloat16_pays(device: str) -> bool:
    """Whether a device multiplies bfloat16 in hardware."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and torch.cpu._is_avx512_bf16_supported()


def fastest(module: nn.Module, shape: torch.Size, *, exact: bool) -> Network:
    """A float32 module, run by what is fastest here; see `convert`.

    Unless it is to be exact, OpenVINO may calculate in bfloat16.
    """
    if uses_openvino():
        try:
            return OpenVINONetwork(convert(module, shape), exact=exact)
        except Exception as error:  # its frontend raises dozens of kinds for what it cannot read
            log.warning(f"OpenVINO cannot run this network, torch does: {error!r:.200}")
    return TorchNetwork(module)


def convert(module: nn.Module, shape: torch.Size) -> "openvino.Model":
    """Convert a module to OpenVINO, for pixels of a shape (n, 3, height, width) with any n."""
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        # Once: OpenVINO's own trace runs the network three more times to check itself.
        traced = torch.jit.trace(module, torch.zeros(shape), check_trace=False)
        return openvino.convert_model(traced, input=[-1, *shape[1:]])


def load_quantised(folder: Path) -> Network | None:
    """A checkpoint's 8-bit network; None where it is absent, of other weights, or cannot be run."""
    if openvino is None or not (folder / QUANTISED).exists():
        return None
    try:
        with safe_open(folder / QUANTISED, "np") as file:
            about, constants = file.metadata() or {}, file.get_tensor("constants")
        if about.get("weights") != digest(folder):
            return None
        network = openvino.Core().read_model(about["graph"], openvino.Tensor(constants))
        return OpenVINONetwork(network, exact=False)
    except (SafetensorError, KeyError, RuntimeError) as error:
        log.warning(f"{QUANTISED} cannot be run, the weights are: {error!r:.200}")
        return None


def save_quantised(network: "openvino.Model", folder: Path) -> None:
    """Leave a quantised network beside the weights that it was made of."""
    with tempfile.TemporaryDirectory() as name:
        graph = Path(name) / "network.xml"
        openvino.save_model(network, graph)
        constants = np.fromfile(graph.with_suffix(".bin"), np.uint8)
        about = {"graph": graph.read_text(encoding="utf-8"), "weights": digest(folder)}
        save_file({"constants": constants}, folder / QUANTISED, about)


def weight_files(*folders: Path) -> list[Path]:
    """The safetensors files that hold a checkpoint's weights."""
    files = [file for folder in folders for file in sorted(folder.glob("*.safetensors"))]
    return [file for file in files if file.name not in (QUANTISED, BEFORE_REFIT)]


def digest(*folders: Path) -> str:
    """The SHA-256 of a checkpoint's weights, which is what it is, wherever it lies.

    What was made of a checkpoint (a quantised network, a report) names it, and is used with these
    weights alone.
    """
    sha256 = hashlib.sha256()
    for file in weight_files(*folders):
        with file.open("rb") as weights:
            hashlib.file_digest(weights, lambda: sha256)
    return sha256.hexdigest()


def load_classifier(folder: Path) -> PreTrainedModel:
    """An image classifier as torch knows it, float32, for inference."""
    return AutoModelForImageClassification.from_pretrained(
        folder, use_safetensors=True, dtype=torch.float32
    )


def class_logits(classifier: PreTrainedModel) -> Outputs:
    """An image classifier as a module that gives its logits (n, classes)."""
    return Outputs(classifier, lambda model, pixels: model(pixels).logits)
