"""Runtimes by name: each opens one model file and runs it.

A runtime is one module and one line in RUNTIMES. The module has
    DEFAULTS            the options of the runtime at their defaults, which say what kind of value each takes
    CHOICES             if some options are one of a few texts: those texts, by option
    check_options       if there is more to check without the library
    a class             made with (path of the model file, options); a context manager with the methods of
                        Runtime
It imports its library when it opens a file, and not before: the host reads DEFAULTS without that library.
A plugin adds its runtime with `add_runtime`; its module travels to the device with the agent.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Mapping, NamedTuple, Protocol, Sequence

from calkd_edge.agent.problem import AgentProblem
from calkd_edge.agent.runtimes.added import ADDED

if TYPE_CHECKING:
    import numpy as np

AS_IS, COMPILED, CONVERTED = "as_is", "compiled", "converted"

MOST_THREADS_PER_CORE = 4


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
    """Check the values of options without importing the runtime's library.

    Raises:
        AgentProblem: a value that an option cannot have.
    """
    module = import_module(RUNTIMES[name].module)
    all_options(name, module.DEFAULTS, options, getattr(module, "CHOICES", {}))
    if hasattr(module, "check_options"):
        module.check_options(options)


def check_threads(name: str, threads: int, cores: int) -> None:
    """Refuse so many threads that they wait for each other for minutes.

    Raises:
        AgentProblem: there are more than a few for each core.
    """
    if threads > cores * MOST_THREADS_PER_CORE and not RUNTIMES[name].is_compiled:
        raise AgentProblem(
            f"{threads} threads of {name} for {cores} cores",
            f"Use {cores * MOST_THREADS_PER_CORE} or fewer; {cores} are usually fastest.",
        )


def open_runtime(name: str, model: str, options: Mapping[str, object]) -> Runtime:
    """The runtime `name` on the file `model`; imports no other runtime.

    Raises:
        AgentProblem: there is no such runtime, it does not know an option, or has too many threads.
    """
    info = RUNTIMES.get(name)
    if info is None:
        raise AgentProblem(
            f"this agent has no runtime named '{name}'", "Use one of: {}.".format(", ".join(RUNTIMES))
        )
    check_threads(name, int(str(options.get("threads", 1))), len(os.sched_getaffinity(0)))
    runtime: Runtime = getattr(import_module(info.module), info.class_name)(model, options)
    return runtime


def all_options(
    name: str,
    defaults: Mapping[str, object],
    options: Mapping[str, object],
    choices: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """`options` over `defaults`.

    Raises:
        AgentProblem: an option has no default, so the runtime does not know it; or its value is of another
            kind than the default, or none of the choices.
    """
    unknown = sorted(set(options) - set(defaults))
    if unknown:
        raise AgentProblem("{}: unknown option {}".format(name, ", ".join(unknown)), "Remove it.")
    for key, value in options.items():
        valid = (choices or {}).get(key)
        default = defaults[key]
        if not (default is None or _is_like(value, default)) or (valid is not None and value not in valid):
            remedy = "Use {}.".format(
                " or ".join(valid) if valid else f"{_WORDS[type(default)]}, such as {default!r}"
            )
            raise AgentProblem(f"{name}: {key} cannot be {value!r}", remedy)
    return dict(defaults, **options)


_WORDS = {bool: "true or false", int: "a whole number", str: "a text", list: "a list of texts"}


def _is_like(value: object, default: object) -> bool:
    """Whether a value is of the default's kind; a list holds texts, each once, and some if it does."""
    if isinstance(value, list) and isinstance(default, list):
        texts = [item for item in value if isinstance(item, str)]
        return len(set(texts)) == len(value) and bool(value) >= bool(default)
    return type(value) is type(default)
