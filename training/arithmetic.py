"""The fastest arithmetic for convolutions that are not trained, by what the machine has."""

import warnings

import torch
from torch import nn

# Without VNNI, products of unsigned and signed bytes are added in 16 bits, which 7-bit levels never
# overflow (oneDNN's documentation, "Nuances of int8 computations").
LEVELS = 127


def bfloat16_pays() -> bool:
    """Whether the GPU, or else the processor, multiplies bfloat16 in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()


def int8_pays() -> bool:
    """Whether convolutions in int8 are the fastest here: no GPU, no bfloat16, but oneDNN."""
    return (
        not bfloat16_pays()
        and not torch.cuda.is_available()
        and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
        and "onednn" in torch.backends.quantized.supported_engines
        and hasattr(torch, "quantize_per_channel")  # deprecated in torch 2.14
    )


class Int8Convolutions(nn.Module):
    """A plain stack of convolutions, ReLUs and poolings (VGG's) in 8-bit integers.

    Weights are quantised by output channel, activations by layer, to the highest value that the
    calibration photos reach (post-training static quantisation, Jacob et al. 2018, arXiv
    1712.05877).
    """

    @torch.inference_mode()
    def __init__(self, layers: nn.Sequential, calibration: torch.Tensor) -> None:
        """Quantise a float32 stack.

        Args:
            layers: nn.Conv2d, each followed by nn.ReLU, and 2 × 2 nn.MaxPool2d.
            calibration: photos as the stack is shown them, (n, 3, height, width) float32.
        """
        super().__init__()
        torch.backends.quantized.engine = "onednn"
        lowest, highest = calibration.min().item(), calibration.max().item()
        self.scale = (highest - lowest) / LEVELS
        self.zero_point = round(-lowest / self.scale)
        # A packed convolution and the scale of what it puts out; None is a pooling.
        self.steps: list[tuple[object, float] | None] = []
        activations = calibration
        for layer in layers:
            activations = layer(activations)
            if isinstance(layer, nn.Conv2d):
                packed = _pack(layer)
            elif isinstance(layer, nn.ReLU):
                self.steps.append((packed, activations.max().item() / LEVELS))
            else:
                self.steps.append(None)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the float32 stack gives, to about 1 % of its range."""
        levels = torch.quantize_per_tensor(pixels, self.scale, self.zero_point, torch.quint8)
        for step in self.steps:
            if step is None:
                levels = nn.functional.max_pool2d(levels, 2)
            else:
                levels = torch.ops.quantized.conv2d_relu(levels, *step, 0)
        return levels.dequantize()


def _pack(layer: nn.Conv2d) -> object:
    scales = layer.weight.abs().amax((1, 2, 3)).double() / 127
    zero_points = torch.zeros(len(scales), dtype=torch.long)
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        weight = torch.quantize_per_channel(layer.weight, scales, zero_points, 0, torch.qint8)
    return torch.ops.quantized.conv2d_prepack(
        weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups
    )
