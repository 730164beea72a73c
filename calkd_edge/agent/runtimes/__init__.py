"""Runtimes by name: each opens one model file and runs it.

A runtime is one module and one line in RUNTIMES. The module has
    DEFAULTS            the options of the runtime at their defaults
    check_options       if values can be checked without the library
    a class             made with (path of the model file, options); a context manager with the methods of
                        Runtime
It imports its library when it opens a file, and not before: the host reads DEFAULTS without that library.
A plugin adds its runtime with `add_runtime`; its module travels to the device with the agent.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Mapping, NamedTuple, Protocol

from calkd_edge.agent.problem import AgentProblem
from calkd_edge.agent.runtimes.added import ADDED

if TYPE_CHECKING:
    import numpy as np

AS_IS, COMPILED, CONVERTED = "as_is", "compiled", "converted"


class RuntimeInfo(NamedTuple):
    """What the host and the agent know of a runtime without importing it.

    Attributes:
        module: the adapter, such as "calkd_edge.agent.runtimes.openvino_".
        class_name: its class.
        title: for people, such as "ONNX Runtime".
        import_name: what a Python must be able to import.
        distributions: names for pip that bring it; the first is the one to install.
        kind: what it runs: "as_is" the ONNX file, "compiled" an engine that the device builds from the ONNX
            file, "converted" a file that the host makes from the ONNX file.
        suffix: of the file that it runs.
    """

    module: str
    class_name: str
    title: str
    import_name: str
    distributions: tuple[str, ...]
    kind: str = AS_IS
    suffix: str = ".onnx"

    @property
    def is_compiled(self) -> bool:
        """Whether it runs an engine, which the device builds from the ONNX file."""
        return self.kind == COMPILED

    @property
    def is_converted(self) -> bool:
        """Whether it runs a file that the host makes from the ONNX file."""
        return self.kind == CONVERTED


_HERE = "calkd_edge.agent.runtimes."
_LITERT = ("ai-edge-litert",)
_ONNXRUNTIME = ("onnxruntime", "onnxruntime-gpu")
RUNTIMES: dict[str, RuntimeInfo] = {
    "litert": RuntimeInfo(
        _HERE + "ai_edge_litert_", "LiteRT", "LiteRT", "ai_edge_litert", _LITERT, CONVERTED, ".tflite"
    ),
    "onnxruntime": RuntimeInfo(
        _HERE + "onnxruntime_", "OnnxRuntime", "ONNX Runtime", "onnxruntime", _ONNXRUNTIME
    ),
    "openvino": RuntimeInfo(_HERE + "openvino_", "OpenVino", "OpenVINO", "openvino", ("openvino",)),
    "tensorrt": RuntimeInfo(
        _HERE + "tensorrt_", "TensorRT", "TensorRT", "tensorrt", ("tensorrt",), COMPILED, ".engine"
    ),
}
RUNTIMES.update((name, RuntimeInfo(*fields)) for name, fields in ADDED.items())


def add_runtime(name: str, info: RuntimeInfo) -> None:
    """Add a runtime: what a plugin module calls when it is imported.

    Raises:
        ValueError: another runtime has that name, or its kind cannot be added: engines are TensorRT's alone.
    """
    if info.kind not in (AS_IS, CONVERTED):
        raise ValueError(f"the runtime '{name}' has the kind '{info.kind}': use '{AS_IS}' or '{CONVERTED}'")
    if RUNTIMES.setdefault(name, info) != info:
        raise ValueError(f"a runtime named '{name}' exists already")


class Runtime(Protocol):
    """One model file, opened.

    Attributes:
        fixed: the exact number of images that it takes in a run; None for any number.
    """

    fixed: int | None

    def __enter__(self) -> Runtime: ...

    def __exit__(self, *error: object) -> None: ...

    def infer(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Every output by name for uint8 images [N, 3, H, W], as float32 arrays that no later run changes."""

    def session_options(self) -> dict[str, object]:
        """What it was opened with, as plain JSON, for the record."""


def known_options(name: str) -> dict[str, object]:
    """The options of a runtime at their defaults, without importing its library."""
    return dict(import_module(RUNTIMES[name].module).DEFAULTS)


def check_options(name: str, options: Mapping[str, object]) -> None:
    """Check the values of options where the runtime's adapter can, without importing its library.

    Raises:
        AgentProblem: a value that an option cannot have.
    """
    check = getattr(import_module(RUNTIMES[name].module), "check_options", None)
    if check is not None:
        check(options)


def open_runtime(name: str, model: str, options: Mapping[str, object]) -> Runtime:
    """The runtime `name` on the file `model`; imports no other runtime.

    Raises:
        AgentProblem: there is no such runtime, or it does not know an option.
    """
    info = RUNTIMES.get(name)
    if info is None:
        raise AgentProblem(
            f"this agent has no runtime named '{name}'", "Use one of: {}.".format(", ".join(RUNTIMES))
        )
    runtime: Runtime = getattr(import_module(info.module), info.class_name)(model, options)
    return runtime


def all_options(name: str, defaults: Mapping[str, object], options: Mapping[str, object]) -> dict[str, Any]:
    """`options` over `defaults`.

    Raises:
        AgentProblem: an option has no default, so the runtime does not know it.
    """
    unknown = sorted(set(options) - set(defaults))
    if unknown:
        raise AgentProblem("{}: unknown option {}".format(name, ", ".join(unknown)), "Remove it.")
    return dict(defaults, **options)
