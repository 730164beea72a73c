"""Session: ship the agent, run a verb, fetch and check the reply. The one arrow into the agent."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from pydantic import ValidationError

from calkd_edge.agent import PROTOCOL
from calkd_edge.agent.progress import PREFIX
from calkd_edge.devices.agent_zip import agent_name, agent_zip
from calkd_edge.devices.base import Device
from calkd_edge.devices.inventory import device_at, place_of
from calkd_edge.errors import DeviceError
from calkd_edge.records import DeviceFacts, FloatArray, IntArray, Json, MachineFacts

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

_PREDICT_REPLY = ("images", "session_options")
_BUILD_REPLY = ("sha256", "size_bytes", "seconds", "tensorrt", "options", "warnings")
_TIME_REPLY = ("load_ms", "first_ms", "warmup_runs", "warmup_seconds", "steady", "session_options")


def _unheard(done: int, total: int) -> None:
    """Progress that nobody asked for."""


PROBE_TIMEOUT_S = 60.0
DOCTOR_TIMEOUT_S = 120.0
RUN_TIMEOUT_S = 4 * 3600.0
TRACE = "trace.npz"


@dataclass(frozen=True)
class TimedRun:
    """One process' latency: samples in nanoseconds, in order, and what the agent said about the run.

    `trace`, where asked for: starts_ns and late_ns of each run; times_ns, values, columns of sensors.
    """

    samples_ns: IntArray
    reply: Mapping[str, Any]
    trace: Mapping[str, Any] = field(default_factory=dict)


class Session:
    """A device with the agent on it.

    Args:
        device: where to work; closed with the session.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._agent = agent_name()
        self._scratch = tempfile.TemporaryDirectory(prefix="calkd-session-")
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
        self._scratch.cleanup()

    def probe(self) -> DeviceFacts:
        """What machine it is."""
        reply = self._do("probe", {}, (), timeout_s=PROBE_TIMEOUT_S)
        try:
            return DeviceFacts.model_validate(reply)
        except ValidationError as wrong:
            raise DeviceError(
                f"{self.device.name}: the probe's reply is not understood: {wrong}",
                remedy="Use the agent that belongs to this calkd-edge.",
            ) from wrong

    def doctor(self, folder: str = ".") -> MachineFacts:
        """Everything it tells about itself; `folder` is where free space is asked for.

        Raises:
            DeviceError: it does not answer, or not in this protocol.
        """
        reply = self._do("doctor", {"folder": folder}, (), timeout_s=DOCTOR_TIMEOUT_S)
        try:
            return MachineFacts.model_validate(reply)
        except ValidationError as wrong:
            raise DeviceError(
                f"{self.device.name}: what doctor found is not understood: {wrong}",
                remedy="Use the agent that belongs to this calkd-edge.",
            ) from wrong

    def predict(
        self,
        model: Path,
        images: Path,
        *,
        runtime: str,
        options: Mapping[str, Json],
        images_per_run: int | None = None,
        progress: Progress = _unheard,
    ) -> tuple[dict[str, FloatArray], dict[str, Json]]:
        """Every output of `model` by name over a .npy file of uint8 [N, 3, H, W], and the options used."""
        self.device.put(model, model.name)
        self.device.put(images, "images.npy")
        job: dict[str, Any] = {"model": model.name, "images": "images.npy", "runtime": runtime}
        job["options"] = dict(options)
        job["outputs"] = "outputs.npz"
        if images_per_run is not None:
            job["images_per_run"] = images_per_run
        reply = self._do("predict", job, _PREDICT_REPLY, timeout_s=RUN_TIMEOUT_S, progress=progress)
        outputs: dict[str, FloatArray] = self._fetch_arrays("outputs.npz")
        counts = {name: len(values) for name, values in outputs.items()}
        if set(counts.values()) != {reply["images"]}:
            raise DeviceError(
                f"{self.device.name}: the outputs have {counts} rows for {reply['images']} images",
                remedy="Run again; if it stays so, the runtime there is broken.",
            )
        return outputs, reply["session_options"]

    def build(self, model: Path, target: Path, *, options: Mapping[str, Json]) -> dict[str, Json]:
        """Compile `model` on the device, bring the engine to `target`; returns what the agent says of it.

        Raises:
            DeviceError: TensorRT there refuses the file or cannot build it, or the engine came back changed.
        """
        self.device.put(model, "model.onnx")
        job = {"model": "model.onnx", "engine": "model.engine", "options": dict(options)}
        reply = self._do("build", job, _BUILD_REPLY, timeout_s=RUN_TIMEOUT_S)
        self.device.get("model.engine", target)
        found = hashlib.sha256(target.read_bytes()).hexdigest()
        if found != reply["sha256"]:
            raise DeviceError(
                f"{self.device.name}: the engine came back with SHA-256 {found[:16]}, it was built with "
                f"{str(reply['sha256'])[:16]}",
                remedy="Run again; if it stays so, look at the connection and the disk there.",
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
        progress: Progress = _unheard,
        trace: bool = False,
    ) -> TimedRun:
        """Latency of one image at a time in a fresh process.

        `load` holds the warm-up and the minima, and where asked a rate and telemetry: see the agent.
        """
        self.device.put(model, model.name)
        self.device.put(images, "images.npy")
        job: dict[str, Any] = {"model": model.name, "images": "images.npy", "samples": "samples.npy"}
        job.update(load, runtime=runtime, options=dict(options))
        if trace:
            job["trace"] = TRACE
        reply = self._do("time", job, _TIME_REPLY, timeout_s=RUN_TIMEOUT_S, progress=progress)
        told = self._fetch_arrays(TRACE) if trace else {}
        samples = told.pop("samples_ns") if trace else self._fetch_arrays("samples.npy")
        return TimedRun(samples, reply, told)

    def _do(
        self,
        verb: str,
        job: Mapping[str, Any],
        keys: Sequence[str],
        *,
        timeout_s: float,
        progress: Progress = _unheard,
    ) -> dict[str, Any]:
        """The reply to a job, in this protocol and with at least `keys`."""
        self._jobs += 1
        names = f"job-{self._jobs}.json", f"reply-{self._jobs}.json"
        self._put_bytes(json.dumps({"protocol": PROTOCOL, **job}).encode(), names[0])
        command = [self.device.python, self._agent, verb, *names]

        def heard(line: str) -> None:
            words = line.split()
            if len(words) == 3 and words[0] == PREFIX:
                with suppress(ValueError, OverflowError):  # a torn line is no reason to stop
                    progress(round(1000 * float(words[1])), round(1000 * float(words[2])))

        status = self.device.run(command, timeout_s=timeout_s, heard=heard)
        try:
            reply: Any = json.loads(self._fetch(names[1]).read_text(encoding="utf-8"))
        except ValueError as broken:
            raise DeviceError(
                f"{self.device.name}: the agent's reply to {verb} is not JSON: {broken}", remedy="Run again."
            ) from broken
        if not isinstance(reply, dict):
            raise DeviceError(
                f"{self.device.name}: the agent's reply to {verb} is not understood: {str(reply)[:200]}",
                remedy="Use the agent that belongs to this calkd-edge.",
            )
        if "traceback" in reply:
            log.error("%s: the agent failed at %s\n%s", self.device.name, verb, reply["traceback"])
        if status != 0 or "error" in reply:
            raise DeviceError(
                f"{self.device.name}: {reply.get('error', f'the agent ended with status {status}')}",
                remedy=reply.get("remedy", "See the log for what it printed."),
            )
        if reply.pop("protocol", None) != PROTOCOL:
            raise DeviceError(
                f"{self.device.name}: the agent speaks another protocol than {PROTOCOL}",
                remedy="Remove old agents from the device's work folder and run again.",
            )
        absent = [key for key in keys if key not in reply]
        if absent:
            raise DeviceError(
                f"{self.device.name}: the agent's reply to {verb} is not understood: no {', '.join(absent)}",
                remedy="Use the agent that belongs to this calkd-edge.",
            )
        return reply

    def _put_bytes(self, content: bytes, target: str) -> None:
        path = Path(self._scratch.name) / target
        path.write_bytes(content)
        self.device.put(path, target)

    def _fetch(self, source: str) -> Path:
        target = Path(self._scratch.name) / source
        self.device.get(source, target)
        return target

    def _fetch_arrays(self, source: str) -> Any:
        """The array of a .npy, or the arrays by name of a .npz; nothing is unpickled."""
        try:
            stored = np.load(self._fetch(source), allow_pickle=False)
            return stored if isinstance(stored, np.ndarray) else {name: stored[name] for name in stored.files}
        except (ValueError, EOFError, OSError, zipfile.BadZipFile) as broken:
            raise DeviceError(
                f"{self.device.name}: {source} cannot be read: {broken}",
                remedy="Run again; if it stays so, look at the free space there.",
            ) from broken


def open_session(name: str, place: Mapping[str, Any] | None = None) -> Session:
    """A session on the device of that name, at a place that `place_of` gave, or where it is known to be.

    Raises:
        RecipeError: no device has that name.
        DeviceError: nobody says where it is.
    """
    return Session(device_at(name, place_of(name) if place is None else place))
