"""What distorts measurements on a machine: clocks, load, heat, memory, emulation."""

from __future__ import annotations

from collections.abc import Iterator

from calkd_edge.agent.isa import VNNI, X86
from calkd_edge.devices.doctor.symptoms import trap, warning
from calkd_edge.records import Jetson, MachineFacts, Symptom

LOADED = 0.5
"""Other tasks, on average over a minute."""

LITTLE_MEMORY = 512 << 20
LITTLE_DISK = 1 << 30
HOT_C = 85.0
FIRMWARE = {0: "under-voltage", 1: "its clock is capped", 2: "throttled", 3: "at its soft temperature limit"}
"""A Raspberry Pi's bits; 16 higher: it happened since the start."""


def warnings(facts: MachineFacts, jetson: Jetson | None) -> list[Symptom]:
    """Every warning, the most serious first."""
    return [*_emulated(facts), *_slowed(facts), *_busy(facts), *_small(facts), *_clocks(facts, jetson)]


def _emulated(facts: MachineFacts) -> Iterator[Symptom]:
    if facts.emulated:
        what = "this machine is emulated: its results are right, its speed means nothing"
        yield warning(what, "Measure latency on a board.")
    if facts.machine in X86 and not VNNI & set(facts.isa):
        what = "this processor has no VNNI: 8-bit products of ONNX Runtime saturate by default"
        yield trap(
            what, "The agent sets session.x64quantprecision=1 against that; do the same in your program."
        )


def _slowed(facts: MachineFacts) -> Iterator[Symptom]:
    now = [name for name, state in facts.throttled.items() if state > 0]
    if now:
        yield warning(f"slowed down now: {', '.join(now)}", "Cool it, or choose a lower power mode.")
    counted = [f"{name} {count:.0f}" for name, count in facts.events.items() if count > 0]
    if counted:
        what = f"throttled or over its current since the start: {', '.join(counted)} times"
        yield warning(what, "Check its power supply and cooling; a restart resets the counters.")
    bits = facts.firmware_throttled or 0
    reported = [name for bit, name in FIRMWARE.items() if bits >> bit & 1]
    reported += [f"{name} since the start" for bit, name in FIRMWARE.items() if bits >> (bit + 16) & 1]
    if reported:
        yield warning(f"the firmware reports: {', '.join(reported)}", "Check its power supply and cooling.")
    hottest = max(facts.temperatures_c.items(), key=lambda zone: zone[1], default=("", 0.0))
    if hottest[1] >= HOT_C:
        yield warning(f"{hottest[0]} is at {hottest[1]:.0f} °C", "Let it cool down before measuring.")


def _busy(facts: MachineFacts) -> Iterator[Symptom]:
    if facts.load_1min is not None and facts.load_1min >= LOADED:
        what = f"other work runs there: {facts.load_1min:.1f} tasks on average over the last minute"
        yield warning(what, "Stop it before measuring latency: top lists it.")
    if facts.on_battery:
        yield warning("it runs on its battery, which slows processors down", "Plug it in.")


def _small(facts: MachineFacts) -> Iterator[Symptom]:
    free = facts.memory.available_bytes
    if free is not None and free < LITTLE_MEMORY:
        what = f"only {free / 2**20:.0f} MiB of memory are free"
        yield warning(what, "Stop other programs; building engines takes some hundred MiB.")
    free = facts.disk.free_bytes
    if free is not None and free < LITTLE_DISK:
        what = f"only {free / 2**20:.0f} MiB are free in {facts.disk.folder}"
        yield warning(what, "Free space there; images and engines take some hundred MiB.")


def _clocks(facts: MachineFacts, jetson: Jetson | None) -> Iterator[Symptom]:
    floating = [
        "cores" if clock.name.startswith("cpu") else clock.name for clock in facts.clocks if clock.floats
    ]
    if floating:
        names = ", ".join(dict.fromkeys(floating))
        what = f"clocks follow the load ({names}): latencies vary, as they do in normal use"
        command = "sudo jetson_clocks" if jetson is not None else "sudo cpupower frequency-set -g performance"
        yield warning(what, f"To compare models rather than to measure the product: {command}")
    if jetson is not None and facts.power.source is None:
        what = "neither the files of the rails nor tegrastats report power: no energy will be measured"
        yield warning(what, "Let this user read them: sudo chmod a+r /sys/class/hwmon/hwmon*/*_input")
