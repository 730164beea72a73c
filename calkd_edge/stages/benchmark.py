"""benchmark: latency of the shipped file on a device, in fresh processes; every sample is kept."""

from __future__ import annotations

import json
from functools import partial

import numpy as np

from calkd_edge.benchmarking.files import summarise
from calkd_edge.data.prepared import Prepared
from calkd_edge.devices.session import TimedRun, open_session
from calkd_edge.engine.stage import Job
from calkd_edge.export.artifacts import LATENCY
from calkd_edge.metrics.latency import TIMED_IMAGES
from calkd_edge.stages.executed import executable_of
from calkd_edge.stages.params import BenchmarkParams


def run(job: Job) -> None:
    """Write samples.npz (nanoseconds, an array a process), latency.json and states.json."""
    params = BenchmarkParams.model_validate(job.params)
    prepared = Prepared.open(job.inputs["data"])
    executable = executable_of(job, params)
    images = job.scratch / "images.npy"
    np.save(images, prepared.arrays("test", TIMED_IMAGES, params.seed)[0])
    runs: list[TimedRun] = []
    for number in range(params.processes):
        with open_session(params.device, job.locations["device"]) as session:
            timed = session.time(
                executable.path,
                images,
                runtime=params.runtime,
                options=executable.options,
                load=params.load,
                progress=partial(_advance, job, number, params.processes),
            )
        runs.append(timed)
    executable.check()
    summary = summarise(runs, threads=params.threads, profile=params.profile)
    samples = {f"process_{number}": timed.samples_ns for number, timed in enumerate(runs)}
    np.savez(job.out / "samples.npz", **samples)  # type: ignore[arg-type]  # numpy's stub
    (job.out / LATENCY).write_text(summary.model_dump_json(indent=1), encoding="utf-8")
    states = [{"before": timed.reply["before"], "after": timed.reply["after"]} for timed in runs]
    (job.out / "states.json").write_text(json.dumps(states, indent=1), encoding="utf-8")


def _advance(job: Job, number: int, processes: int, done: int, total: int) -> None:
    """Progress over all processes, from the progress of process `number`."""
    job.progress(number * total + done, processes * total)
