"""The few calls of NVIDIA's libcudart that running an engine takes: ctypes, nothing to install on a board."""

from __future__ import annotations

import ctypes
import os
from typing import Any

from calkd_edge.agent.problem import AgentProblem

NAMES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12")
TO_DEVICE, TO_HOST = 1, 2
CAPTURE_THREAD_LOCAL = 1


class Cudart:
    """A loaded libcudart and one stream of it.

    Args:
        name: of the library; CALKD_CUDART, then the usual names, where it is not given.

    Raises:
        AgentProblem: there is none, or its driver refuses.
    """

    def __init__(self, name: str | None = None) -> None:
        self._library: Any = _loaded(name)
        self._library.cudaGetErrorString.restype = ctypes.c_char_p
        self._memory: list[int] = []
        self.stream = self._handle(self._library.cudaStreamCreate)
        self._events = [self._handle(self._library.cudaEventCreate) for _ in range(2)]
        self._graph: int | None = None

    def memory(self, size: int) -> int:
        """Address of `size` new bytes on the device; freed by `close`."""
        place = ctypes.c_void_p()
        self._check(self._library.cudaMalloc(ctypes.byref(place), ctypes.c_size_t(size)))
        self._memory.append(int(place.value or 0))
        return self._memory[-1]

    def to_device(self, target: int, source: Any) -> None:
        """Copy a contiguous numpy array to an address on the device."""
        self._copy(target, source.ctypes.data, source.nbytes, TO_DEVICE)

    def to_host(self, target: Any, source: int) -> None:
        """Copy from an address on the device into a contiguous numpy array."""
        self._copy(target.ctypes.data, source, target.nbytes, TO_HOST)

    def wait(self) -> None:
        """Until everything in the stream is done."""
        self._check(self._library.cudaStreamSynchronize(ctypes.c_void_p(self.stream)))

    def mark(self, place: int) -> None:
        """Note the device's time in the stream: 0 the start, 1 the end."""
        event = ctypes.c_void_p(self._events[place])
        self._check(self._library.cudaEventRecord(event, ctypes.c_void_p(self.stream)))

    def marked_ms(self) -> float:
        """Milliseconds of the device between both marks, after `wait`."""
        found = ctypes.c_float()
        start, end = (ctypes.c_void_p(event) for event in self._events)
        self._check(self._library.cudaEventElapsedTime(ctypes.byref(found), start, end))
        return float(found.value)

    def begin_capture(self) -> None:
        """Note what is sent to the stream from here on, instead of doing it."""
        stream = ctypes.c_void_p(self.stream)
        self._check(self._library.cudaStreamBeginCapture(stream, CAPTURE_THREAD_LOCAL))

    def end_capture(self) -> None:
        """Make a graph of what was noted; `launch` does it."""
        graph, ready = ctypes.c_void_p(), ctypes.c_void_p()
        stream = ctypes.c_void_p(self.stream)
        self._check(self._library.cudaStreamEndCapture(stream, ctypes.byref(graph)))
        instantiate = self._library.cudaGraphInstantiateWithFlags
        self._check(instantiate(ctypes.byref(ready), graph, ctypes.c_ulonglong(0)))
        self._check(self._library.cudaGraphDestroy(graph))
        self._graph = int(ready.value or 0)

    def launch(self) -> None:
        """Do what was captured."""
        graph, stream = ctypes.c_void_p(self._graph), ctypes.c_void_p(self.stream)
        self._check(self._library.cudaGraphLaunch(graph, stream))

    def close(self) -> None:
        """Give back memory, events and the stream."""
        for place in self._memory:
            self._library.cudaFree(ctypes.c_void_p(place))
        self._memory = []
        if self._graph is not None:
            self._library.cudaGraphExecDestroy(ctypes.c_void_p(self._graph))
            self._graph = None
        for event in self._events:
            self._library.cudaEventDestroy(ctypes.c_void_p(event))
        self._library.cudaStreamDestroy(ctypes.c_void_p(self.stream))

    def _handle(self, create: Any) -> int:
        made = ctypes.c_void_p()
        self._check(create(ctypes.byref(made)))
        return int(made.value or 0)

    def _copy(self, target: int, source: int, size: int, kind: int) -> None:
        places = (ctypes.c_void_p(target), ctypes.c_void_p(source))
        stream = ctypes.c_void_p(self.stream)
        self._check(self._library.cudaMemcpyAsync(*places, ctypes.c_size_t(size), kind, stream))

    def _check(self, code: int) -> None:
        if code:
            said = self._library.cudaGetErrorString(code)
            raise AgentProblem(
                "CUDA error {}: {}".format(code, said.decode("utf-8", "replace") if said else "unknown"),
                "Look at the GPU, its driver and its free memory: calkd-edge doctor",
            )


def _loaded(name: str | None) -> Any:
    given = name or os.environ.get("CALKD_CUDART")
    refused = []
    for one in (given,) if given else NAMES:
        try:
            return ctypes.CDLL(one)
        except OSError as missing:
            refused.append(str(missing))
    raise AgentProblem(
        "libcudart cannot be loaded: {}".format("; ".join(refused)),
        "Install CUDA's runtime (JetPack 6: sudo apt install cuda-cudart-12-6), or name it in CALKD_CUDART.",
    )
