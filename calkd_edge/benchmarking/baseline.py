"""An earlier benchmark to hold this one against: what may be compared, and what came of it."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from calkd_edge.benchmarking.sources import Source, open_source
from calkd_edge.benchmarking.worth import PRACTICAL, span
from calkd_edge.errors import CalkdError, RecipeError
from calkd_edge.files import sha256_of
from calkd_edge.records import AgainstBaseline, Benchmark, DeviceFacts, FloatArray, Ratio

NAME, SAMPLES = "benchmark.json", "benchmark.npz"
SAMPLES_OF = "{}.samples_ns.{}"
"""A process' samples in the .npz, by key and number."""


@dataclass(frozen=True)
class Baseline:
    """An earlier benchmark.

    Attributes:
        path: of its JSON.
        told: what that says.
    """

    path: Path
    told: Benchmark

    def recorded(self, precision: str) -> list[FloatArray]:
        """Its samples in milliseconds, a series for each process.

        Raises:
            RecipeError: they are gone, or are not those that its JSON speaks of.
        """
        place = self.path.with_name(SAMPLES)
        if not place.is_file() or sha256_of(place) != self.told.samples_sha256:
            state = f"{place.name} was changed" if place.is_file() else f"there is no {place.name}"
            raise RecipeError(
                f"--baseline {self.path}: its file of {precision} is gone, and {state}",
                remedy="Measure the baseline again, or keep its model files.",
            )
        try:
            with np.load(place, allow_pickle=False) as stored:
                names = [SAMPLES_OF.format(precision, number) for number in range(self.told.processes)]
                return [np.asarray(stored[name] / 1e6) for name in names]
        except (KeyError, ValueError, OSError, zipfile.BadZipFile) as broken:
            raise RecipeError(
                f"--baseline {self.path}: {place.name} cannot be read: {broken}",
                remedy="Measure the baseline again.",
            ) from None

    def reopened(self, work: Path, precisions: Sequence[str]) -> tuple[Source, list[str]] | None:
        """Where its files are still as they were: their source, and which of `precisions` it has."""
        then = self.told
        wanted = {one.precision: one.source_sha256 for one in then.files if one.precision in precisions}
        try:
            source = open_source(Path(then.source.path), work, list(wanted))
            runs = {one: source.runs(one, then.device, then.runtime)[0] for one in source.folders}
        except (CalkdError, OSError):
            return None
        there = [precision for precision, path in runs.items() if sha256_of(path) == wanted.get(precision)]
        return (source, there) if there else None


def read_baseline(path: Path) -> Baseline:
    """The benchmark.json at `path`, or in the folder of that name.

    Raises:
        RecipeError: it is not there, or is no benchmark.
    """
    place = path / NAME if path.is_dir() else path
    try:
        return Baseline(place, Benchmark.model_validate_json(place.read_bytes()))
    except OSError as missing:
        raise RecipeError(
            f"--baseline {path} cannot be read: {missing.strerror}",
            remedy="Name the benchmark.json that calkd-edge benchmark wrote.",
        ) from None
    except ValidationError as wrong:
        first = wrong.errors()[0]
        raise RecipeError(
            f"--baseline {path} is no benchmark: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            remedy="Name the benchmark.json that this calkd-edge benchmark wrote.",
        ) from None


def check_comparable(
    baseline: Baseline,
    *,
    facts: DeviceFacts,
    runtime: str,
    version: str,
    threads: int | None,
    rate_hz: float | None,
    precisions: Sequence[str],
) -> list[str]:
    """The precisions that both have.

    Raises:
        RecipeError: what was measured then was something else; with all that differs.
    """
    then = baseline.told
    if facts.emulated or then.facts.emulated:
        raise _refused(
            baseline, ["an emulated device: nothing is claimed of its speed"], "Compare on a board."
        )
    pairs: list[tuple[str, object, object]] = [
        ("scope", "e2e", then.scope),
        ("board", facts.board, then.facts.board),
        ("processor", f"{facts.machine} {facts.cpu}", f"{then.facts.machine} {then.facts.cpu}"),
        ("power mode", facts.power_mode, then.facts.power_mode),
        ("runtime", runtime, then.runtime),
        ("threads", threads, then.threads),
        ("rate", _rate(rate_hz), _rate(then.rate_hz)),
    ]
    differing = [f"{name} {now}, there {was}" for name, now, was in pairs if now != was]
    if runtime == then.runtime and _major(version) != _major(then.runtime_version):
        differing.append(f"{runtime} {version}, there {then.runtime_version}: another major version")
    if differing:
        raise _refused(
            baseline, differing, "Measure both alike; a difference would be of these, not of files."
        )
    common = [one.precision for one in then.files if one.precision in precisions]
    if not common:
        has = ", ".join(one.precision for one in then.files)
        raise _refused(baseline, [f"it has {has}, not {', '.join(precisions)}"], "Name one with --precision.")
    return common


def _refused(baseline: Baseline, reasons: list[str], remedy: str) -> RecipeError:
    return RecipeError(f"--baseline {baseline.path}: not comparable: {'; '.join(reasons)}", remedy=remedy)


def _rate(rate_hz: float | None) -> str:
    return "back to back" if rate_hz is None else f"{rate_hz:g} Hz"


def _major(version: str) -> str:
    return version.partition(".")[0]


def judged(precision: str, found: Ratio, *, interleaved: bool) -> AgainstBaseline:
    """Better or worse only where the interval excludes 1 and the change is one that a product feels."""
    how = "timed in turns" if interleaved else "against its recorded samples, not in turns"
    said = f"{span(found)}; {how}"
    verdict: Literal["better", "worse", "inconclusive"]
    if found.low > 1 and found.value > PRACTICAL:
        verdict, reason = "worse", said
    elif found.high < 1 and found.value < 1 / PRACTICAL:
        verdict, reason = "better", said
    elif found.low >= 1 / PRACTICAL and found.high <= PRACTICAL:
        verdict, reason = "inconclusive", f"no difference of 5 % or more: {said}"
    else:
        verdict, reason = "inconclusive", f"the runs do not decide about 5 %: {said}"
    return AgainstBaseline(
        precision=precision,
        interleaved=interleaved,
        ratio=found,
        verdict=verdict,
        reason=reason,
    )
