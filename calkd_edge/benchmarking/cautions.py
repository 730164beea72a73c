"""What makes the figures of a benchmark less than they seem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from calkd_edge.devices.doctor.warnings import LOADED
from calkd_edge.devices.session import TimedRun
from calkd_edge.records import DeviceFacts, TimedFile


def cautions(
    runs: Mapping[str, Sequence[TimedRun]],
    files: Sequence[TimedFile],
    facts: DeviceFacts,
    *,
    here: str,
    unproven: Sequence[str] = (),
) -> tuple[str, ...]:
    """Sentences for the reader.

    Args:
        runs: by key, each process.
        files: that were timed.
        facts: of the device.
        here: DEVICE:RUNTIME.
        unproven: precisions whose file was converted for this benchmark.
    """
    said = []
    elsewhere = sorted({one.measured_on for one in files if one.measured_on not in (None, here)})
    if elsewhere:
        said.append(
            f"accuracy and confidence are those of {', '.join(map(str, elsewhere))}: "
            f"compress --device {here} measures them here"
        )
    if unproven:
        said.append(
            f"{', '.join(unproven)}: converted for this benchmark, its answers were not held against the "
            "ONNX file's; a recipe with this device and runtime does that"
        )
    if facts.emulated:
        return (
            *said,
            "this device is emulated: the files run there, how fast says nothing, so it is not told",
        )
    replies = {key: [one.reply for one in several] for key, several in runs.items()}
    first = next(iter(replies.values()))[0]
    floating = ["cores" if name.startswith("cpu") else name for name in first["floating"]]
    if floating:
        names = ", ".join(dict.fromkeys(floating))
        said.append(f"clocks follow the load ({names}): these are latencies of daily use, and spread")
    load = first["before"]["load_1min"]  # later ones hold our own work
    if load >= LOADED:
        said.append(f"other work ran there: {load:.1f} tasks on average over the minute before")
    unsteady = [key for key, told in replies.items() if not all(reply["steady"] for reply in told)]
    if unsteady:
        said.append(
            f"NOT STEADY: {', '.join(unsteady)} had not settled when warm-up ended; --profile standard waits "
            "longer"
        )
    for one in files:
        if one.throttled:
            said.append(f"{one.precision}: throttled meanwhile: {', '.join(one.throttled)}")
        if one.paced is not None and one.paced.missed:
            missed = f"{one.paced.missed} of {one.paced.ticks} ticks"
            said.append(f"{one.precision}: missed {missed}: it is too slow for {one.paced.rate_hz:g} Hz")
    return tuple(said)
