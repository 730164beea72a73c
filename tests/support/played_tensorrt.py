"""TensorRT's classes, played by ONNX Runtime on the raw addresses that they are given.

A plan is an ONNX file behind a magic word; what the real builder makes of one is seen in test_tensorrt.py.
What an engine does with its addresses, shapes and profile is done here as TensorRT documents it; the methods'
names are held against the real classes there.
"""

from __future__ import annotations

import ctypes
import enum
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

__version__ = "10.3.0"
MAGIC = b"ptrt"
MOST = 100


class TensorIOMode(enum.Enum):
    INPUT, OUTPUT = 1, 2


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def log(self, severity: Any, message: str) -> None:
        raise NotImplementedError


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class ProfilingVerbosity(enum.Enum):
    DETAILED = 0


class BuilderFlag(enum.IntEnum):
    TF32 = 0


def plan(model: bytes, most: int = MOST, least: int = 1) -> bytes:
    """An engine for `least` to `most` images a run."""
    return MAGIC + f"{least:04d}{most:04d}".encode() + model


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, name: str, least: Any, usual: Any, most: Any) -> None:
        self.shapes[name] = (least, usual, most)


class Builder:
    num_DLA_cores = 0

    def __init__(self, logger: ILogger) -> None:
        self.logger = logger

    def create_network(self, flags: int) -> Any:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return SimpleNamespace(model=b"", num_inputs=1, get_input=lambda number: self.input)

    def create_builder_config(self) -> Any:
        self.flags, profiles = {BuilderFlag.TF32}, []
        return SimpleNamespace(
            set_memory_pool_limit=lambda pool, size: None,
            add_optimization_profile=lambda profile: profiles.append(profile) or len(profiles) - 1,
            profiles=profiles,
            clear_flag=self.flags.discard,
        )

    def create_optimization_profile(self) -> Any:
        return Profile()

    def build_serialized_network(self, network: Any, settings: Any) -> bytes:
        (profile,) = settings.profiles
        least, _, most = profile.shapes[self.input.name]
        return plan(network.model, most[0], least[0])

    @property
    def input(self) -> Any:
        return SimpleNamespace(name="images", shape=(-1, 3, 32, 32))


class OnnxParser:
    num_errors = 0

    def __init__(self, network: Any, logger: ILogger) -> None:
        self.network = network

    def parse_from_file(self, path: str) -> bool:
        self.network.model = Path(path).read_bytes()
        return True


def nptype(kind: Any) -> Any:
    return kind


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        if not plan.startswith(MAGIC):
            self.logger.log(ILogger.Severity.ERROR, "Serialization assertion failed: magicTag")
            return None
        counts, model = plan[len(MAGIC) : len(MAGIC) + 8], plan[len(MAGIC) + 8 :]
        return Engine(model, int(counts[:4]), int(counts[4:]))


class Engine:
    types = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}

    def __init__(self, model: bytes, least: int, most: int) -> None:
        self._counts = (least, least, most)
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.tensors = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, number: int) -> str:
        return self.tensors[number].name

    def _of(self, name: str) -> Any:
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        given = [tensor.name for tensor in self.session.get_inputs()]
        return TensorIOMode.INPUT if name in given else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return self.types[self._of(name).type]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        rest = tuple(self._of(name).shape[1:])
        return [(count, *rest) for count in self._counts]

    def create_execution_context(self) -> Context:
        return Context(self)


class Context:
    stub: Any = ctypes.CDLL(os.environ["CALKD_CUDART"]) if "CALKD_CUDART" in os.environ else None
    """The loaded libcudart stub, whose graphs call back here."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.shape, self.addresses = engine, (), {}
        self.executed = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self.engine.get_tensor_profile_shape(name, 0)
        if len(shape) != len(least) or any(
            not a <= n <= b for a, n, b in zip(least, shape, most, strict=True)
        ):
            return False
        self.shape = tuple(shape)
        return True

    def infer_shapes(self) -> list[str]:
        return [] if self.shape else ["images"]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if self.engine.get_tensor_mode(name) is TensorIOMode.INPUT:
            return self.shape
        return (self.shape[0], *self.engine._of(name).shape[1:])

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if self.stub.stub_capturing():
            self._again = ctypes.CFUNCTYPE(None)(self._run)
            self.stub.stub_on_launch(self._again)
        else:
            self._run()
        return True

    def _array(self, name: str) -> np.ndarray:
        kind = np.dtype(self.engine.get_tensor_dtype(name))
        shape = self.get_tensor_shape(name)
        size = int(np.prod(shape)) * kind.itemsize
        raw = (ctypes.c_char * size).from_address(self.addresses[name])
        return np.frombuffer(raw, dtype=kind).reshape(shape)

    def _run(self) -> None:
        self.executed += 1
        inputs = {tensor.name: self._array(tensor.name).copy() for tensor in self.engine.session.get_inputs()}
        names = [tensor.name for tensor in self.engine.session.get_outputs()]
        for name, values in zip(names, self.engine.session.run(names, inputs), strict=True):
            np.copyto(self._array(name), values)
