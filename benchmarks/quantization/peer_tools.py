"""One int8 file by one other tool: what peers.py runs in an environment that has that tool.

    python peer_tools.py TOOL fp32.onnx images.npy int8.onnx

Each tool gets the float32 file and the same training images, uint8 [N, 3, H, W]. Tools by their settings for
a CPU: activations uint8, weights int8 with a scale for each output channel.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

AT_ONCE = 64


class Reader:
    """Images for ONNX Runtime's quantizer and those built on it."""

    def __init__(self, images: np.ndarray, name: str, at_once: int = AT_ONCE) -> None:
        self.images, self.name, self.at_once = images, name, at_once
        self.rewind()

    def rewind(self) -> None:
        """Begin again."""
        self.feeds = batches(self.images, self.name, self.at_once)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, or None."""
        return next(self.feeds, None)


def batches(images: np.ndarray, name: str, at_once: int = AT_ONCE) -> Iterator[dict[str, np.ndarray]]:
    """Some images at a time, under the input's name."""
    for start in range(0, len(images), at_once):
        yield {name: images[start : start + at_once]}


def onnx_runtime(method: str) -> Callable[[Path, np.ndarray, Path], None]:
    """quantize_static after its own preparation of the graph."""

    def run(model: Path, images: np.ndarray, out: Path) -> None:
        from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        prepared = out.with_suffix(".prepared.onnx")
        quant_pre_process(str(model), str(prepared))
        quantize_static(
            str(prepared),
            str(out),
            Reader(images, input_of(model)),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=getattr(CalibrationMethod, method),
        )

    return run


def nncf(model: Path, images: np.ndarray, out: Path) -> None:
    """NNCF by its preset `mixed`: activations with zero points where they are one-sided."""
    import nncf

    feeds = list(batches(images, input_of(model), 1))
    quantized = nncf.quantize(
        onnx.load(model), nncf.Dataset(feeds), preset=nncf.QuantizationPreset.MIXED, subset_size=len(feeds)
    )
    onnx.save(quantized, out)


def modelopt(method: str) -> Callable[[Path, np.ndarray, Path], None]:
    """NVIDIA's Model Optimizer: symmetric int8 for TensorRT; what is not int8 stays in float32."""

    def run(model: Path, images: np.ndarray, out: Path) -> None:
        import modelopt.onnx.quantization as tool

        tool.quantize(
            str(model),
            quantize_mode="int8",
            calibration_data={input_of(model): images},
            calibration_method=method,
            calibration_eps=["cpu"],
            high_precision_dtype="fp32",
            output_path=str(out),
        )

    return run


def aimet(model: Path, images: np.ndarray, out: Path) -> None:
    """AIMET: scales by channel, activations by their error (`tf_enhanced`), uint8."""
    from aimet_onnx.common.defs import QuantScheme
    from aimet_onnx.quantsim import QuantizationSimModel

    config = Path(__import__("aimet_onnx").__file__).parent
    by_channel = next(config.rglob("default_config_per_channel.json"), None)
    simulated = QuantizationSimModel(
        onnx.load(model),
        quant_scheme=QuantScheme.post_training_tf_enhanced,
        config_file=None if by_channel is None else str(by_channel),
        dummy_input={input_of(model): images[:1]},
        providers=["CPUExecutionProvider"],
    )
    simulated.compute_encodings(batches(images, input_of(model)))
    onnx.save(simulated.to_onnx_qdq(prequantize_constants=True), out)


def quark(adaround: bool) -> Callable[[Path, np.ndarray, Path], None]:
    """AMD Quark's U8S8 with scales by channel; AdaRound with the iterations of its own configuration."""

    def run(model: Path, images: np.ndarray, out: Path) -> None:
        from quark.onnx import ModelQuantizer
        from quark.onnx.quantization.config import Config, get_default_config

        settings: Any = get_default_config("U8S8_AAWS_ADAROUND" if adaround else "U8S8_AAWS")
        settings.per_channel = True
        tool = ModelQuantizer(Config(global_quant_config=settings))
        tool.quantize_model(str(model), str(out), Reader(images, input_of(model), 1))

    return run


TOOLS: dict[str, Callable[[Path, np.ndarray, Path], None]] = {
    "ONNX Runtime U8S8, minmax": onnx_runtime("MinMax"),
    "ONNX Runtime U8S8, percentile": onnx_runtime("Percentile"),
    "NNCF, mixed": nncf,
    "ModelOpt, max": modelopt("max"),
    "ModelOpt, entropy": modelopt("entropy"),
    "AIMET, by channel": aimet,
    "Quark U8S8 with equalisation": quark(adaround=False),
    "Quark U8S8, AdaRound": quark(adaround=True),
}
LONG = ("Quark U8S8, AdaRound",)
"""Tools that optimize every layer: a quarter of an hour for a network."""


def input_of(model: Path) -> str:
    """The name of the input."""
    return str(onnx.load(model).graph.input[0].name)


def main() -> None:
    """Run one tool."""
    tool, model, images, out = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "int8.onnx"
        TOOLS[tool](Path(model), np.load(images), made)
        onnx.save(onnx.load(made), out)


if __name__ == "__main__":
    main()
