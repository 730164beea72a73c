"""A board over a real sshd: what is sent arrives once, what breaks says so, and nothing is left behind."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from loopback_board import children

from calkd_edge.devices import shell
from calkd_edge.devices import ssh as ssh_module
from calkd_edge.devices.address import Address
from calkd_edge.devices.connection import Connection
from calkd_edge.devices.session import open_session
from calkd_edge.devices.ssh import Ssh
from calkd_edge.errors import DeviceError

PLACE = {"host": "board"}


def name_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def unheard(line):
    pass


def test_what_was_put_is_there_and_what_is_there_can_be_fetched(ssh_device, big, tmp_path):
    small = tmp_path / "job.json"
    small.write_text("{}")
    ssh_device.put(big, "a picture's.npy")
    ssh_device.put(small, "job.json")
    lines = []
    status = ssh_device.run(
        ["python3", "-c", "import os; print(sorted(os.listdir('.'))); open('out', 'wb').write(b'\\0\\n1')"],
        timeout_s=60,
        on_line=lines.append,
    )
    assert status == 0
    assert set(ast.literal_eval(lines[0])) - {"pid", "guard", "owner"} == {"a picture's.npy", "job.json"}
    assert len(lines) == 1
    ssh_device.get("out", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b"\0\n1"
    ssh_device.get("a picture's.npy", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == big.read_bytes()


def test_a_file_is_sent_once_for_all_sessions(board, big):
    path = board.cache / "files" / name_of(big)
    inodes = []
    for _ in range(2):
        ssh_device = Ssh("jetson", host=board.host)
        ssh_device.put(big, "images.npy")
        inodes.append(path.stat().st_ino)
        ssh_device.close()
    assert inodes[0] == inodes[1]
    assert list(board.cache.glob("sessions/*")) == []


def test_a_session_whose_host_died_before_its_guard_came_leaves_no_folder(board, monkeypatch):
    monkeypatch.setattr(shell, "ENDED_S", 1)
    guarded, alone = Ssh("jetson", host=board.host), Ssh("jetson", host=board.host)
    guarded._start()
    monkeypatch.setattr(alone._connection, "hold", lambda script: None)
    alone._start()
    folders = {path.name for path in board.cache.glob("sessions/*")}
    assert folders == {guarded._session, alone._session}
    end = time.monotonic() + 20
    while (board.cache / "sessions" / alone._session).exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert [path.name for path in board.cache.glob("sessions/*")] == [guarded._session]
    guarded.close()


def test_a_guard_that_comes_after_its_session_makes_no_folder(tmp_path):
    script = shell.guard(str(tmp_path / "over"), "someone")
    done = subprocess.run(["sh", "-c", script], stdin=subprocess.DEVNULL, timeout=10, check=False)
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell_there", ["dash", "bash"])
def test_job_is_stopped_and_no_program_that_has_its_number_by_now(tmp_path, shell_there):
    ends = {}
    for folder in (tmp_path / "session", tmp_path / "elsewhere"):
        folder.mkdir()
        process = subprocess.Popen(["sleep", "60"], cwd=folder)
        (tmp_path / "session/pid").write_text(f"{process.pid}\n")
        stop = [shell_there, "-c", f"{shell.STOP_JOB}; true"]
        assert subprocess.run(stop, cwd=tmp_path / "session", check=True, capture_output=True).stderr == b""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        ends[folder.name] = process.poll()
        process.kill()
        process.wait()
    assert ends == {"session": -signal.SIGTERM, "elsewhere": None}


def test_small_files_leave_nothing_in_the_cache(board, ssh_device, tmp_path):
    before = set(board.cache.glob("files/*"))
    (tmp_path / "job.json").write_text("{}")
    ssh_device.put(tmp_path / "job.json", "job.json")
    assert set(board.cache.glob("files/*")) == before


@pytest.mark.parametrize("there", [b"first half", b"garbage", b"all", b"more"])
def test_a_transfer_that_was_cut_goes_on(board, ssh_device, big, there, tmp_path):
    whole = big.read_bytes()
    kept = {
        b"first half": whole[: len(whole) // 2],
        b"garbage": b"x" * 100,
        b"all": whole,
        b"more": whole + b"x",
    }[there]
    path = board.cache / "files" / name_of(big)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    Path(f"{path}.of-an-earlier-session.part").write_bytes(kept)
    ssh_device.put(big, "images.npy")
    assert path.read_bytes() == whole
    assert not list(path.parent.glob("*.p*"))


def test_a_full_disk_says_what_to_do_and_leaves_no_stump(board, ssh_device, big):
    path = board.cache / "files" / name_of(big)
    ssh_device.put(big, "warm.npy")
    path.unlink()
    Path(f"{path}.{ssh_device._session}.part").symlink_to("/dev/full")
    with pytest.raises(DeviceError, match="disk is full") as problem:
        ssh_device.put(big, "images.npy")
    assert "doctor --device jetson --clean" in problem.value.remedy
    assert not list(path.parent.glob("*.p*"))
    ssh_device.put(big, "images.npy")


def test_a_missing_result_tells_what_was_printed(ssh_device, tmp_path):
    ssh_device.run(["sh", "-c", "echo something went wrong"], timeout_s=60, on_line=unheard)
    with pytest.raises(DeviceError, match=r"left no reply.json: something went wrong"):
        ssh_device.get("reply.json", tmp_path / "reply.json")
    assert list(tmp_path.iterdir()) == []
    ssh_device.run(
        ["sh", "-c", "echo cat: write error: No space left on device"], timeout_s=60, on_line=unheard
    )
    with pytest.raises(DeviceError) as problem:
        ssh_device.get("reply.json", tmp_path / "reply.json")
    assert "Free space" in problem.value.remedy


def test_status_and_signals_of_a_command_come_back(ssh_device):
    assert ssh_device.run(["sh", "-c", "exit 3"], timeout_s=60, on_line=unheard) == 3
    assert ssh_device.run(["sh", "-c", "kill -KILL $$"], timeout_s=60, on_line=unheard) == 137


def runs(board, word):
    """Whether a process with this word among its arguments runs."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes().split(b"\0"):
                return True
        except OSError:
            continue
    return False


def settles(condition):
    """Whether it comes true within five seconds."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_command_that_takes_too_long_is_ended_there(board, ssh_device):
    mark = f"mark-{os.getpid()}-late"
    begun = time.monotonic()
    with pytest.raises(DeviceError, match="not done after 1 s"):
        ssh_device.run(["python3", "-c", "import time; time.sleep(600)", mark], timeout_s=1, on_line=unheard)
    assert time.monotonic() - begun < 60
    assert settles(lambda: not runs(board, mark))


def test_broken_connection_is_reported_and_the_next_works(board, ssh_device, big, tmp_path):
    ssh_device.put(big, "images.npy")
    threading.Timer(1.0, board.cut).start()
    with pytest.raises(DeviceError, match="connection to board broke") as problem:
        ssh_device.run(["python3", "-c", "import time; time.sleep(60)"], timeout_s=60, on_line=unheard)
    assert "run again" in problem.value.remedy
    assert ssh_device.run(["python3", "-c", "open('images.npy')"], timeout_s=60, on_line=unheard) == 0


def test_file_that_is_larger_than_expected_is_not_fetched(board, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    device = Ssh("jetson", host=board.host)
    try:
        device.put(path, "file")
        device.most_bytes = 99
        with pytest.raises(DeviceError, match="jetson: file has more than 99 bytes"):
            device.get("file", tmp_path / "back")
        device.most_bytes = 100
        device.get("file", tmp_path / "back")
    finally:
        device.close()
    assert (tmp_path / "back").read_bytes() == path.read_bytes()


def test_a_transfer_that_breaks_leaves_nothing_half_here_and_resumes(board, tmp_path):
    path = tmp_path / "large.npy"
    path.write_bytes(os.urandom(128 << 20))
    ssh_device = Ssh("jetson", host=board.host)
    ssh_device.put(path, "large.npy")
    fetched = tmp_path / "there" / "large.npy"
    fetched.parent.mkdir()
    stop = threading.Event()
    sessions = children(board.server.pid)  # looked up beforehand: the file is soon there

    def cut_when_it_grows():
        while not stop.is_set() and not any(part.stat().st_size for part in fetched.parent.glob(".large*")):
            time.sleep(0.001)
        for process in sessions:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        board.cut()

    watcher = threading.Thread(target=cut_when_it_grows)
    watcher.start()
    try:
        with pytest.raises(DeviceError, match="broke"):
            ssh_device.get("large.npy", fetched)
    finally:
        stop.set()
        watcher.join()
    assert list(fetched.parent.iterdir()) == []
    ssh_device.get("large.npy", fetched)
    assert fetched.read_bytes() == path.read_bytes()
    ssh_device.close()


def test_close_removes_the_session_and_clean_everything(board, big):
    ssh_device = Ssh("jetson", host=board.host)
    ssh_device.put(big, "images.npy")
    assert list(board.cache.glob("sessions/*"))
    ssh_device.close()
    assert list(board.cache.glob("sessions/*")) == []
    assert list(board.cache.glob("files/*"))
    ssh_device.clean()
    assert not board.cache.exists()


def test_what_is_old_is_taken_away(board, big):
    old_file, old_work = board.cache / "files" / ("0" * 64), board.cache / "sessions" / "0123"
    old_work.mkdir(parents=True)
    old_file.parent.mkdir(parents=True, exist_ok=True)
    old_file.write_text("x")
    (old_work / "images.npy").write_text("x")
    for path, days in ((old_file, 32), (old_work, 2)):
        os.utime(path, (time.time() - days * 86400,) * 2)
    ssh_device = Ssh("jetson", host=board.host)
    ssh_device.put(big, "images.npy")
    assert not old_file.exists()
    assert not old_work.exists()
    assert (board.cache / "files" / name_of(big)).exists()
    ssh_device.close()


def test_an_unknown_host_key_is_refused(board):
    hosts = board.folder / "known_hosts"
    known = hosts.read_text()
    hosts.write_text("")
    try:
        with pytest.raises(DeviceError, match="host key of board is not known") as problem:
            Connection("jetson", Address(board.host)).run("true")
    finally:
        hosts.write_text(known)
    assert "ssh board" in problem.value.remedy


def test_refused_key_is_reported(board):
    accepted = board.folder / "accepted_keys"
    text = accepted.read_text()
    accepted.write_text("")
    try:
        with pytest.raises(DeviceError, match="accepts none of your keys") as problem:
            Connection("jetson", Address(board.host)).run("true")
    finally:
        accepted.write_text(text)
    assert "ssh-copy-id board" in problem.value.remedy


def test_board_that_is_off_is_reported(board):
    with pytest.raises(DeviceError, match="127.0.0.1:1 cannot be reached") as problem:
        Connection("jetson", Address("127.0.0.1", 1)).run("true")
    assert "ssh -p 1 127.0.0.1 true" in problem.value.remedy


@pytest.mark.parametrize("host", ["-oProxyCommand=touch /tmp/x", "", " "])
def test_a_host_that_is_an_option_is_refused(board, host):
    with pytest.raises(DeviceError, match="is no host"):
        Connection("jetson", Address(host))


def test_an_interrupted_run_ends_what_runs_there(board, ssh_device):
    mark = f"mark-{os.getpid()}-interrupted"

    def interrupt(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ssh_device.run(
            ["python3", "-uc", "import time; print('x'); time.sleep(600)", mark],
            timeout_s=60,
            on_line=interrupt,
        )
    assert settles(lambda: not runs(board, mark))


def test_sessions_share_a_connection(board):
    with open_session("jetson", PLACE) as first, open_session("jetson", PLACE) as second:
        first.probe()
        second.probe()
        assert len(children(board.server.pid)) == 1
    assert ssh_module.connection_to("jetson", Address(board.host)) is ssh_module.connection_to(
        "again", Address(board.host)
    )
