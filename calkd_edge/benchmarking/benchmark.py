"""benchmark(): the order of work, from what was named to a record and its samples."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.benchmarking.baseline import (
    NAME,
    SAMPLES,
    SAMPLES_OF,
    Baseline,
    check_comparable,
    judged,
    read_baseline,
)
from calkd_edge.benchmarking.cautions import cautions
from calkd_edge.benchmarking.files import milliseconds, timed_file
from calkd_edge.benchmarking.pictures import SEED, images_for
from calkd_edge.benchmarking.ratios import ratio
from calkd_edge.benchmarking.sources import Source, open_source
from calkd_edge.benchmarking.timing import Contender, Watch, contender, load_of, time_in_turns
from calkd_edge.benchmarking.worth import worth
from calkd_edge.devices.inventory import location_of
from calkd_edge.devices.session import Session, TimedRun, open_session
from calkd_edge.devices.targets import check_runtime
from calkd_edge.errors import DeviceError
from calkd_edge.files import replacing, sha256_of
from calkd_edge.records import AgainstBaseline, Benchmark, FloatArray, SpentSeconds

Runs = Mapping[str, list[TimedRun]]


@dataclass(frozen=True)
class Asked:
    """What the command line asks for.

    Attributes:
        device: its name.
        runtime: that opens the files there.
        profile: quick, standard or certify.
        precisions: only these; all where none is named.
        rate_hz: ticks a second; None for back to back.
        soak_s: seconds of one long run a file; None for the profile's.
        threads: of the runtime.
        images: an .npy file or a folder of images; None for the run's own.
        store: where the run's data may still lie.
        baseline: an earlier benchmark.json.
        clean: whether the device's cache is removed at the end.
        begun: time.perf_counter() at which the command began.
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
    begun: float = 0.0


def benchmark(path: Path, asked: Asked, watch: Watch) -> tuple[Benchmark, Runs]:
    """Time the files at `path` on a device; the record, and all runs by key. Nothing is written.

    Raises:
        RecipeError: what was named is not there, or the baseline is not comparable.
        DeviceError: the device is lost, lacks the runtime, or a file does not run there.
    """
    earlier = None if asked.baseline is None else read_baseline(asked.baseline)
    with tempfile.TemporaryDirectory(prefix="calkd-benchmark-") as folder:
        work = Path(folder)
        source = open_source(path, work / "files", asked.precisions)
        images, told = _images(source, asked)
        np.save(work / "images.npy", images)
        location = location_of(asked.device, runtimes=[asked.runtime])
        with open_session(asked.device, location) as session:
            found, runs = _timed(source, work, asked, session, earlier, watch, told)
            if asked.clean:
                try:
                    session.device.clean()
                except DeviceError as lost:  # what was measured is not thrown away for that
                    said = (*found.warnings, f"its cache was not emptied: {lost.message}")
                    found = found.model_copy(update={"warnings": said})
    return found, runs


def write(found: Benchmark, runs: Runs, out: Path) -> Benchmark:
    """Write benchmark.npz and benchmark.json into `out`, both whole or neither; the record as written."""
    arrays: dict[str, Any] = {}
    for key, several in runs.items():
        for number, run in enumerate(several):
            arrays[SAMPLES_OF.format(key, number)] = run.samples_ns
            arrays.update({f"{key}.{name}.{number}": values for name, values in run.trace.items()})
    with replacing(out / NAME) as text, replacing(out / SAMPLES) as samples:
        with samples.open("wb") as handle:
            np.savez(handle, **arrays)
        written = found.model_copy(update={"samples_sha256": sha256_of(samples)})
        text.write_text(written.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return written


def _images(source: Source, asked: Asked) -> tuple[Any, str]:
    report, prepared, seed = source.report, None, SEED
    if report is not None:
        stage = next((one for one in report.plan if one.stage == "prepare"), None)
        place = asked.store / "objects" / stage.fingerprint[:2] / stage.fingerprint if stage else None
        prepared = place if place is not None and place.is_dir() else None
        seed = int(str(report.recipe.get("seed", SEED)))
    folder = next(iter(source.folders.values()))
    return images_for(folder, given=asked.images, prepared=prepared, seed=seed, bundle=source.bundle)


def _timed(
    source: Source,
    work: Path,
    asked: Asked,
    session: Session,
    earlier: Baseline | None,
    watch: Watch,
    images: str,
) -> tuple[Benchmark, Runs]:
    facts = session.probe()
    check_runtime(asked.device, asked.runtime, facts)
    version = facts.runtimes[asked.runtime]
    threads = None if RUNTIMES[asked.runtime].is_compiled else asked.threads
    common: list[str] = []
    if earlier is not None:
        common = check_comparable(
            earlier,
            facts=facts,
            runtime=asked.runtime,
            version=version,
            threads=threads,
            rate_hz=asked.rate_hz,
            precisions=list(source.folders),
        )
    begun = time.perf_counter()
    unproven = source.unproven(asked.runtime)
    same: dict[str, Any] = {"runtime": asked.runtime, "threads": asked.threads}
    own = [contender(source, one, session, work, **same) for one in source.folders]
    theirs: list[Contender] = []
    recorded: dict[str, list[FloatArray]] = {}
    if earlier is not None:
        again = earlier.reopened(work / "baseline", common)
        there = again[1] if again else []
        recorded = {one: earlier.recorded(one) for one in common if one not in there}
        theirs = [
            contender(again[0], one, session, work, prefix="baseline.", **same) for one in there if again
        ]
    building = time.perf_counter() - begun if RUNTIMES[asked.runtime].is_compiled else 0.0
    load, processes = load_of(
        asked.profile, rate_hz=asked.rate_hz, soak_s=asked.soak_s, emulated=facts.emulated
    )
    runs = time_in_turns(
        session,
        [*own, *theirs],
        work / "images.npy",
        runtime=asked.runtime,
        load=load,
        processes=processes,
        watch=watch,
    )
    files = tuple(
        timed_file(
            one,
            runs[one.key],
            emulated=facts.emulated,
            profile=asked.profile,
            threads=asked.threads,
            rate_hz=asked.rate_hz,
            soak_s=asked.soak_s,
            measured=source.measurement(one.precision, asked.device, asked.runtime),
        )
        for one in own
    )
    samples = {one.key: milliseconds(runs[one.key]) for one in own}
    verdicts, recommended = worth(
        files, samples, device=asked.device, runtime=asked.runtime, facts=facts, report=source.report
    )
    return (
        Benchmark(
            source=source.told,
            device=asked.device,
            runtime=asked.runtime,
            runtime_version=version,
            profile=asked.profile,
            processes=processes,
            threads=threads,
            rate_hz=asked.rate_hz,
            soak_s=asked.soak_s,
            facts=facts,
            images=images,
            files=files,
            worth=verdicts,
            recommended=recommended,
            baseline=None if earlier is None else str(earlier.path),
            against=_against(common, recorded, runs),
            warnings=cautions(runs, files, facts, here=f"{asked.device}:{asked.runtime}", unproven=unproven),
            seconds=_seconds(asked.begun, building, runs),
            measured_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            samples_sha256="",
        ),
        runs,
    )


def _against(
    common: list[str], recorded: Mapping[str, list[FloatArray]], runs: Runs
) -> tuple[AgainstBaseline, ...]:
    """Each precision against the baseline's file where that was timed too, else against what it recorded."""
    found = []
    for precision in common:
        in_turns = precision not in recorded
        then = milliseconds(runs[f"baseline.{precision}"]) if in_turns else recorded[precision]
        both = ratio(milliseconds(runs[precision]), then, paired=in_turns)
        found.append(judged(precision, both, interleaved=in_turns))
    return tuple(found)


def _seconds(begun: float, building: float, runs: Runs) -> SpentSeconds:
    """Where the time went; the overhead is what is neither timing, warm-up, rest nor building."""
    replies = [one.reply for several in runs.values() for one in several]
    timed = sum((reply["window_ns"][1] - reply["window_ns"][0]) / 1e9 for reply in replies)
    warmup = sum(float(reply["warmup_seconds"]) for reply in replies)
    idle = sum((end - begin) / 1e9 for reply in replies for begin, end in reply["idle_ns"])
    whole = time.perf_counter() - begun
    return SpentSeconds(
        whole=whole,
        timed=timed,
        warmup=warmup,
        idle=idle,
        building=building,
        overhead=whole - timed - warmup - idle - building,
    )
