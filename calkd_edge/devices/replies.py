"""What an agent replies, checked before anything is made of it: a device may be broken, or lie.

In scope: shape, type and size of replies and arrays. Out of scope: what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from calkd_edge.errors import DeviceError
from calkd_edge.files import arrays as files
from calkd_edge.files.arrays import Array
from calkd_edge.files.bounded import Unreadable, parse_json, read_bounded
from calkd_edge.files.zipped import opened_zip
from calkd_edge.records import FloatArray, Json

MOST_REPLY_BYTES = 64 * 2**20
MOST_FILE_BYTES = 2**30
"""Of any file, unless its session knows better."""

MOST_VALUES = 2**17
"""Values of all outputs together for one image."""

LONGEST_RUN_NS = 4 * 3600 * 10**9

_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Nanoseconds = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Window = Annotated[list[_Nanoseconds], Field(min_length=2, max_length=2)]
_Measure = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Reply(BaseModel):
    """The keys that the host reads; an agent may add others."""

    model_config = ConfigDict(strict=True, extra="allow")


class PredictReply(Reply):
    """Of the verb `predict`."""

    images: _Count
    session_options: dict[str, Json]


class BuildReply(Reply):
    """Of the verb `build`."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size_bytes: _Count
    seconds: _Measure
    tensorrt: str
    options: dict[str, Json]
    warnings: list[str]


class State(Reply):
    """Of a machine, before and after its runs."""

    load_1min: _Measure


class TimeReply(Reply):
    """Of the verb `time`."""

    load_ms: _Measure
    first_ms: _Measure
    warmup_runs: _Count
    warmup_seconds: _Measure
    steady: bool
    session_options: dict[str, Json]
    before: State
    after: State
    missed: _Count
    window_ns: _Window
    idle_ns: list[_Window]
    floating: list[str]
    peak_memory_bytes: _Count
    others_cores: _Measure | None = None


def refused(device: str, what: str) -> DeviceError:
    """The error for a reply that is wrong."""
    return DeviceError(
        f"{device}: {what}",
        remedy="Run again; if it happens again, the device or its connection is broken: leave it out.",
    )


def checked(device: str, verb: str, reply: dict[str, Any], kind: type[BaseModel]) -> dict[str, Any]:
    """The reply itself, which has the keys of its kind.

    Raises:
        DeviceError: a key is absent or has a value of another kind.
    """
    try:
        kind.model_validate(reply)
    except ValidationError as wrong:
        faults = wrong.errors(include_url=False, include_input=False)
        absent = [".".join(map(str, fault["loc"])) for fault in faults if fault["type"] == "missing"]
        others = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults]
        reason = f"no {', '.join(absent)}" if absent else "; ".join(others[:3])
        raise DeviceError(
            f"{device}: the agent's reply to {verb} is not understood: {ascii(reason[:300])[1:-1]}",
            remedy="Use the agent of this calkd-edge.",
        ) from wrong
    return reply


def read_reply(device: str, verb: str, path: Path) -> dict[str, Any]:
    """The reply in a file that a device wrote.

    Raises:
        DeviceError: it is no object in JSON, or is too large or too deep.
    """
    try:
        reply = parse_json(read_bounded(path, MOST_REPLY_BYTES))
    except ValueError as broken:
        raise DeviceError(
            f"{device}: the agent's reply to {verb} is not JSON: {ascii(str(broken))[1:-1][:300]}",
            remedy="Run again.",
        ) from broken
    if not isinstance(reply, dict):
        raise DeviceError(
            f"{device}: the agent's reply to {verb} is not understood: {ascii(str(reply)[:200])[1:-1]}",
            remedy="Use the agent of this calkd-edge.",
        )
    return reply


def read_arrays(device: str, path: Path) -> dict[str, Array]:
    """The arrays of an .npz by name, or that of an .npy under its file's name; nothing is unpickled.

    An agent compresses nothing, so the size of the file bounds its arrays.

    Raises:
        DeviceError: it cannot be read.
    """
    try:
        if path.suffix != ".npz":
            return {path.name: _native(files.read_array(path))}
        with opened_zip(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                raise Unreadable("its members are compressed")
        return {name: _native(values) for name, values in files.read_arrays(path).items()}
    except (Unreadable, OSError) as broken:
        raise DeviceError(
            f"{device}: {path.name} cannot be read: {ascii(str(broken))[1:-1][:300]}",
            remedy="Run again; if it happens again, check the free space there.",
        ) from broken


def _native(values: Array) -> Array:
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def check_outputs(device: str, outputs: Mapping[str, np.ndarray], images: int) -> dict[str, FloatArray]:
    """Outputs of numbers with a row for each of the images that were sent.

    Raises:
        DeviceError: they are not.
    """
    kinds = {name: f"{values.dtype} {values.shape}" for name, values in outputs.items()}
    are_rows = all(values.ndim and len(values) == images for values in outputs.values())
    if not outputs or not are_rows or any(values.dtype.kind == "U" for values in outputs.values()):
        raise refused(device, f"the outputs are {ascii(kinds)[:300]} for {images} images")
    return dict(outputs)


def check_times(device: str, arrays: Mapping[str, np.ndarray], least: int) -> None:
    """Refuse arrays of a timing that are not: a positive duration for each run, in nanoseconds.

    Args:
        device: its name.
        arrays: samples_ns; of a trace also starts_ns, late_ns, device_ms, and times_ns, values, columns.
        least: number of runs that were asked for.

    Raises:
        DeviceError: naming the array.
    """
    none, n = np.array([], np.int64), len(arrays["samples_ns"]) if arrays["samples_ns"].ndim else 0
    for name, lengths in (
        ("samples_ns", (n,)),
        ("starts_ns", (n,)),
        ("late_ns", (n, 0)),
        ("device_ms", (n, 0)),
    ):
        values = arrays.get(name, none)
        kind = np.floating if name == "device_ms" else np.integer
        if name in arrays and (
            values.ndim != 1
            or len(values) not in lengths
            or not np.issubdtype(values.dtype, kind)
            or not np.isfinite(values).all()
        ):
            raise refused(device, f"{name} is {values.dtype} {values.shape} for {n} runs")
    samples = arrays["samples_ns"]
    if samples.dtype != np.int64 or n < max(1, least):
        raise refused(device, f"samples_ns is {samples.dtype} {samples.shape}; {least} runs were asked for")
    if samples.min() <= 0 or samples.max() > LONGEST_RUN_NS:
        raise refused(device, f"a run took {samples.min()} ns, another {samples.max()} ns")
    if "columns" in arrays:
        times, values, columns = (arrays.get(name, none) for name in ("times_ns", "values", "columns"))
        if (
            times.dtype != np.int64
            or values.dtype.kind != "f"
            or columns.dtype.kind != "U"
            or times.ndim != 1
            or columns.ndim != 1
            or values.shape != (len(times), len(columns))
        ):
            raise refused(device, f"telemetry of {times.shape}, {values.shape}, {columns.shape}")
