"""Real processes: SIGKILL at any moment, and two processes on the same store."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import chain_stages
import pytest
from chain_stages import STEPS, chain
from tiny_run import journal

from calkd_edge.engine.processes import run_in_processes, threads_of
from calkd_edge.engine.stage import Job, Stage
from calkd_edge.engine.store import Store
from calkd_edge.errors import StageFailed
from calkd_edge.files import sha256_of

SCRIPT = Path(chain_stages.__file__)


def start(store: Path, seconds: float) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), str(store), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_a_new_event(path: Path, seen: int, process: subprocess.Popen) -> None:
    """Wait until the journal grows or the process ends, so that kills interrupt work and not imports."""
    while process.poll() is None:
        if path.is_file() and path.stat().st_size > seen:
            return
        time.sleep(0.002)


@pytest.mark.serial
@pytest.mark.parametrize("seed", [1, 2])
def test_any_sequence_of_kills_ends_with_the_folders_of_a_run_without_kills(tmp_path, seed):
    draw, kills = random.Random(seed), 0
    store = Store(tmp_path / "killed")
    for _ in range(12):
        path = store.root / "journal.jsonl"
        seen = path.stat().st_size if path.is_file() else 0
        with start(store.root, 0.01) as process:
            wait_for_a_new_event(path, seen, process)
            time.sleep(draw.uniform(0, 0.06))
            with contextlib.suppress(ProcessLookupError):  # it has finished
                os.killpg(process.pid, signal.SIGKILL)
        kills += process.returncode == -signal.SIGKILL
        for place in store.folders():
            assert store.problems(place) == []
    assert kills >= 3
    assert finished(store.root)
    assert finished(tmp_path / "whole")
    for stage in chain(0.0):
        killed, complete = store.published(stage), Store(tmp_path / "whole").published(stage)
        assert (killed / "steps.txt").read_text() == (complete / "steps.txt").read_text()
    published = collections.Counter(
        line["fingerprint"] for line in journal(store.root) if line["event"] == "published"
    )
    assert max(published.values()) == 1
    attempts = [(store.published(stage) / "deep" / "attempts.txt").read_text() for stage in chain(0.0)]
    assert sum(map(len, attempts)) > len(attempts), "no kill fell into a stage, or scratch did not survive"
    assert list((store.root / "work").iterdir()) == []


def finished(root: Path) -> dict[str, bool]:
    process = start(root, 0.0)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    reused: dict[str, bool] = json.loads(out)
    return reused


@pytest.mark.serial
def test_second_process_waits_for_the_first_and_reuses_its_folder(tmp_path):
    root = Store(tmp_path / "store").root
    first = start(root, 0.05)
    wait_for_a_new_event(root / "journal.jsonl", 0, first)
    second = start(root, 0.05)
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    made = [json.loads(out) for out in outputs]
    # Whoever comes first to a stage makes it; the other has waited and reuses it.
    for stage in chain(0.0):
        assert sorted(reused[stage.name] for reused in made) == [False, True]
    events = collections.Counter((line["event"], line["stage"]) for line in journal(root))
    assert set(events.values()) == {1}
    steps = (Store(root).published(chain(0.0)[-1]) / "steps.txt").read_text().splitlines()
    assert len(steps) == 3 * STEPS


def test_a_rank_knows_the_names_that_plugins_register(tmp_path):
    """Each process of a training starts anew; the plugin writes what it finds of itself."""
    (tmp_path / "own_code.py").write_text(
        "from calkd_edge.models import MODELS\n"
        "MODELS.add('own', lambda *size: None)\n"
        "def run(job):\n"
        "    raise NotImplementedError\n"
    )
    (tmp_path / "stage_code.py").write_text(
        "from calkd_edge.models import MODELS\n"
        "def run(job):\n"
        "    (job.out / 'names').write_text(' '.join(MODELS.names()))\n"
    )
    job = {
        "function": "stage_code:run",
        "params": {"plugins": {"own_code": sha256_of(tmp_path / "own_code.py")}},
        "locations": {},
        "inputs": {},
        "out": str(tmp_path),
        "scratch": str(tmp_path),
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    path = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-m", "calkd_edge.stages", str(tmp_path / "job.json")]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=True)
    assert "own" in (tmp_path / "names").read_text().split()
    (tmp_path / "own_code.py").write_text("")
    changed = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert changed.returncode == StageFailed.exit_code
    assert "own_code.py changed since the plan" in changed.stdout


def test_ranks_share_the_cores_that_this_process_may_use():
    allowed = os.sched_getaffinity(0)
    assert threads_of(1) == len(allowed)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert (threads_of(1), threads_of(2)) == (1, 1)
    finally:
        os.sched_setaffinity(0, allowed)


WATCHER = "import sys; from calkd_edge.engine.processes import _end_with; _end_with(int(sys.argv[1]))"


def test_a_rank_ends_when_its_starter_is_killed_and_nobody_reads_its_status():
    starter = subprocess.Popen(["sleep", "60"])
    rank = subprocess.Popen([sys.executable, "-c", WATCHER, str(starter.pid)])
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            rank.wait(3)
        starter.kill()  # and stays a zombie
        assert rank.wait(20) == 1
        os.kill(starter.pid, 0)
    finally:
        rank.kill()
        rank.wait()
        starter.wait()


class Ended(BaseException):
    """What a signal raises in a command."""


def test_stage_in_processes_ends_with_its_run(tmp_path, monkeypatch):
    """Leaving the block that waits for the processes must not wait until they are done."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    stage = Stage("endless", "chain_stages:endless", 1, {}, {})
    job = Job({}, {}, {}, tmp_path, tmp_path, lambda done, total: None)

    def end(number: int, frame: object) -> None:
        raise Ended

    previous = signal.signal(signal.SIGUSR1, end)
    watcher = threading.Thread(target=_signal_when, args=(tmp_path / "0", signal.SIGUSR1))
    watcher.start()
    try:
        with pytest.raises(Ended):
            run_in_processes(stage, job, 2)
    finally:
        signal.signal(signal.SIGUSR1, previous)
        watcher.join()
    assert not Path("/proc", (tmp_path / "0").read_text()).exists()


def _signal_when(path: Path, number: int) -> None:
    """Send a signal to this process once a file stands there."""
    while not (path.exists() and path.read_text()):
        time.sleep(0.05)
    os.kill(os.getpid(), number)
