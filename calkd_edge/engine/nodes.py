"""Trainings on several machines: how they meet, and how each notices that another one is gone.

The run is on machine 0. Each other machine joins it by the store, which all of them share:

nodes/run.json            the run: a token, how its processes meet, and the stage to run now
nodes/beat-0, beat-1, …   a number that each machine changes every second
nodes/failed-…            the error of a stage on a machine
nodes/lock                machine 0 holds it: a store has one such run at a time

Clocks are never compared: a machine is gone when its number has not changed for a while. The processes of a
stage meet by `torchrun --nnodes=N`; rank 0 is on machine 0.
"""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from calkd_edge.engine import locks
from calkd_edge.errors import EnvironmentProblem, RecipeError
from calkd_edge.files import write_atomically

PORT = 29400
BEAT_S = 1.0
PATIENCE_S = 180.0
"""Three times what a network file system may keep a file's former content."""
JOIN_S = 600.0
"""For the other machines to join a run, and for a run to begin."""
REPORT_S = 5.0
"""For the error of another machine to arrive."""
SHARED = "The store must be on a disk that all machines share, under one path."


def check_nodes(nodes: int, rendezvous: str | None) -> tuple[str, int]:
    """The host and port at which the processes meet.

    Raises:
        RecipeError: no such number of machines, or no such address.
    """
    if nodes < 1:
        raise RecipeError(f"nodes {nodes}: not possible", remedy="Use 1 or more.")
    host, _, port = (rendezvous or f"{socket.getfqdn()}:{PORT}").rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise RecipeError(
            f"--rendezvous {rendezvous}: not an address",
            remedy=f"Name this machine as the others see it, and a free port: HOST:{PORT}",
        )
    return host, int(port)


@dataclass(frozen=True)
class Announced:
    """nodes/run.json: a run on several machines.

    Attributes:
        token: of this run; beats begin with it.
        count: of machines.
        host: of machine 0, where the processes meet.
        port: there.
        processes: on each machine.
        patience_s: how long a machine may be silent.
        versions: that must be the same on all machines.
        store: its path, the same on all machines.
        number: of the job; 0 between jobs.
        job: path of the stage's description; None between jobs.
    """

    token: str
    count: int
    host: str
    port: int
    processes: int
    patience_s: float
    versions: dict[str, str]
    store: str
    number: int
    job: str | None


@dataclass(frozen=True)
class Nodes:
    """The machines of a run, seen from machine 0.

    Attributes:
        store: the root of the shared store.
        count: of machines, this one among them.
        host: this machine's name for the others.
        port: free on this machine.
        processes: on each machine.
        patience_s: how long a machine may be silent.
        join_s: how long others may take to join.
    """

    store: Path
    count: int
    host: str
    port: int
    processes: int
    patience_s: float = PATIENCE_S
    join_s: float = JOIN_S
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Inside the block, all machines have joined and this one beats; others end after it.

        Raises:
            EnvironmentProblem: a machine does not join, or another such run uses the store.
        """
        folder = self.store / "nodes"
        folder.mkdir(exist_ok=True)
        with self._alone(folder / "lock"):
            for name in ("beat-*", "failed-*"):
                for old in folder.glob(name):
                    old.unlink(missing_ok=True)
            self._announce(0, None)
            try:
                with beating(folder, 0, self.token):
                    self._wait_for_others()
                    yield
            finally:
                announced = read_run(folder)
                if announced is not None and announced.token == self.token:
                    (folder / "run.json").unlink(missing_ok=True)

    @contextmanager
    def _alone(self, lock: Path) -> Iterator[None]:
        """Hold the lock of a store's runs on several machines."""
        with locks.exclusive_now(lock) as is_free:
            if not is_free:
                raise EnvironmentProblem(
                    f"the store {self.store} has another run on several machines: {locks.holders(lock)}",
                    remedy="Wait until it has ended, or use another store: --store DIR. If its machine is "
                    f"gone, remove its lock: rm {lock}",
                )
            yield

    def _wait_for_others(self) -> None:
        waiting = time.monotonic() + self.join_s
        while missing := [node for node in range(1, self.count) if not self._has_joined(node)]:
            if time.monotonic() > waiting:
                raise EnvironmentProblem(
                    f"machine {missing[0]} of {self.count} has not joined within {self.join_s:.0f} s",
                    remedy=f"Start there: {self.command(missing[0])}. {SHARED}",
                )
            time.sleep(BEAT_S / 4)

    def command(self, node: int | str) -> str:
        """What joins the run on another machine."""
        return f"python -m calkd_edge.stages --join {self.store} --node {node}"

    def _has_joined(self, node: int) -> bool:
        return (_read(self.store / "nodes" / f"beat-{node}") or "").startswith(self.token)

    def announced(self, number: int = 0, job: Path | None = None) -> Announced:
        """What the other machines read of this run."""
        return Announced(
            token=self.token,
            count=self.count,
            host=self.host,
            port=self.port,
            processes=self.processes,
            patience_s=self.patience_s,
            versions=versions(),
            store=str(self.store),
            number=number,
            job=None if job is None else str(job),
        )

    def _announce(self, number: int, job: Path | None) -> None:
        text = json.dumps(asdict(self.announced(number, job)))
        write_atomically(self.store / "nodes" / "run.json", text.encode())

    @contextmanager
    def running(self, job: Path) -> Iterator[Watch]:
        """Inside the block, the other machines run the job of that file too."""
        number = time.time_ns()  # another one for each job
        self._announce(number, job)
        try:
            yield Watch(self.store / "nodes", self.token, number, self.count, self.patience_s)
        finally:
            self._announce(0, None)


def launch_arguments(run: Announced, node: int) -> list[str]:
    """Arguments of torchrun for the part of a job on one machine."""
    return [
        f"--nnodes={run.count}",
        f"--node-rank={node}",
        f"--nproc-per-node={run.processes}",
        f"--master-addr={run.host}",
        f"--master-port={run.port}",
    ]


@dataclass(frozen=True)
class Watch:
    """What machine 0 sees of the others during a job."""

    folder: Path
    token: str
    number: int
    count: int
    patience_s: float

    def problem(self, pulses: Mapping[int, Pulse]) -> str | None:
        """A sentence about a machine that failed or is gone; None while all is well."""
        for node, pulse in pulses.items():
            if pulse.silent_s() > self.patience_s:
                return f"machine {node} gives no sign of life"
        return None if self.failure() is None else "another machine failed"

    def pulses(self) -> dict[int, Pulse]:
        """Of the other machines, by their numbers."""
        return {node: Pulse(self.folder / f"beat-{node}") for node in range(1, self.count)}

    def failure(self, wait_s: float = 0.0) -> str | None:
        """What a machine wrote about the failure of this job; waits so long for it."""
        deadline = time.monotonic() + wait_s
        while True:
            for path in sorted(self.folder.glob(f"failed-{self.number}-*")):
                if text := _read(path):
                    return text
            if time.monotonic() >= deadline:
                return None
            time.sleep(BEAT_S / 4)


class Pulse:
    """Whether a machine still changes its number; by this machine's clock alone."""

    def __init__(self, path: Path) -> None:
        self.path, self.last, self.since = path, _read(path), time.monotonic()

    def silent_s(self) -> float:
        """Seconds since its number last changed."""
        now = _read(self.path)
        if now is not None and now != self.last:
            self.last, self.since = now, time.monotonic()
        return time.monotonic() - self.since


@contextmanager
def beating(folder: Path, node: int, token: str) -> Iterator[None]:
    """Inside the block, a thread changes the number of this machine every second."""
    ended = threading.Event()

    def beat() -> None:
        number = 0
        while not ended.wait(BEAT_S if number else 0):
            number += 1
            with suppress(OSError):  # a disk that is away for a moment
                _replace(folder / f"beat-{node}", f"{token} {number}")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(BEAT_S)


def versions() -> dict[str, str]:
    """Versions that must be the same on all machines."""
    return {name: version(name) for name in ("calkd-edge", "torch", "numpy")}


def read_run(folder: Path) -> Announced | None:
    """The run that a store announces; None while there is none, or it is another version's."""
    text = _read(folder / "run.json")
    with suppress(ValueError, TypeError):
        return Announced(**json.loads(text or ""))
    return None


def _replace(path: Path, text: str) -> None:
    """Write a file whole, without waiting for the disk: after a power cut nobody needs it."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None
