"""A board that cannot be trusted blindly: its cache may have lost what it held, its shell may talk."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import numpy as np
import pytest
from loopback_board import disconnect

from calkd_edge.devices.connection import Connection
from calkd_edge.devices.session import open_session
from calkd_edge.devices.ssh import Ssh
from calkd_edge.errors import DeviceError

PLACE = {"host": "board"}


def name_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def unheard(line):
    pass


@pytest.mark.parametrize("harm", ["empty", "zeroes", "short"])
def test_a_cached_file_that_lost_its_content_is_sent_again(board, big, tmp_path, harm):
    whole = big.read_bytes()
    path = board.cache / "files" / name_of(big)
    for _ in range(2):
        ssh_device = Ssh("jetson", host=board.host)
        ssh_device.put(big, "images.npy")
        ssh_device.get("images.npy", tmp_path / "back.npy")
        ssh_device.close()
        assert (tmp_path / "back.npy").read_bytes() == path.read_bytes() == whole
        path.write_bytes({"empty": b"", "zeroes": bytes(len(whole)), "short": whole[:-1]}[harm])
        disconnect()


def test_a_board_that_lost_its_power_answers_right_in_the_next_run(board, tmp_path, exported):
    net = exported("resnet8")
    np.save(tmp_path / "images.npy", net.images)
    for _ in range(2):
        with open_session("jetson", PLACE) as session:
            outputs, _ = session.predict(
                net.path, tmp_path / "images.npy", runtime="onnxruntime", options={"threads": 1}
            )
        np.testing.assert_allclose(outputs["logits"], net.reference, atol=1e-4)
        cached = list(board.cache.glob("files/*"))
        assert len(cached) >= 3, "agent, model and images"
        for path in cached:
            path.write_bytes(bytes(path.stat().st_size))
        disconnect()


def test_a_run_looks_at_a_files_content_once(board, ssh_device, big, monkeypatch):
    scripts, real = [], Connection.run

    def run(self, script, **settings):
        scripts.append(script)
        return real(self, script, **settings)

    ssh_device.put(big, "images.npy")
    monkeypatch.setattr(Connection, "run", run)
    ssh_device.put(big, "again.npy")
    disconnect()
    for _ in range(2):
        other = Ssh("jetson", host=board.host)
        other.put(big, "images.npy")
        other.put(big, "again.npy")
        other.close()
    linked = [script for script in scripts if "ln -f" in script]
    assert ["sha256sum" in script for script in linked] == [False, True, False, False, False]
    assert not any("cat >>" in script for script in scripts)


def test_a_file_is_on_the_disk_before_it_has_its_name(board, ssh_device, big):
    """Of the board's own sync and mv, each wrapped in one that writes down what it was asked."""
    path, noted = board.cache / "files" / name_of(big), board.folder / "noted"
    for name in ("sync", "mv"):
        wrapper = board.folder / "bin" / name
        wrapper.write_text(f'#!/bin/sh\necho {name} "$@" >> {noted}\nexec /bin/{name} "$@"\n')
        wrapper.chmod(0o755)
    try:
        path.unlink(missing_ok=True)
        ssh_device.put(big, "images.npy")
    finally:
        for name in ("sync", "mv"):
            (board.folder / "bin" / name).unlink()
    part = f"{path}.{ssh_device._session}.part"
    assert noted.read_text().splitlines() == [f"sync {part}", f"mv -f {part} {path}"]
    noted.unlink()


@contextlib.contextmanager
def greeting(board, before, after=":"):
    """Each session of the board runs this, as a ~/.bashrc does that does not ask whether somebody types."""
    shell = board.folder / "shell"
    text = shell.read_text()
    shell.write_text(text.replace("exec env", f"{before}; env") + f"status=$?; {after}; exit $status\n")
    try:
        yield
    finally:
        shell.write_text(text)


@pytest.mark.parametrize(
    "words",
    [
        "echo Welcome to the board, load 3 of 4; echo; date",
        "printf 'Tasks: 17'",
        r"printf '\033]0;board\007'",
        "seq 100000",
        "echo oops >&2",
    ],
)
def test_a_shell_that_greets_does_no_harm(board, big, tmp_path, words):
    path = board.cache / "files" / name_of(big)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{path}.of-an-earlier-session.part").write_bytes(big.read_bytes()[:5000])
    (tmp_path / "empty").touch()
    with greeting(board, words):
        ssh_device = Ssh("jetson", host=board.host)
        ssh_device.put(big, "images.npy")
        ssh_device.put(tmp_path / "empty", "empty")
        for name, source in (("images.npy", big), ("empty", tmp_path / "empty")):
            ssh_device.get(name, tmp_path / "back")
            assert (tmp_path / "back").read_bytes() == source.read_bytes()
        assert ssh_device.run(["sh", "-c", "exit 3"], timeout_s=60, on_line=unheard) == 3
        with open_session("jetson", PLACE) as session:
            assert session.probe().runtimes["onnxruntime"]
        ssh_device.close()
    assert path.read_bytes() == big.read_bytes()
    assert list(board.cache.glob("sessions/*")) == []


def test_shell_that_prints_a_farewell_is_refused_with_a_remedy(board, big):
    (board.cache / "files" / name_of(big)).unlink(missing_ok=True)
    with greeting(board, ":", "echo Goodbye"):
        ssh_device = Ssh("jetson", host=board.host)
        with pytest.raises(
            DeviceError, match="the output of its shell is not understood: .*Goodbye"
        ) as problem:
            ssh_device.put(big, "images.npy")
        ssh_device.close()
    assert "~/.bashrc" in problem.value.remedy
