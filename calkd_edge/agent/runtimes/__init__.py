"""Runtimes by name: each opens one model file and runs it.

A runtime is a context manager with
    infer(images)       uint8 [N, 3, H, W] -> {output name: float32 array of the caller's own}
    fixed               how many images it takes at once, no more and no fewer; None for any number
    session_options()   what it was opened with, as plain JSON, for the record
"""

from __future__ import annotations

from typing import Any, Protocol

from calkd_edge.agent.problem import AgentProblem

Images = Any
"""A numpy array, uint8 [N, 3, H, W]; numpy's own types need a newer Python than some boards have."""

RUNTIMES = ("litert", "onnxruntime", "openvino", "tensorrt")
COMPILED = ("tensorrt",)
"""Runtimes that run an engine, which is built on the device from the ONNX file."""

CONVERTED = ("litert",)
"""Runtimes that run a file which the host made of the ONNX file."""


class Runtime(Protocol):
    """One model file, opened."""

    fixed: int | None

    def __enter__(self) -> Runtime: ...

    def __exit__(self, *error: object) -> None: ...

    def infer(self, images: Images) -> dict[str, Any]:
        """Every output by name for uint8 images [N, 3, H, W]; the arrays are the caller's own."""

    def session_options(self) -> dict[str, Any]:
        """What it was opened with."""


def known_options(name: str) -> dict[str, Any]:
    """The options of a runtime at their defaults; imports no runtime."""
    if name == "tensorrt":
        from calkd_edge.agent.engine import DEFAULTS
    elif name == "openvino":
        from calkd_edge.agent.runtimes.openvino_ import DEFAULTS
    elif name == "litert":
        from calkd_edge.agent.runtimes.ai_edge_litert_ import DEFAULTS
    else:
        from calkd_edge.agent.runtimes.onnxruntime_ import DEFAULTS
    return dict(DEFAULTS)


def open_runtime(name: str, model: str, options: dict[str, Any]) -> Runtime:
    """The runtime `name` on the file `model`; imports nothing but that runtime."""
    if name == "onnxruntime":
        from calkd_edge.agent.runtimes.onnxruntime_ import OnnxRuntime

        return OnnxRuntime(model, options)
    if name == "openvino":
        from calkd_edge.agent.runtimes.openvino_ import OpenVino

        return OpenVino(model, options)
    if name == "litert":
        from calkd_edge.agent.runtimes.ai_edge_litert_ import LiteRT

        return LiteRT(model, options)
    if name == "tensorrt":
        from calkd_edge.agent.runtimes.tensorrt_ import TensorRT

        return TensorRT(model, options)
    raise AgentProblem(
        f"this agent has no runtime named '{name}'", "Use one of: {}.".format(", ".join(RUNTIMES))
    )
