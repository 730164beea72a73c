"""benchmark: latency of the shipped file on a device, in fresh processes, every sample kept."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np

from calkd_edge.benchmarking.files import summarise
from calkd_edge.data.prepared import Prepared
from calkd_edge.devices.session import TimedRun, open_session
from calkd_edge.engine.stage import Job
from calkd_edge.export.artifacts import LATENCY
from calkd_edge.metrics.latency import LOADS, TIMED_IMAGES
from calkd_edge.recipe.schema import BenchmarkSection
from calkd_edge.stages.executed import executed

VERSION = 3
"""Raised by hand when what this stage writes changes."""


def run(job: Job) -> None:
    """Write samples.npz (nanoseconds, an array a process), latency.json and states.json."""
    params = job.params
    prepared = Prepared.open(job.inputs["data"])
    ran = executed(job)
    images = job.scratch / "images.npy"
    np.save(images, prepared.arrays("test", TIMED_IMAGES, params["seed"])[0])
    runs: list[TimedRun] = []
    for number in range(params["processes"]):
        with open_session(params["device"], job.locations["device"]) as session:
            timed = session.time(
                ran.path,
                images,
                runtime=params["runtime"],
                options=ran.options,
                load=params["load"],
                progress=partial(_advance, job, number),
            )
        runs.append(timed)
    summary = summarise(runs, params)
    samples = {f"process_{number}": timed.samples_ns for number, timed in enumerate(runs)}
    np.savez(job.out / "samples.npz", **samples)  # type: ignore[arg-type]  # numpy's stub
    (job.out / LATENCY).write_text(summary.model_dump_json(indent=1), encoding="utf-8")
    states = [{"before": timed.reply["before"], "after": timed.reply["after"]} for timed in runs]
    (job.out / "states.json").write_text(json.dumps(states, indent=1), encoding="utf-8")


def _advance(job: Job, number: int, done: int, total: int) -> None:
    """Progress over all processes, from that of process `number`."""
    job.progress(number * total + done, job.params["processes"] * total)


def load_of(section: BenchmarkSection) -> dict[str, Any]:
    """Warm-up and minima of a benchmark, the recipe's own where it names them."""
    load = dict(LOADS[section.profile])
    if section.min_runs is not None:
        load["min_runs"] = section.min_runs
    if section.min_seconds is not None:
        load["min_seconds"] = section.min_seconds
        load["warmup_max_seconds"] = min(load["warmup_max_seconds"], 5 * section.min_seconds)
        load["warmup_min_seconds"] = min(load["warmup_min_seconds"], section.min_seconds)
    return load
