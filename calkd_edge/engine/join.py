"""A further machine of a run: it joins by the shared store and runs its part of each stage.

python -m calkd_edge.stages --join STORE --node 1
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

from calkd_edge.engine.nodes import (
    BEAT_S,
    JOIN_S,
    SHARED,
    Announced,
    Pulse,
    beating,
    launch_arguments,
    read_run,
    versions,
)
from calkd_edge.engine.processes import launched
from calkd_edge.errors import EnvironmentProblem, RecipeError
from calkd_edge.files import write_atomically

GONE_READS = 8
"""Reads without a run before it has ended: a network disk may fail to read a file that is there."""

log = logging.getLogger(__name__)


def join(store: Path, node: int, *, wait_s: float = JOIN_S) -> None:
    """Run this machine's part of every stage of the next run in a store, until that run ends.

    Args:
        store: the store of the run, on a disk that both machines share, under the same path.
        node: number of this machine, from 1.
        wait_s: how long the run may take to begin.

    Raises:
        EnvironmentProblem: no run began, other versions are installed here, or the run's machine is gone.
        RecipeError: the run has no machine of that number.
    """
    folder = store.resolve() / "nodes"
    run, pulse = _wait_for_run(folder, wait_s)
    _check(run, store.resolve(), node)
    done, missed = 0, 0
    with beating(folder, node, run.token):
        while missed < GONE_READS:
            now = read_run(folder)
            if now is None or now.token != run.token:
                missed += 1
                time.sleep(BEAT_S / 4)
                continue
            missed = 0
            if now.job is not None and now.number != done:
                done = now.number
                _run_part(folder, now, Path(now.job), node, pulse)
            _check_alive(pulse, run.patience_s)
            time.sleep(BEAT_S / 4)


def _wait_for_run(folder: Path, wait_s: float) -> tuple[Announced, Pulse]:
    """The announced run, once its machine has changed its number."""
    deadline = time.monotonic() + wait_s
    pulses: dict[str, Pulse] = {}
    while time.monotonic() < deadline:
        run = read_run(folder)
        if run is not None:
            pulse = pulses.setdefault(run.token, Pulse(folder / "beat-0"))
            before = pulse.last
            pulse.silent_s()
            is_new = before is not None and pulse.last != before
            if is_new and (pulse.last or "").startswith(run.token):
                return run, pulse
        time.sleep(BEAT_S / 4)
    raise EnvironmentProblem(
        f"no run on several machines began in the store {folder.parent} within {wait_s:.0f} s",
        remedy=f"Start it on machine 0: calkd-edge compress ... --nodes 2 --store STORE. {SHARED}",
    )


def _check(run: Announced, store: Path, node: int) -> None:
    if not 1 <= node < run.count:
        raise RecipeError(
            f"--node {node}: the run has {run.count} machines",
            remedy=f"Use a number from 1 to {run.count - 1}, another for each machine.",
        )
    if str(store) != run.store:
        raise EnvironmentProblem(
            f"the store is {run.store} on machine 0, and {store} here",
            remedy="Mount it under the same path on all machines.",
        )
    if versions() != run.versions:
        theirs, ours = (
            ", ".join(f"{name} {number}" for name, number in kind.items())
            for kind in (run.versions, versions())
        )
        raise EnvironmentProblem(
            f"machine 0 has {theirs}; this one has {ours}",
            remedy="Install the same versions on all machines.",
        )


def _check_alive(pulse: Pulse, patience_s: float) -> None:
    if pulse.silent_s() > patience_s:
        raise EnvironmentProblem(
            "machine 0 of the run gives no sign of life",
            remedy="Start the run there again, and this command; it continues from the last epoch.",
        )


def _run_part(folder: Path, run: Announced, job: Path, node: int, pulse: Pulse) -> None:
    """This machine's ranks of a job; a failure is written for machine 0, which reports it."""

    def problem() -> str | None:
        now = read_run(folder)
        if now is not None and now.number != run.number:
            return "the run has ended"
        return "machine 0 gives no sign of life" if pulse.silent_s() > run.patience_s else None

    arguments = launch_arguments(run, node)
    result = launched(arguments, job, run.processes, name=f"machine {node}", problem=problem)
    if result.code:
        failure = {"node": node, "error": result.error, "last": result.last}
        write_atomically(folder / f"failed-{run.number}-{node}", json.dumps(failure).encode())
        log.warning("this machine's part failed: %s", result.error or result.last)
