"""An earlier benchmark to compare with: what is comparable, and the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from calkd_edge.benchmarking.images import fits, input_of
from calkd_edge.benchmarking.sources import Source, open_source
from calkd_edge.benchmarking.worth import PRACTICAL, span
from calkd_edge.errors import CalkdError, GateFailed, GateUndecided, RecipeError
from calkd_edge.export.artifacts import CANONICAL
from calkd_edge.files import sha256_of
from calkd_edge.files.arrays import read_arrays
from calkd_edge.files.bounded import Unreadable, bounded_json, read_bounded
from calkd_edge.records import AgainstBaseline, Benchmark, DeviceFacts, FloatArray, Ratio

NAME, SAMPLES = "benchmark.json", "benchmark.npz"
SAMPLES_OF = "{}.samples_ns.{}"
"""Name of a process' samples in the .npz, from key and number."""


@dataclass(frozen=True)
class Baseline:
    """An earlier benchmark.

    Attributes:
        path: of its JSON.
        record: the content of that JSON.
    """

    path: Path
    record: Benchmark

    def recorded(self, precision: str) -> list[FloatArray]:
        """Its samples in milliseconds, a series for each process.

        Raises:
            RecipeError: they are gone, or they are not those of its JSON.
        """
        samples = self.path.with_name(SAMPLES)
        if not samples.is_file() or sha256_of(samples) != self.record.samples_sha256:
            state = f"{samples.name} was changed" if samples.is_file() else f"there is no {samples.name}"
            raise RecipeError(
                f"--baseline {self.path}: its file of {precision} is gone, and {state}",
                remedy="Measure the baseline again, or keep its model files.",
            )
        try:
            names = [SAMPLES_OF.format(precision, number) for number in range(self.record.processes)]
            stored = read_arrays(samples, names)
            return [stored[name].astype(np.float64) / 1e6 for name in names]
        except (KeyError, ValueError, OSError) as broken:
            raise RecipeError(
                f"--baseline {self.path}: {samples.name} cannot be read: {broken}",
                remedy="Measure the baseline again.",
            ) from None

    def reopened(
        self, work: Path, precisions: Sequence[str], inputs: Path
    ) -> tuple[Source, list[str]] | None:
        """Its files if some are unchanged: their source, and which of `precisions` it has.

        Args:
            work: an empty folder.
            precisions: to compare.
            inputs: the .npy on which all files are timed.

        Raises:
            RecipeError: an unchanged file does not take these inputs.
        """
        then = self.record
        digests = {file.precision: file.source_sha256 for file in then.files if file.precision in precisions}
        try:
            source = open_source(Path(then.source.path), work, list(digests))
            files = {name: source.file_for(name, then.device, then.runtime)[0] for name in source.folders}
        except (CalkdError, OSError):
            return None
        unchanged = [name for name, path in files.items() if sha256_of(path) == digests.get(name)]
        for name in unchanged:
            _check_inputs(self, name, np.load(inputs, mmap_mode="r"), source.folders[name] / CANONICAL)
        return (source, unchanged) if unchanged else None


def read_baseline(path: Path) -> Baseline:
    """The benchmark.json at `path`, or in the folder of that name.

    Raises:
        RecipeError: it does not exist, or it is not a benchmark.
    """
    file = path / NAME if path.is_dir() else path
    try:
        return Baseline(file, Benchmark.model_validate_json(bounded_json(read_bounded(file))))
    except OSError as missing:
        raise RecipeError(
            f"--baseline {path} cannot be read: {missing.strerror}",
            remedy="Name the benchmark.json that calkd-edge benchmark wrote.",
        ) from None
    except Unreadable as wrong:
        raise RecipeError(
            f"--baseline {path} is not a benchmark: {wrong}",
            remedy="Name the benchmark.json that this calkd-edge benchmark wrote.",
        ) from None
    except ValidationError as wrong:
        first = wrong.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise RecipeError(
            f"--baseline {path} is not a benchmark: {f'{key}: ' if key else ''}{first['msg']}",
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
    soak_s: float | None,
    precisions: Sequence[str],
) -> list[str]:
    """The precisions that both benchmarks have.

    Raises:
        RecipeError: they are not comparable; with all differences.
    """
    then = baseline.record
    if facts.emulated or then.facts.emulated:
        raise _refused(baseline, ["an emulated device: its speed is not reported"], "Compare on a board.")
    pairs: list[tuple[str, object, object]] = [
        ("scope", "e2e", then.scope),
        ("board", facts.board, then.facts.board),
        ("processor", f"{facts.machine} {facts.cpu}", f"{then.facts.machine} {then.facts.cpu}"),
        ("power mode", facts.power_mode, then.facts.power_mode),
        ("runtime", runtime, then.runtime),
        ("threads", threads, then.threads),
        ("rate", _rate(rate_hz), _rate(then.rate_hz)),
        ("soak", _soak(soak_s), _soak(then.soak_s)),
    ]
    differing = [f"{name} {now}, baseline {was}" for name, now, was in pairs if now != was]
    if runtime == then.runtime and _major(version) != _major(then.runtime_version):
        differing.append(f"{runtime} {version}, baseline {then.runtime_version}: another major version")
    if differing:
        raise _refused(
            baseline,
            differing,
            "Measure both in the same way; else the difference would not be one of the files.",
        )
    common = [file.precision for file in then.files if file.precision in precisions]
    if not common:
        available = ", ".join(file.precision for file in then.files)
        raise _refused(
            baseline, [f"it has {available}, not {', '.join(precisions)}"], "Name one with --precision."
        )
    return common


def _check_inputs(baseline: Baseline, precision: str, inputs: NDArray[Any], file: Path) -> None:
    shape, dtype = input_of(file)
    if not fits(inputs, shape, dtype):
        now, then = (", ".join(str(size or "any") for size in sizes) for sizes in (inputs.shape[1:], shape))
        raise _refused(
            baseline,
            [f"input of {precision} [{now}] {inputs.dtype}, baseline [{then}] {dtype}"],
            "Name a baseline of files with this input, or export the file with the baseline's.",
        )


def changed_version(baseline: Baseline | None, runtime: str, version: str) -> list[str]:
    """A sentence when the runtime is another one than the baseline's."""
    if baseline is None or baseline.record.runtime_version == version:
        return []
    then = baseline.record.runtime_version
    return [f"{runtime} is {version} and was {then} for the baseline: a change may come from it"]


def _refused(baseline: Baseline, reasons: list[str], remedy: str) -> RecipeError:
    return RecipeError(f"--baseline {baseline.path}: not comparable: {'; '.join(reasons)}", remedy=remedy)


def _rate(rate_hz: float | None) -> str:
    return "back to back" if rate_hz is None else f"{rate_hz:g} Hz"


def _soak(seconds: float | None) -> str:
    return "none" if seconds is None else f"{seconds:g} s"


def _major(version: str) -> str:
    return version.partition(".")[0]


def compared(
    precision: str, change: Ratio, *, interleaved: bool, doubts: Sequence[str] = ()
) -> AgainstBaseline:
    """A verdict, unless something casts doubt on the times or the interval allows two."""
    how = "timed in turns" if interleaved else "against its recorded samples, not in turns"
    summary = f"{span(change)}; {how}"
    verdict: Literal["better", "worse", "unchanged", "inconclusive"]
    if doubts:
        verdict, reason = "inconclusive", f"{doubts[0]}: {summary}"
    elif change.low > 1 and change.value > PRACTICAL:
        verdict, reason = "worse", summary
    elif change.high < 1 and change.value < 1 / PRACTICAL:
        verdict, reason = "better", summary
    elif _alike(change):
        verdict, reason = "unchanged", f"no difference of 5 % or more: {summary}"
    else:
        verdict, reason = "inconclusive", f"the runs do not decide about 5 %: {summary}"
    return AgainstBaseline(
        precision=precision,
        interleaved=interleaved,
        ratio=change,
        verdict=verdict,
        reason=reason,
    )


def check_against_baseline(record: Benchmark) -> None:
    """Turn a comparison into errors that a pipeline can act on.

    Raises:
        GateFailed: a file is worse than the baseline's.
        GateUndecided: none is, and the runs do not decide about one, or their times are in doubt.
    """
    worse = [item.precision for item in record.against if item.verdict == "worse"]
    if worse:
        raise GateFailed(
            f"worse than the baseline: {', '.join(worse)}", remedy="See the ratios above, and benchmark.json."
        )
    open_ones = [item for item in record.against if item.verdict == "inconclusive"]
    if open_ones:
        names = ", ".join(item.precision for item in open_ones)
        raise GateUndecided(
            f"the runs do not decide whether {names} became slower: {open_ones[0].reason}",
            remedy="Run it again on a quiet machine, or with --profile standard.",
        )


def _alike(change: Ratio) -> bool:
    """Whether the interval leaves no room for a change that matters."""
    return change.low >= 1 / PRACTICAL and change.high <= PRACTICAL
