"""Facts of a machine, what runs on it, and what it lacks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from calkd_edge.records.base import Record


class Memory(Record):
    """Bytes; None where the machine does not report them."""

    total_bytes: int | None
    available_bytes: int | None
    swap_total_bytes: int | None
    swap_free_bytes: int | None


class Disk(Record):
    """The folder of the agent's files, and its free bytes."""

    folder: str
    free_bytes: int | None


class ClockFacts(Record):
    """A clock in MHz; `floats`: it follows the load, None where the machine does not report it."""

    name: str
    min_mhz: float | None
    max_mhz: float | None
    now_mhz: float | None
    governor: str | None
    floats: bool | None


class Power(Record):
    """Milliwatts by rail at the time of the probe, and the source that is readable without root."""

    source: Literal["hwmon", "tegrastats"] | None
    rails_mw: dict[str, float]


class Interpreter(Record):
    """A Python of a machine; one with a problem did not answer, and the other fields are None."""

    path: str
    running: bool = Field(description="whether it runs the agent")
    version: str | None
    bits: int | None = Field(None, description="32 or 64: of the Python, not of the kernel")
    prefix: str | None
    venv: bool | None
    managed: bool | None = Field(description="whether its system forbids pip outside of a venv")
    packages: dict[str, str] | None = Field(description="importable package -> version")
    broken: dict[str, str] | None = Field(
        None, description="package that is there and cannot be used -> reason"
    )
    problem: str | None

    def has(self, package: str) -> bool:
        """Whether it can import a package."""
        return package in (self.packages or {})

    def cannot_import(self, package: str) -> str:
        """A sentence that it lacks a package, or why the package there does not work."""
        reason = (self.broken or {}).get(package)
        if reason is not None:
            return f"{self.path}: {package}: {reason}"
        return f"{self.path} has no numpy" if package == "numpy" else f"{self.path} cannot import {package}"


class MachineFacts(Record):
    """The agent's reply to `doctor`; None or empty where the machine does not report a fact."""

    board: str
    compatible: tuple[str, ...]
    machine: str
    system: str
    l4t: str | None
    cpu: str
    isa: tuple[str, ...]
    cores: int
    emulated: bool
    container: bool
    nvidia_gpu: bool
    libraries: dict[str, str] = Field(description="NVIDIA's libraries -> version in the name of the file")
    memory: Memory
    disk: Disk
    power_mode: str | None
    on_battery: bool | None
    load_1min: float | None
    clocks: tuple[ClockFacts, ...]
    temperatures_c: dict[str, float]
    core_kinds: dict[str, int] = Field({}, description="cores of each ARM part number, where they are listed")
    power: Power
    events: dict[str, float] = Field(description="over-current and throttling, counted since the start")
    throttled: dict[str, float] = Field(description="cooling devices that slow a component down; 0: not now")
    firmware_throttled: int | None = Field(description="bits of a Raspberry Pi: 0-3 now, 16-19 earlier")
    interpreters: tuple[Interpreter, ...]

    @property
    def python(self) -> Interpreter | None:
        """The interpreter that runs the agent."""
        return next((interpreter for interpreter in self.interpreters if interpreter.running), None)


class Jetson(Record):
    """Components of a release of Jetson Linux; None where the release is unknown."""

    chip: str
    capability: str | None = Field(description="of its GPU, such as sm_87")
    jetpack: str | None
    cuda: str | None
    tensorrt: str | None
    dla: str


class Runnable(Record):
    """Whether a runtime of the machine runs files of a precision."""

    runtime: str
    version: str | None
    precision: str
    runs: bool
    gains: bool | None = Field(description="whether it is expected to be faster than fp32; None: unknown")
    why: str = Field(description="the reason; may be empty")


class Symptom(Record):
    """A problem to know before a model runs on the machine, and its remedy."""

    kind: Literal["missing", "trap", "warning"]
    what: str
    remedy: str = Field(description="a command where one exists")


class DoctorReport(Record):
    """The output of calkd-edge doctor --json."""

    schema_version: Literal[1] = 1
    device: str
    facts: MachineFacts
    jetson: Jetson | None
    runnable: tuple[Runnable, ...]
    symptoms: tuple[Symptom, ...]

    @property
    def usable(self) -> bool:
        """Whether any runtime of the machine can run a model."""
        return any(line.runs for line in self.runnable)
