"""bring(stage): the published folder of a stage, made now if it is not there."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from calkd_edge.engine.processes import run_in_processes
from calkd_edge.engine.stage import Job, Progress, Stage
from calkd_edge.engine.store import Store, WorkFolder
from calkd_edge.errors import EnvironmentProblem, StageFailed

log = logging.getLogger(__name__)


class Watcher(Protocol):
    """What a runner tells the outside about its work."""

    def started(self, stage: Stage) -> Progress:
        """A stage begins; the returned callable takes its progress."""

    def finished(self, stage: Stage, *, reused: bool, seconds: float) -> None:
        """A stage's folder is there."""


@dataclass(frozen=True)
class Brought:
    """A stage's published folder and how it came to be there."""

    folder: Path
    reused: bool
    seconds: float


@dataclass(frozen=True)
class Runner:
    """Makes stages, one after the other.

    Attributes:
        store: where folders are published.
        watcher: told of each start and end.
        facts: called after a stage for the manifest (library versions, threads).
        processes: for stages that may run under torchrun.
    """

    store: Store
    watcher: Watcher
    facts: Callable[[], Mapping[str, Any]]
    processes: int = 1

    def bring(self, stage: Stage) -> Brought:
        """The published folder of `stage`; its inputs must have been brought before.

        Raises:
            CalkdError: the stage refused, or the store is damaged; nothing is published then.
        """
        with self._environment(stage), self.store.lock(stage):
            found = self.store.published(stage)
            if found is not None:
                self.store.sweep(stage)
                seconds = float(self.store.manifest(found).get("seconds", 0.0))
                log.info("%s: reused %s", stage.name, found)
                self.watcher.finished(stage, reused=True, seconds=seconds)
                return Brought(found, True, seconds)
            self.store.note("started", stage.name, stage.fingerprint)
            log.info("%s: started, fingerprint %s", stage.name, stage.fingerprint)
            begun = time.monotonic()
            work = self.store.begin(stage)
            processes = self.processes if stage.parallel else 1
            self._run(stage, work, processes)
            seconds = time.monotonic() - begun
            facts = {"seconds": round(seconds, 3), "processes": processes, **self.facts()}
            folder = self.store.publish(stage, work, facts)
            log.info("%s: published after %.1f s", stage.name, seconds)
            self.watcher.finished(stage, reused=False, seconds=seconds)
            return Brought(folder, False, seconds)

    def _run(self, stage: Stage, work: WorkFolder, processes: int) -> None:
        inputs = {role: self.store.place(source.fingerprint) for role, source in stage.inputs.items()}
        progress = self.watcher.started(stage)
        job = Job(stage.params, stage.places, inputs, work.out, work.scratch, progress)
        try:
            if processes > 1:
                run_in_processes(stage, job, processes)
            else:
                stage.function(job)
        except StageFailed as refused:
            refused.stage = refused.stage or stage.name
            raise

    @contextmanager
    def _environment(self, stage: Stage) -> Iterator[None]:
        """Say what the machine lacks where a stage, or the publishing of its folder, runs into it."""
        try:
            yield
        except OSError as failed:
            if failed.errno in (errno.ENOSPC, errno.EDQUOT):
                raise EnvironmentProblem(
                    f"stage {stage.name}: the disk under {self.store.root} is full",
                    remedy="Free space, or use another store (--store DIR), and run again: it resumes.",
                ) from failed
            raise
        except MemoryError as failed:
            raise EnvironmentProblem(
                f"stage {stage.name}: not enough memory",
                remedy="Lower images_per_step, or use a larger machine.",
            ) from failed
