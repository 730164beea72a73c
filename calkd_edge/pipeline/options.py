"""Where and how a plan runs: what the command line says and a recipe does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from calkd_edge.release.earlier import ReadRelease

ACCELERATORS = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Options:
    """Where and how a plan runs; none of it enters a fingerprint.

    Attributes:
        out: the folder for people: report, bundle, models.
        store: the folder of published stages.
        accelerator: auto, cpu or cuda.
        processes: for training, on each machine.
        nodes: machines that train.
        rendezvous: HOST:PORT of this machine at which the processes of several machines meet; None for its
            name and a usual port.
        fresh: names of stages to run again, with all that depend on them.
        skipped_devices: names of devices to leave out; their gates are unmeasured.
        target_devices: NAME:RUNTIME of each device added for this run; gates with `device: target` apply to
            them.
        smoke: whether the recipe is the smoke variant.
        allow_undecided: whether an undecided release gets a bundle.
        reuse_measurements: whether a latency older than the recipe allows is kept.
        debug_parity: whether exported files are compared with torch layer by layer.
        plugins: module -> SHA-256 of its file.
        trackers: names of the experiment trackers that the finished run is logged to.
        earlier: the release that this one is compared with; None for none.
    """

    out: Path
    store: Path
    accelerator: str = "auto"
    processes: int = 1
    nodes: int = 1
    rendezvous: str | None = None
    fresh: Sequence[str] = ()
    skipped_devices: Sequence[str] = ()
    target_devices: Sequence[str] = ()
    smoke: bool = False
    allow_undecided: bool = False
    reuse_measurements: bool = False
    debug_parity: bool = False
    plugins: Mapping[str, str] = field(default_factory=dict)
    trackers: Sequence[str] = ()
    earlier: ReadRelease | None = None
