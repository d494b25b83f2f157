"""The Space: VGG16 and CLIP sort a product photo side by side.

    python app.py        # then open the address that it prints
    gradio app.py        # the same, reloaded at every change of the code

VGG16_MODEL and ZERO_SHOT_MODEL in the environment choose other checkpoints (a folder or a Hub id).
"""

import os
from collections.abc import Callable

# Read once when gradio and huggingface_hub are imported: no telemetry of visitors.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# Read once when torch is: its threads, when they have no work, leave the cores to OpenVINO's.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

try:
    # ZeroGPU hands out a GPU for one call at a time; it must be imported before torch.
    from spaces import GPU as on_gpu
except ImportError:

    def on_gpu(function: Callable) -> Callable:
        """Anywhere else the function runs as it is."""
        return function


import torch

from space.models.checkpoints import CheckpointError, load_models
from space.pages.page import LAUNCH, build_demo

try:
    models = load_models()
    demo = build_demo(models, on_gpu)
except CheckpointError as error:
    raise SystemExit(str(error)) from None
if torch.cuda.is_available():
    for model in models:
        model.to("cuda")

if __name__ == "__main__":
    demo.launch(**LAUNCH)
