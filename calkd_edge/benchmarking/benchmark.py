"""benchmark(): the order of work, from a run or a file to a record and its samples."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.benchmarking.baseline import (
    NAME,
    SAMPLES,
    SAMPLES_OF,
    Baseline,
    changed_version,
    check_comparable,
    read_baseline,
)
from calkd_edge.benchmarking.caveats import caveats, doubts, others_cores
from calkd_edge.benchmarking.comparison import Comparison
from calkd_edge.benchmarking.files import milliseconds, timed_file
from calkd_edge.benchmarking.images import images_of
from calkd_edge.benchmarking.options import BenchmarkOptions, check_profile, check_rate, folder_of, seconds_of
from calkd_edge.benchmarking.sources import Source, newest_run, open_source
from calkd_edge.benchmarking.timing import (
    Contender,
    OnProcess,
    contender,
    load_of,
    spent_seconds,
    time_in_turns,
    unwatched,
)
from calkd_edge.benchmarking.worth import worth
from calkd_edge.devices.inventory import location_of, runtime_of
from calkd_edge.devices.session import Session, TimedRun, open_session
from calkd_edge.devices.targets import check_runtime, split_runtime, without_runtime
from calkd_edge.engine.apart import check_apart
from calkd_edge.errors import DeviceError, check_at_least, of_file, several
from calkd_edge.export.artifacts import CANONICAL
from calkd_edge.files import check_folder, replacing, sha256_of
from calkd_edge.files.full_disk import Place, naming_full_disk, temporary_place
from calkd_edge.files.paths import named_folder
from calkd_edge.files.scratch import ScratchFolder
from calkd_edge.records import Benchmark, DeviceFacts, TimedFile, Worth

Runs = Mapping[str, list[TimedRun]]


def benchmark(
    model: str | Path | None = None,
    *,
    device: str = "local",
    profile: str = "quick",
    rate_hz: float | None = None,
    soak: str | None = None,
    threads: int = 1,
    precisions: Sequence[str] = (),
    baseline: str | Path | None = None,
    images: str | Path | None = None,
    store: str | Path = ".calkd",
    out: str | Path | None = None,
    clean: bool = False,
    on_process: OnProcess = unwatched,
) -> Benchmark:
    """Time every precision of a run on a device, and write benchmark.json and benchmark.npz.

        result = benchmark("runs/quickstart", device="jetson", precisions=["int8"])
        print(result.files[0].latency_ms.p50.value, result.recommended)

    Args:
        model: a run's folder, its bundle.zip or an ONNX file; the newest finished run in ./runs when None,
            which the record names in `source.path`.
        device: NAME or NAME:RUNTIME.
        profile: quick; standard: 3 processes of 60 s; certify: 3 processes of 600 s.
        rate_hz: start an inference at each tick, so many a second; back to back when None.
        soak: one long run for each file, such as "10m": its first minute against its last.
        threads: of the runtime.
        precisions: only these; all when empty.
        baseline: an earlier benchmark.json to compare with.
        images: an .npy file or a folder; the run's images when None.
        store: the folder of published stages, where the run's images are.
        out: the folder for the result; runs/benchmark-DEVICE when None.
        clean: whether the device's cache is emptied at the end.
        on_process: called at the start of each timed process; the result takes its progress.

    Raises:
        RecipeError: no such run, precision or device, or a baseline that is not comparable.
        DeviceError: the device is lost, lacks the runtime, or a file does not run there.
        EnvironmentProblem: a file was changed since it was measured.
    """
    started = time.perf_counter()
    check_at_least("--threads", threads, 1)
    name, runtime = without_runtime(device), split_runtime(device)[1]
    options = BenchmarkOptions(
        device=name,
        runtime=runtime or runtime_of(name),
        profile=check_profile(profile),
        precisions=several("precisions", precisions),
        rate_hz=check_rate(rate_hz),
        soak_s=seconds_of(soak),
        threads=threads,
        images=None if images is None else Path(images),
        store=named_folder(store, "--store"),
        baseline=None if baseline is None else Path(baseline),
        clean=clean,
        started=started,
    )
    folder = folder_of(name, out)
    check_folder(folder, "--out")
    check_apart(folder, options.store, (NAME, SAMPLES))
    path = newest_run(Path("runs")) if model is None else Path(model)
    place = Place(folder, "Free space, or name another folder: --out DIR")
    with naming_full_disk(place, temporary_place()):
        return write(*measure(path, options, on_process), folder)


def measure(path: Path, options: BenchmarkOptions, on_process: OnProcess) -> tuple[Benchmark, Runs]:
    """Time the files at `path` on a device; the record, and all runs by key. Nothing is written.

    Raises:
        RecipeError: no such files, or the baseline is not comparable.
        DeviceError: the device is lost, lacks the runtime, or a file does not run there.
    """
    earlier = None if options.baseline is None else read_baseline(options.baseline)
    with ScratchFolder("benchmark") as work:
        source = open_source(path, work / "files", options.precisions)
        images, description = images_of(source, options)
        np.save(work / "images.npy", images)
        location = location_of(options.device, runtimes=[options.runtime])
        with open_session(options.device, location) as session:
            timing = _Timing(source, work, options, session, earlier)
            try:
                record, runs = timing.record(on_process, description)
            except DeviceError as refused:
                if source.origin.kind != "file":
                    raise
                raise of_file(refused, CANONICAL, path) from refused
            if options.clean:
                try:
                    session.device.clean()
                except DeviceError as lost:  # the measurements are kept
                    warnings = (*record.warnings, f"its cache was not emptied: {lost.message}")
                    record = record.model_copy(update={"warnings": warnings})
    return record, runs


def write(record: Benchmark, runs: Runs, out: Path) -> Benchmark:
    """Write benchmark.npz and benchmark.json into `out`, both or neither; the record as written."""
    arrays: dict[str, np.ndarray] = {}
    for key, processes in runs.items():
        for number, run in enumerate(processes):
            arrays[SAMPLES_OF.format(key, number)] = run.samples_ns
            arrays.update({f"{key}.{name}.{number}": values for name, values in run.trace.items()})
    with replacing(out / NAME) as text, replacing(out / SAMPLES) as samples:
        with samples.open("wb") as handle:
            np.savez(handle, **arrays)  # type: ignore[arg-type]  # numpy's stub
        written = record.model_copy(update={"samples_sha256": sha256_of(samples)})
        text.write_text(written.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return written


@dataclass(frozen=True)
class _Timing:
    """One benchmark on an opened device."""

    source: Source
    work: Path
    options: BenchmarkOptions
    session: Session
    earlier: Baseline | None

    def record(self, on_process: OnProcess, images: str) -> tuple[Benchmark, Runs]:
        """Time all files and describe the result."""
        options, facts = self.options, self.session.probe([self.options.runtime])
        check_runtime(options.device, options.runtime, facts)
        version = facts.runtimes[options.runtime]
        compiled = RUNTIMES[options.runtime].is_compiled
        threads = None if compiled else options.threads
        common = self._comparable(facts, version, threads)
        started = time.perf_counter()
        unproven = self.source.unproven(options.runtime)
        comparison = self._comparison(common)
        contenders = [self._contender(self.source, precision) for precision in self.source.folders]
        building = time.perf_counter() - started if compiled else 0.0
        load, processes = load_of(
            options.profile, rate_hz=options.rate_hz, soak_s=options.soak_s, emulated=facts.emulated
        )
        runs = time_in_turns(
            self.session,
            [*contenders, *comparison.contenders],
            self.work / "images.npy",
            runtime=options.runtime,
            load=load,
            processes=processes,
            on_process=on_process,
        )
        files = self._files(contenders, runs, emulated=facts.emulated)
        verdicts, recommended = self._verdicts(files, contenders, runs, facts)
        here = f"{options.device}:{options.runtime}"
        record = Benchmark(
            source=self.source.origin,
            device=options.device,
            runtime=options.runtime,
            runtime_version=version,
            profile=options.profile,
            processes=processes,
            threads=threads,
            rate_hz=options.rate_hz,
            soak_s=options.soak_s,
            facts=facts,
            images=images,
            files=files,
            worth=verdicts,
            recommended=recommended,
            baseline=None if self.earlier is None else str(self.earlier.path),
            against=comparison.against(runs),
            others_cores=others_cores(runs),
            warnings=(
                *caveats(runs, files, facts, here=here, unproven=unproven),
                *changed_version(self.earlier, options.runtime, version),
            ),
            seconds=spent_seconds(options.started, building, runs),
            measured_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            samples_sha256="",
        )
        return record, runs

    def _verdicts(
        self, files: Sequence[TimedFile], contenders: Sequence[Contender], runs: Runs, facts: DeviceFacts
    ) -> tuple[tuple[Worth, ...], str | None]:
        return worth(
            files,
            {item.key: milliseconds(runs[item.key]) for item in contenders},
            device=self.options.device,
            runtime=self.options.runtime,
            facts=facts,
            report=self.source.report,
            doubts=doubts(runs),
        )

    def _comparable(self, facts: DeviceFacts, version: str, threads: int | None) -> list[str]:
        """The precisions to compare with the baseline's."""
        if self.earlier is None:
            return []
        return check_comparable(
            self.earlier,
            facts=facts,
            runtime=self.options.runtime,
            version=version,
            threads=threads,
            rate_hz=self.options.rate_hz,
            soak_s=self.options.soak_s,
            precisions=list(self.source.folders),
        )

    def _contender(self, source: Source, precision: str, prefix: str = "") -> Contender:
        return contender(
            source,
            precision,
            self.session,
            self.work,
            runtime=self.options.runtime,
            threads=self.options.threads,
            prefix=prefix,
        )

    def _comparison(self, common: list[str]) -> Comparison:
        if self.earlier is None:
            return Comparison()
        reopened = self.earlier.reopened(self.work / "baseline", common, self.work / "images.npy")
        source, unchanged = reopened or (None, [])
        contenders = [self._contender(source, name, "baseline.") for name in unchanged if source is not None]
        recorded = {name: self.earlier.recorded(name) for name in common if name not in unchanged}
        return Comparison(common, contenders, recorded, self.earlier.record)

    def _files(self, contenders: Sequence[Contender], runs: Runs, *, emulated: bool) -> tuple[TimedFile, ...]:
        options = self.options
        return tuple(
            timed_file(
                item,
                runs[item.key],
                emulated=emulated,
                profile=options.profile,
                threads=options.threads,
                rate_hz=options.rate_hz,
                soak_s=options.soak_s,
                measured=self.source.measurement(item.precision, options.device, options.runtime),
            )
            for item in contenders
        )
