"""Running a TensorRT engine, after a check of its SHA-256; memory by libcudart.

Inputs and outputs are copied through host memory, as a caller would.
"""

from __future__ import annotations

import hashlib
from typing import Mapping

import numpy as np

from calkd_edge.agent.cudart import Cudart
from calkd_edge.agent.engine import created, last_error, load, logger_of
from calkd_edge.agent.engine_options import DEFAULTS, complete
from calkd_edge.agent.problem import AgentProblem

__all__ = ["DEFAULTS", "TensorRT", "check_options"]

check_options = complete


class TensorRT:
    """One engine, opened.

    Args:
        model: path of the engine.
        options: see DEFAULTS; `sha256` is that of the engine.
    """

    def __init__(self, model: str, options: Mapping[str, object]) -> None:
        self.model = model
        self.options = complete(options)
        self.fixed: int | None = None

    def __enter__(self) -> TensorRT:
        with open(self.model, "rb") as handle:
            plan = handle.read()
        actual = hashlib.sha256(plan).hexdigest()
        if actual != self.options["sha256"]:
            raise AgentProblem(
                "{} is not the engine that was built: its SHA-256 is {}, expected {}".format(
                    self.model, actual[:16], str(self.options["sha256"])[:16]
                ),
                "Build it again on this device.",
            )
        self.trt = load(self.options["module"])
        self.version = self.trt.__version__
        self.logger, self.messages = logger_of(self.trt)
        self.cuda = Cudart()
        runtime = created(self.trt, "Runtime", self.messages, lambda: self.trt.Runtime(self.logger))
        self.engine = runtime.deserialize_cuda_engine(plan)
        if self.engine is None:
            reason = last_error(self.trt, self.messages)
            raise AgentProblem(
                f"TensorRT {self.version} does not open this engine: {reason}",
                "It was built for another GPU or version: build it again on this device.",
            )
        create = self.engine.create_execution_context
        self.context = created(self.trt, "execution context", self.messages, create)
        self._open_tensors()
        least, _, most = self.engine.get_tensor_profile_shape(self.input, 0)
        self.fixed = int(most[0]) if least[0] == most[0] else None
        self._has_run = False
        self._captured: int | None = None
        return self

    def __exit__(self, *error: object) -> None:
        self.context = self.engine = None
        self.cuda.close()

    def infer(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Every output by name for uint8 images [N, 3, H, W]."""
        feed = np.ascontiguousarray(images, dtype=self._types[self.input])
        if feed.shape != self._shape:
            self._set_shape(feed)
        outputs = {name: np.empty(shape, self._types[name]) for name, shape in self._shapes.items()}
        self.cuda.to_device(self._addresses[self.input], feed)
        self.cuda.mark(0)
        self._execute(len(feed))
        self.cuda.mark(1)
        for name, values in outputs.items():
            self.cuda.to_host(values, self._addresses[name])
        self.cuda.wait()
        self._has_run = True
        return outputs

    @property
    def device_ms(self) -> float:
        """Milliseconds of the last run by the device's clock, without the copies; 0 before any."""
        return self.cuda.marked_ms() if self._has_run else 0.0

    def session_options(self) -> dict[str, object]:
        """What the engine was opened with."""
        return dict(self.options, tensorrt=self.version)

    def _open_tensors(self) -> None:
        names = [self.engine.get_tensor_name(number) for number in range(self.engine.num_io_tensors)]
        modes = {name: self.engine.get_tensor_mode(name) for name in names}
        (self.input,) = [name for name in names if modes[name] == self.trt.TensorIOMode.INPUT]
        self.outputs = [name for name in names if name != self.input]
        self._types = {name: np.dtype(self.trt.nptype(self.engine.get_tensor_dtype(name))) for name in names}
        largest = tuple(self.engine.get_tensor_profile_shape(self.input, 0)[2])
        self._sizes, self._addresses = {}, {}
        self._shape: tuple[int, ...] | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.context.set_input_shape(self.input, largest)
        for name in names:
            count = int(np.prod(tuple(self.context.get_tensor_shape(name)), dtype=np.int64))
            self._sizes[name] = count * self._types[name].itemsize
            self._addresses[name] = self.cuda.memory(max(1, self._sizes[name]))
            if not self.context.set_tensor_address(name, self._addresses[name]):
                raise AgentProblem(
                    f"TensorRT {self.version} takes no memory for {name}: "
                    f"{last_error(self.trt, self.messages)}",
                    "Build the engine again on this device.",
                )

    def _set_shape(self, feed: np.ndarray) -> None:
        """Prepare the context for images of another shape; runs of the same shape need nothing of it.

        Raises:
            AgentProblem: the engine was not built for that shape.
        """
        self._shape = None
        fits = feed.nbytes <= self._sizes[self.input] and self.context.set_input_shape(self.input, feed.shape)
        if not fits or self.context.infer_shapes():
            raise AgentProblem(
                f"the engine was not built for images of shape {list(feed.shape)}",
                "It takes at most {} images a run: devices.options.max_images.".format(
                    self.options["max_images"]
                ),
            )
        self._shapes = {name: tuple(self.context.get_tensor_shape(name)) for name in self.outputs}
        self._shape = feed.shape

    def _execute(self, count: int) -> None:
        if self.options["cuda_graph"] and self._captured == count:
            self.cuda.launch()
            return
        self._enqueue()
        if self.options["cuda_graph"] and self._captured is None:
            # The first run is not captured: TensorRT sets up there what a capture must not contain.
            self.cuda.wait()
            self.cuda.begin_capture()
            self._enqueue()
            self.cuda.end_capture()
            self._captured = count
            self.cuda.launch()

    def _enqueue(self) -> None:
        if not self.context.execute_async_v3(self.cuda.stream):
            raise AgentProblem(
                f"TensorRT {self.version} failed to run the engine: {last_error(self.trt, self.messages)}",
                "Free memory on the device, then build the engine again there.",
            )
