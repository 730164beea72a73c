"""What a benchmark is asked for: its options, checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from calkd_edge.errors import RecipeError, did_you_mean
from calkd_edge.files.paths import named_folder
from calkd_edge.metrics.latency import PROCESSES

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
LONGEST_SOAK_S = 3 * 3600.0
FASTEST_HZ = 2000.0


@dataclass(frozen=True)
class BenchmarkOptions:
    """What to time, where and how long.

    Attributes:
        device: its name.
        runtime: opens the files there.
        profile: quick, standard or certify.
        precisions: only these; all when empty.
        rate_hz: ticks a second; None for back to back.
        soak_s: seconds of one long run for each file; None for the profile's duration.
        threads: of the runtime.
        images: an .npy file or a folder of images; None for the run's images.
        store: where the run's data may still be.
        baseline: an earlier benchmark.json.
        clean: whether the device's cache is emptied at the end.
        started: time.perf_counter() at the start of the command.
    """

    device: str
    runtime: str
    profile: str = "quick"
    precisions: tuple[str, ...] = ()
    rate_hz: float | None = None
    soak_s: float | None = None
    threads: int = 1
    images: Path | None = None
    store: Path = Path(".calkd")
    baseline: Path | None = None
    clean: bool = False
    started: float = 0.0


def check_profile(profile: str) -> str:
    """The profile.

    Raises:
        RecipeError: it is unknown.
    """
    if profile not in PROCESSES:
        raise RecipeError(
            f"--profile {profile}: not known",
            remedy=f"{did_you_mean(profile, PROCESSES)}Valid: {', '.join(PROCESSES)}.",
        )
    return profile


def check_rate(rate_hz: float | None) -> float | None:
    """The rate in Hz.

    Raises:
        RecipeError: it is not positive, or too high.
    """
    if rate_hz is not None and not 0 < rate_hz <= FASTEST_HZ:
        raise RecipeError(
            f"--rate {rate_hz:g}: not possible", remedy=f"Use a rate above 0 and up to {FASTEST_HZ:g}."
        )
    return rate_hz


def seconds_of(text: str | None) -> float | None:
    """Seconds of "600", "90s", "10m" or "1h"; None for None.

    Raises:
        RecipeError: not a duration, or one that is too short or too long.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh]?)", text.strip())
    seconds = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not 1 <= seconds <= LONGEST_SOAK_S:
        raise RecipeError(
            f"--soak {text}: not a duration from 1 s to {LONGEST_SOAK_S / 3600:g} h",
            remedy="Write --soak 10m.",
        )
    return seconds


def folder_of(device: str, out: str | Path | None) -> Path:
    """The folder for the result: `out`, or runs/benchmark-DEVICE."""
    if out is not None:
        return named_folder(out, "--out")
    return Path("runs") / f"benchmark-{re.sub(r'[^A-Za-z0-9._-]+', '-', device)}"
