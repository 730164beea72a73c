"""The calls of NVIDIA's libcudart that running an engine needs, through ctypes: nothing to install."""

from __future__ import annotations

import ctypes
import glob
import os
import sys
from typing import TYPE_CHECKING, Any, Callable

from calkd_edge.agent.machine import FOLDERS
from calkd_edge.agent.problem import AgentProblem

if TYPE_CHECKING:
    import numpy as np

NAMES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12")
OF_PIP = ("cuda_runtime/lib", "cu*/lib")
TO_DEVICE, TO_HOST = 1, 2
CAPTURE_THREAD_LOCAL = 1


class Cudart:
    """A loaded libcudart and one stream of it.

    Args:
        name: of the library; by default the first of `candidates` that can be loaded.

    Raises:
        AgentProblem: the library is missing, or its driver reports an error.
    """

    def __init__(self, name: str | None = None) -> None:
        self._library: Any = load(name)
        self._library.cudaGetErrorString.restype = ctypes.c_char_p
        self._memory: list[int] = []
        self.stream = self._handle(self._library.cudaStreamCreate)
        self._events = [self._handle(self._library.cudaEventCreate) for _ in range(2)]
        self._graph: int | None = None

    def memory(self, size: int) -> int:
        """Address of `size` new bytes on the device; freed by `close`."""
        address = ctypes.c_void_p()
        self._check(self._library.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(size)))
        self._memory.append(int(address.value or 0))
        return self._memory[-1]

    def to_device(self, target: int, source: np.ndarray) -> None:
        """Copy a contiguous numpy array to an address on the device."""
        self._copy(target, source.ctypes.data, source.nbytes, TO_DEVICE)

    def to_host(self, target: np.ndarray, source: int) -> None:
        """Copy from an address on the device into a contiguous numpy array."""
        self._copy(target.ctypes.data, source, target.nbytes, TO_HOST)

    def wait(self) -> None:
        """Wait until everything in the stream is done."""
        self._check(self._library.cudaStreamSynchronize(ctypes.c_void_p(self.stream)))

    def mark(self, position: int) -> None:
        """Record the device's time in the stream: position 0 is the start, 1 the end."""
        event = ctypes.c_void_p(self._events[position])
        self._check(self._library.cudaEventRecord(event, ctypes.c_void_p(self.stream)))

    def marked_ms(self) -> float:
        """Milliseconds between the two marks by the device's clock; call `wait` first."""
        elapsed_ms = ctypes.c_float()
        start, end = (ctypes.c_void_p(event) for event in self._events)
        self._check(self._library.cudaEventElapsedTime(ctypes.byref(elapsed_ms), start, end))
        return float(elapsed_ms.value)

    def begin_capture(self) -> None:
        """Record what is sent to the stream from now on, instead of running it."""
        stream = ctypes.c_void_p(self.stream)
        self._check(self._library.cudaStreamBeginCapture(stream, CAPTURE_THREAD_LOCAL))

    def end_capture(self) -> None:
        """Make a graph of the recorded work; `launch` runs it."""
        graph, ready = ctypes.c_void_p(), ctypes.c_void_p()
        stream = ctypes.c_void_p(self.stream)
        self._check(self._library.cudaStreamEndCapture(stream, ctypes.byref(graph)))
        instantiate = self._library.cudaGraphInstantiateWithFlags
        self._check(instantiate(ctypes.byref(ready), graph, ctypes.c_ulonglong(0)))
        self._check(self._library.cudaGraphDestroy(graph))
        self._graph = int(ready.value or 0)

    def launch(self) -> None:
        """Run the captured graph."""
        graph, stream = ctypes.c_void_p(self._graph), ctypes.c_void_p(self.stream)
        self._check(self._library.cudaGraphLaunch(graph, stream))

    def close(self) -> None:
        """Free memory, events and the stream."""
        for address in self._memory:
            self._library.cudaFree(ctypes.c_void_p(address))
        self._memory = []
        if self._graph is not None:
            self._library.cudaGraphExecDestroy(ctypes.c_void_p(self._graph))
            self._graph = None
        for event in self._events:
            self._library.cudaEventDestroy(ctypes.c_void_p(event))
        self._library.cudaStreamDestroy(ctypes.c_void_p(self.stream))

    def _handle(self, create: Callable[..., int]) -> int:
        handle = ctypes.c_void_p()
        self._check(create(ctypes.byref(handle)))
        return int(handle.value or 0)

    def _copy(self, target: int, source: int, size: int, kind: int) -> None:
        addresses = (ctypes.c_void_p(target), ctypes.c_void_p(source))
        stream = ctypes.c_void_p(self.stream)
        self._check(self._library.cudaMemcpyAsync(*addresses, ctypes.c_size_t(size), kind, stream))

    def _check(self, code: int) -> None:
        if code:
            text = self._library.cudaGetErrorString(code)
            raise AgentProblem(
                "CUDA error {}: {}".format(code, text.decode("utf-8", "replace") if text else "unknown"),
                "Check the GPU, its driver and its free memory: calkd-edge doctor",
            )


def candidates() -> list[str]:
    """What may be libcudart: for the loader to find, where pip puts it, and where CUDA's packages do."""
    requested = os.environ.get("CALKD_CUDART")
    if requested:
        return [requested]
    of_pip = [os.path.join(glob.escape(root), "nvidia", folder) for root in sys.path for folder in OF_PIP]
    paths = [path for folder in (*of_pip, *FOLDERS) for path in sorted(glob.glob(folder + "/libcudart.so*"))]
    return [*NAMES, *paths]


def load(name: str | None = None) -> ctypes.CDLL:
    """The loaded library.

    Args:
        name: of the library; by default the first of `candidates` that can be loaded.

    Raises:
        AgentProblem: none can.
    """
    reasons = []
    for candidate in [name] if name else candidates():
        try:
            return ctypes.CDLL(candidate)
        except OSError as missing:
            reasons.append(str(missing))
    raise AgentProblem(
        "libcudart cannot be loaded: {}".format("; ".join(reasons)),
        "Install CUDA's runtime (JetPack 6: sudo apt install cuda-cudart-12-6; a PC: python3 -m pip install "
        "nvidia-cuda-runtime-cu12). Where it is elsewhere, add its folder to /etc/ld.so.conf.d and run "
        "sudo ldconfig.",
    )
