"""The batches of an epoch, on the device that trains: on a GPU they are made while it computes.

A thread draws, gathers and copies the next batches in a CUDA stream of its own, from pinned memory, and
augments them there; the training waits for them on the GPU, not in Python. The order, the draws and the
pixels are those of a training without it. On a CPU there is no thread. Not yet run on a GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

import torch

from calkd_edge.training.batch import Batch

AHEAD = 3
"""Batches that are ready at most, besides the one in use."""
_POLL_S = 0.1

Item = TypeVar("Item")
Ready = TypeVar("Ready")


def fed(batches: Iterable[Batch], device: torch.device) -> Generator[Batch, None, None]:
    """The batches in their order, on a device and augmented; close the iterator to end its thread."""
    if device.type != "cuda":
        for batch in batches:
            yield batch.to(device)
        return
    remaining = iter(batches)
    first = next(remaining, None)
    if first is None:
        return
    remaining = chain([first], remaining)
    if first.images.device.type == device.type:  # resident: there is nothing to gather or to copy
        for batch in remaining:
            yield batch.to(device)
        return
    copies = _Copies(device)
    for ready in ahead(remaining, copies.begin):
        yield copies.end(ready)


@dataclass
class _Result(Generic[Ready]):
    """What the thread hands over: an item, an error, or neither at the end."""

    item: Ready | None = None
    error: BaseException | None = None
    is_last: bool = False


def ahead(items: Iterable[Item], prepare: Callable[[Item], Ready], *, most: int = AHEAD) -> Iterator[Ready]:
    """`prepare(item)` of each item in order, computed by a thread up to `most` items in advance.

    An error of the items or of `prepare` is raised where its item would have come. The thread ends with the
    iterator, also where that is closed before its end.
    """
    queue: Queue[_Result[Ready]] = Queue(most)
    is_closed = threading.Event()

    def put(result: _Result[Ready]) -> None:
        while not is_closed.is_set():
            try:
                queue.put(result, timeout=_POLL_S)
            except Full:
                continue
            return

    def produce() -> None:
        try:
            for item in items:
                if is_closed.is_set():
                    return
                put(_Result(prepare(item)))
            put(_Result(is_last=True))
        except BaseException as error:  # whoever takes the batches raises it
            put(_Result(error=error))

    thread = threading.Thread(target=produce, name="feed", daemon=True)
    thread.start()
    try:
        while True:
            try:
                result = queue.get(timeout=_POLL_S)
            except Empty:
                continue
            if result.error is not None:
                raise result.error
            if result.is_last:
                return
            yield result.item  # type: ignore[misc]  # an item where it is neither error nor end
    finally:
        is_closed.set()
        thread.join()


class _Copies:
    """Copies of batches to a GPU, in a stream beside the training's."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's stub

    def begin(self, batch: Batch) -> tuple[Batch, torch.cuda.Event]:
        """Start copying and augmenting; the event occurs when both are done."""
        with torch.cuda.stream(self.stream):
            result = batch.pinned().to(self.device)
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's stub
            done.record(self.stream)
        return result, done

    def end(self, ready: tuple[Batch, torch.cuda.Event]) -> Batch:
        """The batch for the current stream, which waits for it; its memory is not reused before."""
        batch, done = ready
        current = torch.cuda.current_stream(self.device)
        current.wait_event(done)
        for tensor in batch.tensors():
            tensor.record_stream(current)
        return batch
