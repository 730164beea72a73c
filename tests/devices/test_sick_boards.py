"""Boards behind a real sshd whose shells, accounts and Pythons are not as they should be."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import loopback_board
import pytest

from calkd_edge.devices import connection, ssh
from calkd_edge.devices.inventory import DeviceEntry, location_of
from calkd_edge.devices.owner import owner
from calkd_edge.devices.session import open_session
from calkd_edge.devices.shell import path_there
from calkd_edge.devices.ssh import Ssh
from calkd_edge.devices.targets import split_runtime
from calkd_edge.errors import DeviceError

PLACE = {"host": "board"}


@contextlib.contextmanager
def shell(board, script: str) -> Iterator[None]:
    """Every session of the board runs this; $ASKED is the command that ssh asked for."""
    path = board.folder / "shell"
    text = path.read_text()
    world = f"cd {board.home} && export HOME={board.home} PATH={board.folder}/bin:/usr/bin:/bin"
    path.write_text(f'#!/bin/sh\n{world}\nASKED="$SSH_ORIGINAL_COMMAND"\n{script}\n')
    try:
        yield
    finally:
        path.write_text(text)
        for own in board.home.iterdir():
            if own.name != ".cache":  # settings that a shell makes for itself
                shutil.rmtree(own)


@contextlib.contextmanager
def python(board, script: str) -> Iterator[None]:
    path = board.folder / "bin" / "python3"
    text = path.read_text()
    path.write_text(f"#!/bin/sh\n{script}\n")
    try:
        yield
    finally:
        path.write_text(text)


def refusal() -> DeviceError:
    """What a probe of the board says."""
    with pytest.raises(DeviceError) as refused, open_session("jetson", PLACE) as session:
        session.probe()
    return refused.value


def until(true) -> None:
    for _ in range(100):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen within ten seconds")


def nothing_left(board) -> bool:
    return not list(board.cache.glob("sessions/*"))


@pytest.mark.parametrize(
    ("script", "message", "fix"),
    [
        ("echo This account is currently not available.; exit 1", "may not log in", "chsh -s /bin/sh"),
        (
            "echo \"'sh' is not recognized as an internal or external command,\" >&2; exit 1",
            "shell of Windows",
            "Linux",
        ),
        (
            'case "$ASKED" in sh*) echo Der Befehl \\"sh\\" konnte nicht gefunden werden. >&2; exit 1;; '
            "*) echo 'Windows_NT $env:OS';; esac",
            "shell of Windows",
            "WSL",
        ),
        (
            "echo \"sh : The term 'sh' is not recognized as the name of a cmdlet\" >&2; exit 1",
            "shell of Windows",
            "Linux",
        ),
        (
            "echo 'WARNING: Your password has expired. Password change required.' >&2; exit 1",
            "password must be changed",
            "Log in once by hand: ssh board",
        ),
        ("exec cat", "does not run commands", "starts another shell or reads standard input"),
        ("exec /bin/true", "does not run commands: no output", "must print 42: ssh board"),
    ],
    ids=[
        "nologin",
        "cmd.exe",
        "German cmd.exe",
        "PowerShell",
        "expired password",
        "reads standard input",
        "execs another",
    ],
)
def test_answer_that_is_no_posix_shell_is_told_and_nothing_is_sent(board, script, message, fix):
    with shell(board, script):
        error = refusal()
    assert message in error.message
    assert fix in error.remedy
    assert error.exit_code == 5
    assert nothing_left(board)


@pytest.mark.parametrize("name", ["bash", "dash", "zsh", "fish", "tcsh", "busybox"])
def test_login_shell_of_any_kind_serves(board, name):
    """sshd hands the command to the login shell: `SHELL -c COMMAND`."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"there is no {name}: apt-get install {name}")
    words = f"{path} sh" if name == "busybox" else path
    with shell(board, f'exec {words} -c "$ASKED"'), open_session("jetson", PLACE) as session:
        assert session.probe().runtimes["onnxruntime"]
    assert nothing_left(board)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'sh: 1: python3: not found' >&2; exit 127", "there is no Python 'python3'"),
        (
            f"exec {sys.executable} -c 'import sys, runpy; sys.version_info = (3, 6, 9); "
            'runpy.run_path(sys.argv[1], run_name="__main__")\' "$@"',
            "Python 3.6 (python3) is too old",
        ),
        (
            f"exec {sys.executable} -c 'import sys, runpy; sys.version_info = (3, 7, 17); "
            'runpy.run_path(sys.argv[1], run_name="__main__")\' "$@"',
            "Python 3.7 (python3) is too old",
        ),
        ("echo 'sh: 1: python3: Befehl nicht gefunden' >&2; exit 127", "there is no Python 'python3'"),
        ("kill -9 $$", "the system killed the agent"),
        ("kill -ILL $$", "instructions that its processor lacks"),
    ],
    ids=["none", "3.6", "3.7", "none, in German", "killed", "SIGILL"],
)
def test_python_that_cannot_run_the_agent_is_named(board, script, message):
    with python(board, script):
        error = refusal()
    assert message in error.message
    assert error.exit_code == 5
    assert nothing_left(board)


def test_python_in_the_home_folder_may_be_written_as_people_do(board):
    (board.home / "venv").mkdir(exist_ok=True)
    shutil.copy(board.folder / "bin" / "python3", board.home / "venv" / "python")
    for written in ("~/venv/python", "$HOME/venv/python", "venv/python"):
        with open_session("jetson", {**PLACE, "python": written}) as session:
            assert session.probe().runtimes["onnxruntime"]
    shutil.rmtree(board.home / "venv")
    assert path_there("/usr/bin/python3") == "/usr/bin/python3"
    assert path_there("~/a b/python") == "\"$HOME\"/'a b/python'"


def test_changed_host_key_is_told_apart_from_an_unknown_one(board):
    hosts = board.folder / "known_hosts"
    text = hosts.read_text()
    another = board.folder / "another"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(another)], check=True)
    try:
        hosts.write_text(text.split()[0] + " " + another.with_suffix(".pub").read_text())
        changed = refusal()
        (forget,) = re.findall(r"ssh-keygen -R .*? -f \S+", changed.remedy)
        subprocess.run(shlex.split(forget), check=True, capture_output=True)
        unknown = refusal()
    finally:
        hosts.write_text(text)
        another.unlink()
    assert "has changed" in changed.message
    assert "do not connect" in changed.remedy
    assert "is not known here" in unknown.message


def test_settings_of_the_users_ssh_do_no_harm(board, monkeypatch):
    config = board.folder / "ssh_config"
    text = config.read_text()
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    config.write_text(f"{text} RemoteCommand tmux new -A\n RequestTTY yes\n")
    try:
        with open_session("jetson", PLACE) as session:
            assert session.probe().runtimes["onnxruntime"]
        loopback_board.disconnect()
        config.write_text(
            f"LogLevel QUIET\n{text} UserKnownHostsFile /dev/null\n".replace("known_hosts", "none")
        )
        assert "is not known here" in refusal().message
    finally:
        config.write_text(text)


SENDER = """
import pathlib, sys, time
from calkd_edge.devices.ssh import Ssh
device = Ssh("jetson", host="board")
device.put(pathlib.Path(sys.argv[1]), "images.npy")
device.close()
"""


def test_two_senders_of_the_same_file_do_not_meet(board, big):
    for path in board.cache.glob("files/*"):
        path.unlink()
    senders = [
        subprocess.Popen([sys.executable, "-c", SENDER, str(big)], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [(sender.communicate()[1], sender.returncode) for sender in senders] == [("", 0)] * 3
    assert [path.stat().st_size for path in board.cache.glob("files/*")] == [big.stat().st_size]
    assert nothing_left(board)


def test_cache_is_not_removed_beside_a_running_session(board):
    measuring, other = (Ssh(name, host=board.host) for name in ("measuring", "other"))
    measuring.run(["true"], timeout_s=60, on_line=lambda line: None)
    until(lambda: list(board.cache.glob("sessions/*/guard")))
    with pytest.raises(DeviceError, match=f"a session of {owner()} runs there"):
        other.clean()
    measuring.close()
    assert other.clean()
    assert not board.cache.exists()


def test_folder_of_a_session_that_runs_is_not_old_whatever_the_clock_says(board):
    """A board without a battery for its clock starts in 1970, and is put right in the middle of a session."""
    running, other = (Ssh(name, host=board.host) for name in ("running", "other"))
    running.run(["true"], timeout_s=60, on_line=lambda line: None)
    until(lambda: list(board.cache.glob("sessions/*/guard")))
    (folder,) = board.cache.glob("sessions/*")
    os.utime(folder, (0, 0))
    other.run(["true"], timeout_s=60, on_line=lambda line: None)
    other.close()
    assert folder.exists()
    running.close()
    assert nothing_left(board)


SLEEPER = """
import sys
from calkd_edge.devices import shell
from calkd_edge.devices.ssh import Ssh
shell.ENDED_S = 1
Ssh("jetson", host="board").run(["sh", "-c", "echo $$ > {mark}; sleep 60"], timeout_s=90, on_line=print)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_end_of_the_client_ends_the_command_there(board, tmp_path, number):
    mark = tmp_path / "mark"
    client = subprocess.Popen([sys.executable, "-c", SLEEPER.format(mark=mark)])
    while not (mark.exists() and mark.read_text().strip()):
        assert client.poll() is None
        time.sleep(0.05)
    running = int(mark.read_text())
    client.send_signal(number)
    client.wait()
    until(lambda: b"sleep" not in _command_line(running))
    until(lambda: nothing_left(board))


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("text", "place", "runtime"),
    [
        ("user@::1", {"host": "user@::1"}, ""),
        ("user@fe80::abcd", {"host": "user@fe80::abcd"}, ""),
        ("user@[::1]:2222", {"host": "user@::1", "port": 2222}, ""),
        ("ssh://user@[fe80::1]", {"host": "user@fe80::1"}, ""),
        ("ssh://user@[fe80::1%25eth0]", {"host": "user@fe80::1%eth0"}, ""),
        ("user@fe80::1%eth0", {"host": "user@fe80::1%eth0"}, ""),
        ("user@[fe80::1%eth0]:22:litert", {"host": "user@fe80::1%eth0", "port": 22}, "litert"),
        ("user@10.0.0.5:22:onnxruntime", {"host": "user@10.0.0.5", "port": 22}, "onnxruntime"),
    ],
)
def test_addresses_of_every_form_are_understood(text, place, runtime):
    name, named = split_runtime(text)
    assert (location_of(name), named) == (place, runtime)


def test_port_in_a_host_line_is_pointed_out():
    with pytest.raises(ValueError, match=r"host: 10\.0\.0\.5 and port: 2222"):
        DeviceEntry(host="10.0.0.5:2222")


def test_key_with_a_passphrase_that_no_agent_holds_is_told(board, monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    key = board.folder / "user_key"
    plain = key.read_bytes()
    try:
        subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(key)], check=True)
        error = refusal()
    finally:
        key.write_bytes(plain)
    assert "accepts none of your keys" in error.message
    assert "passphrase" in error.remedy
    assert "ssh-add" in error.remedy
    assert error.exit_code == 5


def test_server_that_shows_a_banner_serves(tmp_path, monkeypatch):
    """Its text comes before each command's output, on standard error."""
    (tmp_path / "banner").write_text("Authorised use only.\n" * 20)
    for name, listen in (("banner", "127.0.0.1"), ("six", "::1")):
        folder = tmp_path / f"board-{name}"
        folder.mkdir()
        try:
            sick = loopback_board.start(folder, listen=listen, more=f"Banner {tmp_path}/banner\n")
        except RuntimeError as refused:
            if listen == "::1":
                pytest.skip(f"this machine has no IPv6: {refused}")
            raise
        with monkeypatch.context() as patch:
            patch.setenv("PATH", f"{sick.client}:{os.environ['PATH']}")
            try:
                with open_session("jetson", PLACE) as session:
                    assert session.probe().runtimes["onnxruntime"]
                with (
                    pytest.raises(DeviceError, match="there is no Python '/nowhere/python'"),
                    open_session("jetson", {**PLACE, "python": "/nowhere/python"}) as session,
                ):
                    session.probe()
                assert nothing_left(sick)
            finally:
                loopback_board.disconnect()
                sick.stop()


def test_slow_connection_says_what_is_going_on(board, caplog, monkeypatch):
    monkeypatch.setattr(connection, "SLOW_S", 0.01)
    monkeypatch.setattr(ssh, "SLOW_S", 0.01)
    with open_session("jetson", PLACE):
        pass
    assert "jetson: connecting to board takes long" in caplog.text
    assert "jetson: the connection is slow" in caplog.text


def test_full_disk_is_recognised_in_any_language(board, big):
    """The board speaks as the session's environment asks it to."""
    for path in board.cache.glob("files/*"):
        path.unlink()
    cat = board.folder / "bin" / "cat"
    cat.write_text(
        '#!/bin/sh\ncase "$(readlink /proc/$$/fd/1)" in *.part) ;; *) exec /bin/cat "$@";; esac\n'
        'case "$LC_ALL" in C) echo No space left on device;; *) echo Kein Platz mehr;; esac >&2\nexit 1\n'
    )
    cat.chmod(0o755)
    try:
        device = Ssh("jetson", host=board.host)
        with pytest.raises(DeviceError, match="disk is full"):
            device.put(big, "images.npy")
        device.close()
    finally:
        cat.unlink()
