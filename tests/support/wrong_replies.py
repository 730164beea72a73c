"""Wrong answers of a device: changes to its files after the agent is done; for tests and for long soaks.

A change is a function of the session's folder on the device; it does nothing where its file is not there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from directory_device import DirectoryDevice

Change = Callable[[Path], None]

STATE = {"load_1min": 0.1}
TIME_REPLY: dict[str, Any] = {
    "protocol": 1,
    "load_ms": 1.0,
    "first_ms": 1.0,
    "warmup_runs": 1,
    "warmup_seconds": 1.0,
    "steady": True,
    "session_options": {},
    "before": STATE,
    "after": STATE,
    "missed": 0,
    "window_ns": [0, 1],
    "idle_ns": [],
    "floating": [],
    "peak_memory_bytes": 1,
}
"""A right reply to the verb `time`."""


class ChangingDevice(DirectoryDevice):
    """A device that changes its files after the agent is done."""

    change: Change = staticmethod(lambda folder: None)  # type: ignore[assignment]

    def run(self, argv: Sequence[str], *, timeout_s: float, on_line: Callable[[str], None]) -> int:
        """Run the command, then change what it left."""
        status = super().run(argv, timeout_s=timeout_s, on_line=on_line)
        self.change(self.session)
        return status


def newest_reply(folder: Path) -> Path:
    """The reply of the last job."""
    return max(folder.glob("reply-*.json"), key=lambda path: int(path.stem.split("-")[1]))


def reply_as(content: bytes) -> Change:
    """The reply has this content."""
    return lambda folder: void(newest_reply(folder).write_bytes(content))


def reply_with(**values: Any) -> Change:
    """The reply has other values; `...` removes a key."""

    def change(folder: Path) -> None:
        reply = json.loads(newest_reply(folder).read_text())
        reply.update(values)
        kept = {key: value for key, value in reply.items() if value is not ...}
        newest_reply(folder).write_text(json.dumps(kept))

    return change


def arrays_as(make: Callable[[dict[str, np.ndarray]], dict[str, Any]], *, compressed: bool = False) -> Change:
    """The outputs are what `make` makes of them."""

    def change(folder: Path) -> None:
        path = folder / "outputs.npz"
        if path.exists():
            with np.load(path) as stored:
                arrays = make(dict(stored))
            (np.savez_compressed if compressed else np.savez)(path, **arrays)

    return change


def samples_as(make: Callable[[np.ndarray], np.ndarray]) -> Change:
    """The samples of a timing are what `make` makes of them."""

    def change(folder: Path) -> None:
        path = folder / "samples.npy"
        if path.exists():
            np.save(path, make(np.load(path)))

    return change


def file_as(name: str, content: bytes) -> Change:
    """A file has this content."""
    return lambda folder: void((folder / name).write_bytes(content))


def header(shape: object, descr: str = "<f4") -> bytes:
    """An .npy file that claims a shape and holds nothing."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def each(values: dict[str, np.ndarray], make: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    """The function of each array."""
    return {name: make(value) for name, value in values.items()}


def void(_: object) -> None:
    """Nothing."""


REPLIES: dict[str, Change] = {
    "no JSON": reply_as(b"<html>"),
    "no text": reply_as(b"\xff\xfe\x00"),
    "deep": reply_as(b"[" * 100_000),
    "deep and closed": reply_as(b'{"images": ' + b"[" * 900 + b"]" * 900 + b', "protocol": 1}'),
    "list": reply_as(b"[4]"),
    "null": reply_as(b"null"),
    "long number": reply_as(b'{"protocol": 1, "images": ' + b"9" * 5_000 + b"}"),
    "images a list": reply_with(images=[4]),
    "images a fraction": reply_with(images=4.5),
    "options a list": reply_with(session_options=[1]),
    "no options": reply_with(session_options=...),
}
"""Wrong replies to every verb that runs a model; the samples and outputs are right."""

OUTPUTS: dict[str, Change] = {
    "no archive": file_as("outputs.npz", b"PK\x03\x04"),
    "empty": file_as("outputs.npz", b""),
    "no arrays": arrays_as(lambda a: {}),
    "0-d": arrays_as(lambda a: each(a, lambda v: v[0, 0])),
    "text": arrays_as(lambda a: each(a, lambda v: v.astype(str))),
    "objects": arrays_as(lambda a: each(a, lambda v: np.array([None] * len(v), object))),
    "fewer rows": arrays_as(lambda a: each(a, lambda v: v[:-1])),
    "more rows": arrays_as(lambda a: each(a, lambda v: np.concatenate([v, v[:1]]))),
    "one row": arrays_as(lambda a: each(a, lambda v: v[:1])),
    "claims terabytes": file_as("outputs.npz", header("(64, 1000000000000)")),
    "negative": file_as("outputs.npz", header("(-64, 10)")),
    "inflates": arrays_as(lambda a: each(a, np.zeros_like), compressed=True),
}
"""Wrong outputs with a right reply."""

SAMPLES: dict[str, Change] = {
    "no array": file_as("samples.npy", b"x"),
    "empty": samples_as(lambda v: v[:0]),
    "fewer": samples_as(lambda v: v[:3]),
    "2-d": samples_as(lambda v: v[:, None]),
    "fractions": samples_as(lambda v: v.astype(float)),
    "zero": samples_as(lambda v: v * 0),
    "negative": samples_as(lambda v: -v),
    "years": samples_as(lambda v: v + 2**62),
    "text": samples_as(lambda v: v.astype(str)),
    "claims terabytes": file_as("samples.npy", header("(1000000000000,)", "<i8")),
}
"""Wrong samples with a right reply."""

TIMES: dict[str, Change] = {
    **{name: change for name, change in REPLIES.items() if "images" not in name},
    "steady a number": reply_with(steady=1),
    "load NaN": reply_with(load_ms=float("nan")),
    "load negative": reply_with(load_ms=-1.0),
    "window of one": reply_with(window_ns=[1]),
    "idle no windows": reply_with(idle_ns=[[1, "2"]]),
    "memory as text": reply_with(peak_memory_bytes="1"),
    "state a number": reply_with(before=4),
    "no state": reply_with(after=...),
}
"""Wrong replies to the verb `time`."""
