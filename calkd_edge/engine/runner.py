"""Runner: returns the published folder of a stage, and runs the stage if there is none."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from calkd_edge.engine.nodes import Nodes
from calkd_edge.engine.processes import run_in_processes
from calkd_edge.engine.stage import Job, Progress, Stage
from calkd_edge.engine.store import Store, WorkFolder
from calkd_edge.errors import StageFailed
from calkd_edge.files.environment import naming_lack_of_memory
from calkd_edge.files.full_disk import naming_full_disk, store_place, temporary_place

log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Callbacks of a runner."""

    def started(self, stage: Stage) -> Progress:
        """A stage starts; the returned callable receives its progress."""

    def finished(self, stage: Stage, *, reused: bool, seconds: float) -> None:
        """The folder of a stage is published."""


@dataclass(frozen=True)
class PublishedStage:
    """The published folder of a stage, whether it was reused, and the seconds that the stage took."""

    folder: Path
    reused: bool
    seconds: float


@dataclass(frozen=True)
class Runner:
    """Runs stages one after the other.

    Attributes:
        store: of the published folders.
        watcher: called at the start and the end of each stage.
        facts: called after a stage, for the manifest (library versions, threads).
        processes: number of processes for stages that may run under torchrun, on each machine.
        nodes: the machines of the run, where there are several.
    """

    store: Store
    watcher: Watcher
    facts: Callable[[], Mapping[str, Any]]
    processes: int = 1
    nodes: Nodes | None = None

    def run(self, stage: Stage) -> PublishedStage:
        """Return the published folder of `stage`, after running it if needed; its inputs must be published.

        Raises:
            CalkdError: the stage raised an error, or the store is damaged, before it or meanwhile; nothing is
                published then.
        """
        with self._environment(stage), self.store.found_or_locked(stage) as folder:
            if folder is not None:
                self.store.sweep(stage)
                seconds = float(self.store.manifest(folder).get("seconds", 0.0))
                log.info("%s: reused %s", stage.name, folder)
                self.watcher.finished(stage, reused=True, seconds=seconds)
                return PublishedStage(folder, True, seconds)
            self.store.note("started", stage.name, stage.fingerprint)
            log.info("%s: started, fingerprint %s", stage.name, stage.fingerprint)
            start_time = time.monotonic()
            work = self.store.begin(stage)
            processes = self.processes if stage.parallel else 1
            self._execute(stage, work, processes)
            self.store.check(stage.inputs.values())  # what was read must be what was published
            seconds = time.monotonic() - start_time
            facts = {"seconds": round(seconds, 3), "processes": processes, **self.facts()}
            if self.nodes is not None and stage.parallel:
                facts["nodes"] = self.nodes.count
            folder = self.store.publish(stage, work, facts)
            log.info("%s: published after %.1f s", stage.name, seconds)
            self.watcher.finished(stage, reused=False, seconds=seconds)
            return PublishedStage(folder, False, seconds)

    def _execute(self, stage: Stage, work: WorkFolder, processes: int) -> None:
        inputs = {role: self.store.path_of(source.fingerprint) for role, source in stage.inputs.items()}
        progress = self.watcher.started(stage)
        job = Job(stage.params, stage.locations, inputs, work.out, work.scratch, progress)
        try:
            if processes > 1 or (self.nodes is not None and stage.parallel):
                run_in_processes(stage, job, processes, self.nodes)
            else:
                stage.function(job)
        except StageFailed as error:
            error.stage = error.stage or stage.name
            raise

    @contextmanager
    def _environment(self, stage: Stage) -> Iterator[None]:
        """Turn a full disk and a lack of memory, in a stage or while publishing, into EnvironmentProblem."""
        places, where = (store_place(self.store.root), temporary_place()), f"stage {stage.name}"
        with naming_lack_of_memory(where), naming_full_disk(*places, what=f"{where}: "):
            yield
