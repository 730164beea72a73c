"""Names of the files in published folders, and which file of a folder a runtime executes.

A name is listed here when more than one stage or room uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from calkd_edge.agent.runtimes import RUNTIMES

CANONICAL, FOR_CPU = "model.onnx", "model.cpu.onnx"
"""The ONNX file of a precision, and the file derived from it for ONNX Runtime's CPU provider."""

ENGINE, ENGINE_FACTS = "model.engine", "built.json"
"""A TensorRT engine, and how it was built (stage `build`)."""

CONVERSION = "converted.json"
"""The agreement of a converted file with the ONNX file it was made from (stage `convert`)."""

REFERENCE, TORCH_PARITY = "reference.npz", "parity.json"
"""torch's logits (stage `export`), and how the runtime's logits differ from them (stage `calibrate`)."""

LAYER_PARITY = "parity.json"
"""The exported file compared with torch, layer by layer (stage `parity`)."""

CALIBRATION, LINT, LAYERS_IN_FLOAT = "calibration.json", "lint.json", "layers_in_float.json"
"""The fitted map; the linter's findings; the layers that a quantizer left in float (stage `calibrate`)."""

CROSS_FIT = "cross_fit.json"
"""Maps for images that they were not fitted to, where a threshold is chosen by them (stage `calibrate`)."""

EXECUTED = "executed.json"
"""The file that a device executed, its SHA-256 and the session options (stages `predict` and `evaluate`)."""

SIMULATED, SIMULATED_MOVED = "simulated.npz", "simulated_moved.npz"
"""Predictions of a quantized file with every operator computed as written; the same of some images in which
every pixel moved by one grey level (stage `simulate`)."""

CALIBRATION_PREDICTIONS, TEST_PREDICTIONS = "calibration.npz", "test.npz"
"""Predictions of the two splits (stage `predict`)."""

LATENCY, CORRUPTED, COMPARED = "latency.json", "corrupted.json", "compare.json"
"""Results of the stages `benchmark`, `evaluate_corrupted` and `compare`."""

UNKNOWN_IMAGES, UNKNOWN_FACTS, UNKNOWN_SCORES = "images.npy", "unknown.json", "unknown.npz"
"""Files of the stages on images of no class: the images, what they are, a model's confidence on them."""

GUARANTEED = "guaranteed.json"
"""Thresholds with a guaranteed precision (stage `evaluate`)."""

TRAINED_RANGES = "ranges.json"
"""Layer's path -> r of the symmetric range [-r, r] of what it reads (stage `qat`)."""

HISTORY = "history.jsonl"
"""One line an epoch (stages that train)."""

CPU_PROVIDER = "CPUExecutionProvider"


def corrupted_predictions(name: str, severity: int) -> str:
    """The name of one corruption's predictions (stage `predict_corrupted`)."""
    return f"{name}-{severity}.npz"


def converted_file(runtime: str) -> str:
    """The name of the file that stage `convert` makes for a runtime, such as model.tflite."""
    return f"model{RUNTIMES[runtime].suffix}"


def executed_file(folder: Path, runtime: str, options: Mapping[str, object] | None = None) -> Path:
    """The ONNX file of a precision's folder that a runtime executes: the derived file, or the canonical."""
    return onnx_file(folder, for_cpu=runs_on_cpu(runtime, options or {}))


def onnx_file(folder: Path, *, for_cpu: bool) -> Path:
    """The file of a precision's folder for ONNX Runtime's CPU provider where it has one, or the canonical."""
    derived = folder / FOR_CPU
    return derived if for_cpu and derived.is_file() else folder / CANONICAL


def runs_on_cpu(runtime: str, options: Mapping[str, object]) -> bool:
    """Whether a runtime is ONNX Runtime with its CPU provider alone."""
    return runtime == "onnxruntime" and options.get("providers", [CPU_PROVIDER]) == [CPU_PROVIDER]
