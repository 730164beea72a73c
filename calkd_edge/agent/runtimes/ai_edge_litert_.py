"""LiteRT on the CPU (XNNPACK), one image a run, on a file that the host converted from the ONNX file.

The file's SHA-256 is checked before it is opened: LiteRT reads past the end of some damaged files.
"""

from __future__ import annotations

import hashlib
from typing import Any, Mapping

import numpy as np

from calkd_edge.agent.problem import AgentProblem
from calkd_edge.agent.runtimes import all_options

DEFAULTS: dict[str, Any] = {"threads": 1, "sha256": None}
"""sha256: that the file must have; None where it is not known."""


class LiteRT:
    """One file, opened with its memory allocated.

    Args:
        model: path of the .tflite file.
        options: threads, sha256; see DEFAULTS.
    """

    def __init__(self, model: str, options: Mapping[str, object]) -> None:
        self.model = model
        self.options = all_options("litert", DEFAULTS, options)
        self.interpreter: Any = None
        self.fixed: int | None = 1

    def __enter__(self) -> LiteRT:
        try:
            import ai_edge_litert
            from ai_edge_litert.interpreter import Interpreter
        except Exception as missing:  # also a library of another machine, Python or numpy
            raise AgentProblem(
                f"ai_edge_litert cannot be imported by this Python: {missing}",
                "Install it there: python3 -m pip install --user ai-edge-litert",
            ) from missing
        with open(self.model, "rb") as handle:
            content = handle.read()
        actual = hashlib.sha256(content).hexdigest()
        if self.options["sha256"] not in (None, actual):
            raise AgentProblem(
                "{} is not the file that was converted: its SHA-256 is {}, expected {}".format(
                    self.model, actual[:16], str(self.options["sha256"])[:16]
                ),
                "Copy it to this device again.",
            )
        self.version = getattr(ai_edge_litert, "__version__", "unknown")
        try:
            self.interpreter = Interpreter(model_content=content, num_threads=int(self.options["threads"]))
            self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as refused:
            raise AgentProblem(
                f"litert {self.version} refuses {self.model}: {refused}",
                "Convert it again, or upgrade ai-edge-litert on this device.",
            ) from refused
        (details,) = self.interpreter.get_input_details()
        self.input, self.shape = details["index"], tuple(int(size) for size in details["shape"])
        self.outputs = {output["name"]: output["index"] for output in self.interpreter.get_output_details()}
        return self

    def __exit__(self, *error: object) -> None:
        self.interpreter = None

    def infer(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Every output by name for uint8 images [1, 3, H, W]."""
        if images.shape != self.shape:
            raise AgentProblem(
                f"the images have shape {list(images.shape)}, the file takes {list(self.shape)}",
                "Pass one image a run: images_per_run = 1.",
            )
        self.interpreter.set_tensor(self.input, images)
        self.interpreter.invoke()
        return {name: np.array(self.interpreter.get_tensor(index)) for name, index in self.outputs.items()}

    def session_options(self) -> dict[str, object]:
        """What the file was opened with."""
        return dict(self.options, litert=self.version)
