"""What a machine told of itself, what will run on it, and what it lacks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from calkd_edge.records.base import Record


class Memory(Record):
    """Bytes; None where the machine does not tell."""

    total_bytes: int | None
    available_bytes: int | None
    swap_total_bytes: int | None
    swap_free_bytes: int | None


class Disk(Record):
    """Where the agent will keep files, and the bytes to be had there."""

    folder: str
    free_bytes: int | None


class ClockFacts(Record):
    """A clock in MHz; `floats`: it follows the load, None where the machine does not tell."""

    name: str
    min_mhz: float | None
    max_mhz: float | None
    now_mhz: float | None
    governor: str | None
    floats: bool | None


class Power(Record):
    """Milliwatts by rail when it was looked at, and where they can be read without being root."""

    source: Literal["hwmon", "tegrastats"] | None
    rails_mw: dict[str, float]


class Interpreter(Record):
    """One Python of a machine; with a problem it did not answer, and nothing is known of it."""

    path: str
    running: bool = Field(description="it runs the agent")
    version: str | None
    prefix: str | None
    venv: bool | None
    managed: bool | None = Field(description="its system forbids pip outside of a venv")
    packages: dict[str, str] | None = Field(description="what it can import -> version")
    problem: str | None

    def has(self, package: str) -> bool:
        """Whether it can import that."""
        return package in (self.packages or {})


class MachineFacts(Record):
    """The agent's reply to `doctor`: what a machine tells; None and empty where it does not."""

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
    libraries: dict[str, str] = Field(description="NVIDIA's, with the version in the file's name")
    memory: Memory
    disk: Disk
    power_mode: str | None
    on_battery: bool | None
    load_1min: float | None
    clocks: tuple[ClockFacts, ...]
    temperatures_c: dict[str, float]
    power: Power
    events: dict[str, float] = Field(description="over-current and throttling, counted since the start")
    throttled: dict[str, float] = Field(description="cooling devices that slow something down; 0: not now")
    firmware_throttled: int | None = Field(description="a Raspberry Pi's bits: 0-3 now, 16-19 earlier")
    interpreters: tuple[Interpreter, ...]

    @property
    def python(self) -> Interpreter | None:
        """The one that runs the agent."""
        return next((one for one in self.interpreters if one.running), None)


class Jetson(Record):
    """What a release of Jetson Linux brings; None where the release is not known here."""

    chip: str
    capability: str | None = Field(description="of its GPU, such as sm_87")
    jetpack: str | None
    cuda: str | None
    tensorrt: str | None
    dla: str


class Runnable(Record):
    """Whether one runtime there will run files of one precision."""

    runtime: str
    version: str | None
    precision: str
    runs: bool
    gains: bool | None = Field(description="whether it is expected to be faster than fp32; None: not known")
    why: str = Field(description="empty where there is nothing to say")


class Symptom(Record):
    """Something to know before a model is run there, and what to do about it."""

    kind: Literal["missing", "trap", "warning"]
    what: str
    remedy: str = Field(description="the command, where there is one")


class DoctorReport(Record):
    """calkd-edge doctor --json, whole."""

    schema_version: Literal[1] = 1
    device: str
    facts: MachineFacts
    jetson: Jetson | None
    runnable: tuple[Runnable, ...]
    symptoms: tuple[Symptom, ...]

    @property
    def usable(self) -> bool:
        """Whether anything there can run a model."""
        return any(one.runs for one in self.runnable)
