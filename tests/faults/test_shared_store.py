"""Several processes on one store: runs, runs that start stages again, and collections."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import shared_store
from chain_stages import Silent, chain

from calkd_edge.engine import locks
from calkd_edge.engine.collect import collect, remember_run
from calkd_edge.engine.locks import keeping_folders
from calkd_edge.engine.runner import Runner
from calkd_edge.engine.stage import Stage
from calkd_edge.engine.store import Store

SCRIPT = Path(shared_store.__file__)


def write(job):
    """Write one file."""
    (job.out / "a.txt").write_text("content")


def stage(number: int, **inputs: Stage) -> Stage:
    return Stage(f"write-{number}", f"{__name__}:write", 1, {"n": number}, inputs)


def run(root: Path, *stages: Stage) -> list[Path]:
    return [Runner(Store(root), Silent(), dict).run(one).folder for one in stages]


@pytest.mark.serial
def test_runs_fresh_runs_and_collections_at_once_all_end_right(tmp_path):
    roles = [
        ["12", "1"],
        ["12", "2"],
        ["12", "3"],
        ["12", "4"],
        ["60", "5", "collect"],
        ["60", "6", "collect"],
    ]
    commands = [[sys.executable, str(SCRIPT), str(tmp_path), *role] for role in roles]
    processes = [subprocess.Popen(line, stderr=subprocess.PIPE, text=True) for line in commands]
    for process in processes:
        _, messages = process.communicate(timeout=120)
        assert process.returncode == 0, messages
    run(tmp_path, *chain(0.0))
    store = Store(tmp_path)
    assert not [problem for folder in store.folders() for problem in store.problems(folder)]
    assert not list((tmp_path / "work").iterdir())


def test_collections_at_once_share_the_work(tmp_path):
    folders = run(tmp_path, *map(stage, range(20)))
    (tmp_path / "work" / "abandoned" / "scratch").mkdir(parents=True)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(collect(Store(tmp_path), set()))) for _ in "1234"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(result.removed for result in results) == len(folders) + 1
    assert not Store(tmp_path).folders()


def in_thread(work) -> threading.Thread:
    """Threads have their own locks, as processes have."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_run_keeps_its_folders_and_whoever_wants_them_is_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(locks, "QUIET_S", 0.1)
    used, other = stage(1), stage(2)
    run(tmp_path, other)
    collected, discarded = [], threading.Event()

    def discard():
        with Store(tmp_path).lock(used):
            discarded.set()

    with keeping_folders():
        (folder,) = run(tmp_path, used)
        in_thread(lambda: collected.append(collect(Store(tmp_path), set()))).join()
        waiting = in_thread(discard)
        assert not discarded.wait(0.5)
        assert run(tmp_path, used) == [folder]  # another run reads it meanwhile
    waiting.join()
    assert folder.is_dir()
    assert collected[0].removed == 1
    assert [text.split(":")[0] for text in collected[0].in_use] == [used.fingerprint[:12]]
    assert "write-1: waits for" in caplog.text


def test_inputs_are_kept_while_a_stage_runs(tmp_path):
    above = stage(1)
    run(tmp_path, above)
    below = stage(2, above=above)
    with Store(tmp_path).found_or_locked(below) as found:
        assert found is None
        assert collect(Store(tmp_path), set()).removed == 0
    assert collect(Store(tmp_path), set()).removed == 1


def test_holder_of_a_lock_is_named(tmp_path):
    path = tmp_path / "lock"
    code = "import fcntl, sys, time; h = open(sys.argv[1], 'w'); fcntl.flock(h, 2); print(flush=True)"
    code += "; time.sleep(60)"
    line = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert f"process {process.pid} (" in locks.holders(path)
        process.kill()


def test_collection_keeps_what_runs_of_a_kept_student_made(tmp_path):
    student, on_device, earlier = stage(1), stage(2), stage(3)
    run(tmp_path, student, on_device, earlier, stage(4))
    store = Store(tmp_path)
    remember_run(store, "recipe", student, [student, on_device])
    remember_run(store, "recipe", earlier, [earlier, stage(4)])
    (tmp_path / "runs" / "damaged.json").write_text("[")
    assert collect(store, {student.fingerprint}).removed == 2
    assert {folder.name for folder in store.folders()} == {student.fingerprint, on_device.fingerprint}
    assert len(list((tmp_path / "runs").iterdir())) == 1
