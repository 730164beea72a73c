"""OpenVINO on the CPU with an explicit precision: by default it computes float32 in bfloat16 where it can."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Mapping

import numpy as np

from calkd_edge.agent.problem import AgentProblem
from calkd_edge.agent.runtimes import all_options

DEFAULTS: dict[str, Any] = {"threads": 1, "inference_precision": "f32"}
"""inference_precision: of the layers that are float in the file; int8 layers stay int8."""
CHOICES = {"inference_precision": ("f32", "f16", "bf16")}


class OpenVino:
    """One file, compiled.

    Args:
        model: path of the .onnx file.
        options: threads, inference_precision ("f32", "f16" or "bf16"); see DEFAULTS.
    """

    def __init__(self, model: str, options: Mapping[str, object]) -> None:
        self.model = model
        self.options = all_options("openvino", DEFAULTS, options, CHOICES)
        self.request: Any = None
        self.input: Any = None
        self.fixed: int | None = None

    def __enter__(self) -> OpenVino:
        try:
            import openvino
        except Exception as missing:  # also a package of another Python or numpy
            raise AgentProblem(
                f"openvino cannot be imported by this Python: {missing}",
                "Install it there: python3 -m pip install --user openvino",
            ) from missing
        self.version, self.tensor, self.core = openvino.__version__, openvino.Tensor, _core()
        compiled = self._compiled()
        used = {name: str(compiled.get_property(name)) for name in ("INFERENCE_NUM_THREADS", "NUM_STREAMS")}
        self.used = dict(
            used, INFERENCE_PRECISION_HINT=_name_of(compiled.get_property("INFERENCE_PRECISION_HINT"))
        )
        requested = self.options["inference_precision"]
        if self.used["INFERENCE_PRECISION_HINT"] != requested:
            raise AgentProblem(
                "openvino computes in {} instead of {}".format(
                    self.used["INFERENCE_PRECISION_HINT"], requested
                ),
                "Choose a precision that this CPU has.",
            )
        shape = compiled.inputs[0].get_partial_shape()
        self.fixed = shape[0].get_length() if shape[0].is_static else None
        self.outputs = [output.get_any_name() for output in compiled.outputs]
        self.request = compiled.create_infer_request()
        # OpenVINO 2026.4 returns no rows for some int8 files of an open number of images in f16.
        self.one_shape = self.fixed is None and requested == "f16"
        return self

    def __exit__(self, *error: object) -> None:
        self.request = self.input = None

    def infer(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Every output by name for uint8 images [N, 3, H, W]."""
        if self.input is None or self.input.shape != images.shape or self.input.dtype != images.dtype:
            if self.one_shape:
                self.request = self._compiled(images.shape).create_infer_request()
            self.input = np.empty_like(images)
            self.request.set_input_tensor(self.tensor(self.input, shared_memory=True))
        # The images are copied into registered memory: registering other memory costs more than a layer of a
        # small model. The next run overwrites the results, so the caller gets copies.
        self.input[...] = images
        results = self.request.infer(share_outputs=True)
        return {name: np.array(value) for name, value in zip(self.outputs, results.values())}

    def session_options(self) -> dict[str, object]:
        """What the file was compiled with: the options, and what the runtime reports."""
        return dict(self.options, openvino=self.version, **self.used)

    def _compiled(self, shape: tuple[int, ...] | None = None) -> Any:
        """The file compiled, for images of one shape where it is given.

        Raises:
            AgentProblem: OpenVINO refuses it.
        """
        try:
            model = self.core.read_model(self.model)
            if shape is not None:
                model.reshape(list(shape))
            return self.core.compile_model(model, "CPU", self._settings())
        except RuntimeError as refused:
            raise AgentProblem(
                f"openvino {self.version} refuses {self.model}: {refused}",
                "Check the file with: calkd-edge lint MODEL.onnx",
            ) from refused

    def _settings(self) -> dict[str, object]:
        return {
            "INFERENCE_NUM_THREADS": int(self.options["threads"]),
            "INFERENCE_PRECISION_HINT": self.options["inference_precision"],
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
        }


@lru_cache
def _core() -> Any:
    """The only one of a process: each takes the stack that signals run on, and gives back the one before it,
    though that may be gone; then the next signal ends the process."""
    import openvino

    return openvino.Core()


def _name_of(kind: object) -> str:
    """The short name of one of OpenVINO's types, whose text is <Type: 'float32'>."""
    names = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
    return next((short for long, short in names.items() if f"'{long}'" in repr(kind)), str(kind))
