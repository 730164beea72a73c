"""Session: send the agent, run a verb, fetch and check the reply. No other module talks to the agent."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from calkd_edge.agent import PROTOCOL
from calkd_edge.devices.agent_lines import pass_on
from calkd_edge.devices.agent_start import check_start
from calkd_edge.devices.agent_zip import agent_name, agent_zip
from calkd_edge.devices.base import Bounded, Device, OnThisDisk
from calkd_edge.devices.inventory import device_at, location_of
from calkd_edge.devices.owner import owner
from calkd_edge.devices.replies import (
    MOST_FILE_BYTES,
    MOST_REPLY_BYTES,
    MOST_VALUES,
    BuildReply,
    PredictReply,
    TimeReply,
    check_outputs,
    check_times,
    checked,
    read_arrays,
    read_reply,
    refused,
)
from calkd_edge.errors import DeviceError
from calkd_edge.files import sha256_of
from calkd_edge.files.full_disk import full_disk, temporary_place
from calkd_edge.files.scratch import ScratchFolder
from calkd_edge.records import DeviceFacts, FloatArray, IntArray, Json, MachineFacts, Record

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
Facts = TypeVar("Facts", bound=Record)


def _ignore_progress(done: int, total: int) -> None:
    """Progress that nobody requested."""


PROBE_TIMEOUT_S = 60.0
DOCTOR_TIMEOUT_S = 120.0
RUN_TIMEOUT_S = 4 * 3600.0
TRACE = "trace.npz"
MOST_ENGINE_BYTES = 2**30
MOST_TEXT = 10_000


@dataclass(frozen=True)
class TimedRun:
    """The latency of one process.

    Attributes:
        samples_ns: nanoseconds of each run, in order.
        reply: of the agent.
        trace: where requested: starts_ns and late_ns of each run; times_ns, values, columns of sensors.
    """

    samples_ns: IntArray
    reply: Mapping[str, Any]
    trace: Mapping[str, Any] = field(default_factory=dict)


class Session:
    """A device with the agent on it.

    Args:
        device: closed with the session.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._agent = agent_name()
        self._scratch = ScratchFolder("session")
        self._jobs = 0

    def __enter__(self) -> Session:
        try:
            self._put_bytes(agent_zip(), self._agent)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.device.close()
        self._scratch.close()

    def probe(self, runtimes: Sequence[str] = ()) -> DeviceFacts:
        """The machine's facts that do not change between two runs.

        Args:
            runtimes: that must work there, if the machine has them.

        Raises:
            DeviceError: it does not answer, or not in this protocol; one of the runtimes is there and broken.
        """
        return self._facts("probe", {"runtimes": list(runtimes)}, DeviceFacts, PROBE_TIMEOUT_S)

    def doctor(self, folder: str = ".") -> MachineFacts:
        """Every fact that the machine reports; `folder` is where free disk space is measured.

        Raises:
            DeviceError: it does not answer, or not in this protocol.
        """
        return self._facts("doctor", {"folder": folder}, MachineFacts, DOCTOR_TIMEOUT_S)

    def _facts(self, verb: str, job: Mapping[str, object], kind: type[Facts], timeout_s: float) -> Facts:
        try:
            return kind.model_validate(self._do(verb, job, None, timeout_s=timeout_s))
        except ValidationError as wrong:
            raise DeviceError(
                f"{self.device.name}: the reply to {verb} is not understood: {str(wrong)[:2000]}",
                remedy="Use the agent of this calkd-edge.",
            ) from wrong

    def predict(
        self,
        model: Path,
        images: Path,
        *,
        runtime: str,
        options: Mapping[str, Json],
        images_per_run: int | None = None,
        progress: Progress = _ignore_progress,
        timeout_s: float | None = None,
    ) -> tuple[dict[str, FloatArray], dict[str, Json]]:
        """Every output of `model` by name, and the options used.

        Args:
            model: a file for that runtime.
            images: a .npy file, uint8 [N, 3, H, W].
            runtime: a name in RUNTIMES.
            options: of the runtime; its defaults complete them.
            images_per_run: by default the agent's.
            progress: gets (done, total).
            timeout_s: for all images; RUN_TIMEOUT_S by default.

        Raises:
            DeviceError: the model does not run there, or the outputs do not match the images.
        """
        self.device.put(model, model.name)
        self.device.put(images, "images.npy")
        job: dict[str, Any] = {"model": model.name, "images": "images.npy", "runtime": runtime}
        job["options"], job["outputs"] = dict(options), "outputs.npz"
        if images_per_run is not None:
            job["images_per_run"] = images_per_run
        limit_s = timeout_s or RUN_TIMEOUT_S
        reply = self._do("predict", job, PredictReply, timeout_s=limit_s, progress=progress)
        sent = len(np.load(images, mmap_mode="r", allow_pickle=False))
        most = MOST_REPLY_BYTES + sent * MOST_VALUES * 8
        outputs = self._fetch_arrays("outputs.npz", most)
        return check_outputs(self.device.name, outputs, sent), reply["session_options"]

    def build(self, model: Path, target: Path, *, options: Mapping[str, Json]) -> dict[str, Json]:
        """Compile `model` on the device and fetch the engine to `target`; returns the agent's reply.

        Raises:
            DeviceError: TensorRT there refuses the file or cannot build it, or the engine arrives changed.
        """
        self.device.put(model, "model.onnx")
        job = {"model": "model.onnx", "engine": "model.engine", "options": dict(options)}
        reply = self._do("build", job, BuildReply, timeout_s=RUN_TIMEOUT_S)
        self._get("model.engine", target, MOST_ENGINE_BYTES + 8 * model.stat().st_size)
        actual = sha256_of(target)
        if actual != reply["sha256"] or target.stat().st_size != reply["size_bytes"]:
            raise DeviceError(
                f"{self.device.name}: the engine arrived with SHA-256 {actual[:16]}, it was built with "
                f"{reply['sha256'][:16]}",
                remedy="Run again; if it happens again, check the connection and the disk there.",
            )
        return reply

    def time(
        self,
        model: Path,
        images: Path,
        *,
        runtime: str,
        options: Mapping[str, Json],
        load: Mapping[str, Json],
        progress: Progress = _ignore_progress,
        trace: bool = False,
    ) -> TimedRun:
        """Latency of one image at a time in a fresh process.

        `load` holds the warm-up and the minima, and optionally a rate and telemetry: see `agent.latency.run`.

        Raises:
            DeviceError: the model does not run there.
        """
        self.device.put(model, model.name)
        self.device.put(images, "images.npy")
        job: dict[str, Any] = {"model": model.name, "images": "images.npy", "samples": "samples.npy"}
        job["owner"] = owner()
        job.update(load, runtime=runtime, options=dict(options))
        if trace:
            job["trace"] = TRACE
        reply = self._do("time", job, TimeReply, timeout_s=RUN_TIMEOUT_S, progress=progress)
        if trace:
            arrays = self._fetch_arrays(TRACE, MOST_FILE_BYTES)
        else:
            arrays = {"samples_ns": self._fetch_arrays("samples.npy", MOST_FILE_BYTES)["samples.npy"]}
        needed = ("samples_ns", "starts_ns", "late_ns", "device_ms") if trace else ("samples_ns",)
        if not set(needed) <= arrays.keys():
            raise refused(self.device.name, f"the times contain {ascii(sorted(arrays))[:200]}")
        check_times(self.device.name, arrays, int(str(load["min_runs"])))
        return TimedRun(arrays.pop("samples_ns"), reply, arrays)

    def _do(
        self,
        verb: str,
        job: Mapping[str, object],
        kind: type[BaseModel] | None,
        *,
        timeout_s: float,
        progress: Progress = _ignore_progress,
    ) -> dict[str, Any]:
        """The reply to a job, in this protocol and of this kind.

        Raises:
            DeviceError: the agent reports an error, or its reply is not understood.
        """
        self._jobs += 1
        names = f"job-{self._jobs}.json", f"reply-{self._jobs}.json"
        self._put_bytes(json.dumps({"protocol": PROTOCOL, **job}).encode(), names[0])
        command = [self.device.python, self._agent, verb, *names]

        last_line = "it printed nothing"

        def on_line(line: str) -> None:
            nonlocal last_line
            last_line = line.strip() or last_line
            pass_on(self.device.name, line, progress)

        status = self.device.run(command, timeout_s=timeout_s, on_line=on_line)
        check_start(self.device.name, self.device.python, status, last_line)
        reply = read_reply(self.device.name, verb, self._fetch(names[1], MOST_REPLY_BYTES))
        if "traceback" in reply:
            log.error(
                "%s: the agent failed at %s\n%s", self.device.name, verb, str(reply["traceback"])[:20_000]
            )
        if status != 0 or "error" in reply:
            reason = str(reply.get("error", f"the agent ended with status {status}: {last_line}"))
            remedy = str(reply.get("remedy", "Run again; calkd-edge doctor checks the device."))
            refusal = DeviceError(f"{self.device.name}: {reason[:MOST_TEXT]}", remedy=remedy[:MOST_TEXT])
            if isinstance(self.device, OnThisDisk):
                raise full_disk(refusal, [temporary_place()], f"{self.device.name}: ") or refusal
            raise refusal
        if reply.pop("protocol", None) != PROTOCOL:
            raise DeviceError(
                f"{self.device.name}: the agent has another protocol than {PROTOCOL}",
                remedy="Remove old agents from the device's work folder and run again.",
            )
        return reply if kind is None else checked(self.device.name, verb, reply, kind)

    def _put_bytes(self, content: bytes, target: str) -> None:
        path = self._scratch.path / target
        path.write_bytes(content)
        self.device.put(path, target)

    def _get(self, source: str, target: Path, most_bytes: int) -> None:
        """Fetch a file of at most so many bytes."""
        if isinstance(self.device, Bounded):
            self.device.most_bytes = most_bytes
        self.device.get(source, target)
        if target.stat().st_size > most_bytes:
            raise refused(self.device.name, f"{source} has more than {most_bytes} bytes")

    def _fetch(self, source: str, most_bytes: int) -> Path:
        target = self._scratch.path / source
        self._get(source, target, most_bytes)
        return target

    def _fetch_arrays(self, source: str, most_bytes: int) -> dict[str, np.ndarray]:
        return read_arrays(self.device.name, self._fetch(source, most_bytes))


def open_session(name: str, location: Mapping[str, object] | None = None) -> Session:
    """A session on the device that `inventory.location_of` knows by that name; a location may be given.

    Raises:
        RecipeError: no device has that name.
        DeviceError: its location is not known.
    """
    return Session(device_at(name, location_of(name) if location is None else location))
