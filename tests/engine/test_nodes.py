"""Trainings on several machines: two launchers of this machine stand for two, and meet over gloo."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from calkd_edge.engine import join as joining
from calkd_edge.engine.nodes import Nodes, beating, check_nodes, read_run
from calkd_edge.engine.processes import run_in_processes
from calkd_edge.engine.stage import Job, Stage
from calkd_edge.errors import EnvironmentProblem, RecipeError, StageFailed

SUMMED = Stage("summed", "chain_stages:summed", 1, {}, {})


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


def machines(store: Path, **more) -> Nodes:
    (store / "nodes").mkdir(parents=True)
    settings = {"patience_s": 25.0, "join_s": 120.0, **more}
    return Nodes(store.resolve(), 2, "127.0.0.1", free_port(), 1, **settings)


def joiner(store: Path, node: int = 1) -> subprocess.Popen:
    command = [sys.executable, "-m", "calkd_edge.stages", "--join", str(store), "--node", str(node)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def job_in(folder: Path, **params) -> Job:
    out, scratch = folder / "work" / "aa" / "out", folder / "work" / "aa" / "scratch"
    out.mkdir(parents=True)
    scratch.mkdir()
    return Job(params, {}, {}, out, scratch, lambda done, total: None)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


def test_ranks_of_two_machines_meet_in_one_training(tmp_path):
    nodes, job = machines(tmp_path), job_in(tmp_path)
    other = joiner(tmp_path)
    with nodes.gathered():
        run_in_processes(SUMMED, job, 1, nodes)
    out, _ = other.communicate(timeout=120)
    assert other.returncode == 0, out
    assert (job.out / "sum").read_text() == "3 of 2"
    assert [(job.scratch / f"rank-{rank}").read_text() for rank in (0, 1)] == ["0", "0"]  # each the first
    assert not (tmp_path / "nodes" / "run.json").exists()


def test_an_error_on_the_other_machine_is_that_of_the_stage(tmp_path):
    nodes, job = machines(tmp_path), job_in(tmp_path, fails=1)
    other = joiner(tmp_path)
    with nodes.gathered(), pytest.raises(EnvironmentProblem, match="rank 1 has no card") as failed:
        run_in_processes(SUMMED, job, 1, nodes)
    assert failed.value.remedy == "Plug one in."
    out, _ = other.communicate(timeout=120)
    assert other.returncode == 0, out


@pytest.mark.slow
@pytest.mark.serial
def test_a_machine_that_is_gone_ends_the_stage(tmp_path):
    nodes, job = machines(tmp_path), job_in(tmp_path, waits=True)
    other = joiner(tmp_path)
    killer = threading.Thread(target=_kill_when, args=(other, job.scratch / "rank-1"))
    with nodes.gathered():
        killer.start()
        with pytest.raises(StageFailed, match="a process of 2 failed"):
            run_in_processes(SUMMED, job, 1, nodes)
    killer.join()
    other.communicate(timeout=120)


def _kill_when(process: subprocess.Popen, path: Path) -> None:
    while not path.exists() and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.serial
def test_the_other_machine_ends_when_the_run_is_gone(tmp_path):
    """Its ranks too: nothing of the killed run writes into the folders of the next one."""
    script = (
        "import sys; from pathlib import Path\n"
        "from calkd_edge.engine.nodes import Nodes\n"
        "from calkd_edge.engine.processes import run_in_processes\n"
        "from calkd_edge.engine.stage import Job, Stage\n"
        "store, port = Path(sys.argv[1]), int(sys.argv[2])\n"
        "nodes = Nodes(store, 2, '127.0.0.1', port, 1, patience_s=20.0)\n"
        "job = Job({'waits': True}, {}, {}, store / 'work/aa/out', store / 'work/aa/scratch', print)\n"
        "with nodes.gathered():\n"
        "    run_in_processes(Stage('s', 'chain_stages:summed', 1, {}, {}), job, 1, nodes)\n"
    )
    job = job_in(tmp_path)
    first = subprocess.Popen([sys.executable, "-c", script, str(tmp_path.resolve()), str(free_port())])
    other = joiner(tmp_path)
    _kill_when(first, job.scratch / "rank-1")
    first.wait(60)
    out, _ = other.communicate(timeout=120)
    assert other.returncode == EnvironmentProblem.exit_code, out
    assert "machine 0 of the run gives no sign of life" in out


def test_a_second_run_in_a_store_is_refused_and_leaves_the_first_alone(tmp_path):
    first = machines(tmp_path)
    second = Nodes(first.store, 2, "127.0.0.1", free_port(), 1, join_s=20.0)
    folder = tmp_path / "nodes"
    with beating(folder, 1, first.token), first.gathered():
        (folder / "failed-1-1").write_text("of the first")
        with pytest.raises(EnvironmentProblem, match="has another run") as refused, second.gathered():
            pass
        assert refused.value.remedy.endswith(f"rm {first.store / 'nodes' / 'lock'}")
        assert read_run(folder).token == first.token
        assert (folder / "failed-1-1").exists()
    assert read_run(folder) is None
    with beating(folder, 1, second.token), second.gathered():
        assert read_run(folder).token == second.token


def test_the_end_of_a_run_leaves_what_another_one_announced(tmp_path):
    first = machines(tmp_path)
    second = Nodes(first.store, 2, "127.0.0.1", free_port(), 1)
    with beating(tmp_path / "nodes", 1, first.token), first.gathered():
        second._announce(0, None)  # by a version without the lock, or where its file was removed
    assert read_run(tmp_path / "nodes").token == second.token


def test_a_machine_that_does_not_join_is_named(tmp_path):
    nodes = machines(tmp_path, join_s=0.1)
    with (
        pytest.raises(EnvironmentProblem, match="machine 1 of 2 has not joined") as refused,
        nodes.gathered(),
    ):
        pass
    assert f"--join {tmp_path.resolve()} --node 1" in refused.value.remedy
    assert "on a disk that all machines share" in refused.value.remedy


def test_a_store_without_a_living_run_is_not_joined(tmp_path):
    """What a killed run left, or a copy of its store, never changes its number."""
    nodes = machines(tmp_path)
    nodes._announce(0, None)
    (tmp_path / "nodes" / "beat-0").write_text(f"{nodes.token} 7")
    with pytest.raises(EnvironmentProblem, match="no run on several machines began"):
        joining.join(tmp_path, 1, wait_s=1.0)


def test_other_versions_numbers_and_paths_are_refused(tmp_path, monkeypatch):
    nodes = machines(tmp_path, join_s=1.0)
    nodes._announce(0, None)
    run = read_run(tmp_path / "nodes")
    with pytest.raises(RecipeError, match="--node 2: the run has 2 machines"):
        joining._check(run, tmp_path.resolve(), 2)
    with pytest.raises(EnvironmentProblem, match="the store is") as moved:
        joining._check(run, tmp_path / "elsewhere", 1)
    assert "the same path" in moved.value.remedy
    monkeypatch.setattr(joining, "versions", lambda: {"calkd-edge": "0.0.1", "torch": "1", "numpy": "1"})
    with pytest.raises(EnvironmentProblem, match="this one has calkd-edge 0.0.1"):
        joining._check(run, tmp_path.resolve(), 1)


def test_addresses_are_checked():
    assert check_nodes(2, "node0.example:29500") == ("node0.example", 29500)
    assert check_nodes(1, None)[1] == 29400
    for wrong in ("node0", "node0:", ":29500", "node0:port", "node0:70000"):
        with pytest.raises(RecipeError, match="not an address"):
            check_nodes(2, wrong)
    with pytest.raises(RecipeError, match="nodes 0"):
        check_nodes(0, None)
