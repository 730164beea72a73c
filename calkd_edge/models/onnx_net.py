"""An ONNX file as a torch module: ONNX Runtime computes its forward pass."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

RUNTIME = "ONNX Runtime"
CUDA = "CUDAExecutionProvider"
WITHOUT_CUDA = (
    "the teacher's ONNX file runs on the CPU while the GPU waits: this onnxruntime has no CUDA provider. "
    "For one: pip uninstall onnxruntime, then pip install onnxruntime-gpu"
)

Provider = str | tuple[str, dict[str, int | str]]

log = logging.getLogger(__name__)


def has_cuda() -> bool:
    """Whether this onnxruntime has the provider for CUDA."""
    return CUDA in onnxruntime.get_available_providers()


def providers_for(device: torch.device) -> list[Provider]:
    """ONNX Runtime's providers on an accelerator, as far as this onnxruntime has them, the preferred first.

    On CUDA it computes on that very GPU, in full float32, by algorithms that are not chosen by timing.
    """
    chosen: list[Provider] = ["CPUExecutionProvider"]
    if device.type == "cuda" and has_cuda():
        number = torch.cuda.current_device() if device.index is None else device.index
        options: dict[str, int | str] = {
            "device_id": number,
            "use_tf32": 0,
            "cudnn_conv_algo_search": "HEURISTIC",
        }
        chosen.insert(0, (CUDA, options))
    return chosen


class OnnxNet(nn.Module):
    """An ONNX classifier, images -> logits, without parameters that torch can train.

    It runs on `device` where this ONNX Runtime can, else on the CPU, with a warning. 8-bit products are
    exact, also on x86 processors without VNNI (session.x64quantprecision).

    Args:
        path: uint8 images [N, 3, H, W] -> logits [N, C]; its input may have any name.
        device: the accelerator of this process.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads that wait for the next batch must not occupy the processor: torch trains the student on it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.x64quantprecision", "1")
        self.session = onnxruntime.InferenceSession(str(path), options, providers=providers_for(device))
        if device.type == "cuda" and has_cuda() and self.session.get_providers()[0] != CUDA:
            log.warning("ONNX Runtime's CUDA provider did not start: the teacher's file runs on the CPU")
        node = self.session.get_inputs()[0]
        self.feed, size = node.name, node.shape[0]
        self.fixed = size if isinstance(size, int) else None

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, C] float32, on the images' accelerator, for uint8 images [B, 3, H, W]."""
        pixels = np.ascontiguousarray(images.cpu().numpy())
        size = self.fixed or max(len(pixels), 1)
        parts = [self._run(pixels[start : start + size], size) for start in range(0, len(pixels), size)]
        return torch.from_numpy(np.concatenate(parts)).to(images.device)

    def _run(self, images: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
        """Logits of up to `size` images; a smaller batch is filled with copies of its last image."""
        batch = images if len(images) == size else images[np.minimum(np.arange(size), len(images) - 1)]
        (logits,) = self.session.run(["logits"], {self.feed: batch})
        return np.asarray(logits[: len(images)], dtype=np.float32)
