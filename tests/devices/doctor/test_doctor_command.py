"""calkd-edge doctor on this machine, on an emulated one, and on devices that fail."""

from __future__ import annotations

import getpass
import json
import os
import platform
import sys

import numpy as np
import onnxruntime
import pytest
from loopback_board import disconnect
from tiny_run import command

from calkd_edge.devices.doctor import examine
from calkd_edge.devices.local import Local
from calkd_edge.devices.session import Session
from calkd_edge.errors import DeviceError
from calkd_edge.records import DoctorReport


def test_doctor_shows_this_machine():
    done = command("doctor")
    assert done.code == 0, done.err
    assert f"{sys.executable} {platform.python_version()}: runs the agent" in done.out
    assert f"onnxruntime {onnxruntime.__version__}" in done.out
    assert f"numpy {np.__version__}" in done.out
    assert platform.release() in done.out


def test_json_is_the_record_and_tells_of_this_machine():
    done = command("doctor", "--json")
    assert done.code == 0, done.err
    report = DoctorReport.model_validate_json(done.out)
    facts = report.facts
    assert report.device == "local"
    assert facts.machine == platform.machine()
    assert facts.cores == os.cpu_count()
    assert facts.python.path == sys.executable
    assert facts.python.packages["onnxruntime"] == onnxruntime.__version__
    assert 2**28 < facts.memory.available_bytes < facts.memory.total_bytes
    assert facts.disk.free_bytes > 2**20
    assert all(item.runs for item in report.runnable if item.runtime == "onnxruntime")
    assert report == examine("local", facts)


def test_unknown_device_is_a_usage_error():
    done = command("doctor", "--device", "moon")
    assert done.code == 2
    assert "no device is named 'moon'" in done.err


@pytest.mark.parametrize("device", ["local:onnxruntime", "local:tensorrt"])
def test_a_runtime_behind_the_name_is_taken_as_everywhere(device):
    done = command("doctor", "--device", device, "--json")
    assert done.code == 0, done.err
    assert DoctorReport.model_validate_json(done.out).device == "local"
    done = command("doctor", "--device", device, "--clean")
    assert done.code == 0, done.err
    assert "local: nothing is kept on this machine" in done.out + done.err
    done = command("doctor", "--device", device, "--clean", "--json")
    assert json.loads(done.out) == {"device": "local", "removed": False}


def test_a_runtime_that_is_none_is_a_usage_error():
    done = command("doctor", "--device", "user@10.0.0.5:2222:onyxruntime")
    assert done.code == 2
    assert "no runtime is named 'onyxruntime'" in done.err
    assert "Did you mean 'onnxruntime'?" in done.err


def test_profile_without_a_board_exits_5(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    done = command("doctor", "--device", "jetson:tensorrt")
    assert done.code == 5
    assert "the inventory has no entry 'jetson'" in " ".join(done.err.split())


def test_a_board_with_a_port_and_a_runtime_is_reached_at_the_port(board):
    config = board.folder / "ssh_config"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace(f" Port {board.port}\n", ""), encoding="utf-8")
    try:
        user = getpass.getuser()
        done = command("doctor", "--device", f"{user}@{board.host}:{board.port}:onnxruntime", "--json")
    finally:
        config.write_text(text, encoding="utf-8")
        disconnect()
    assert done.code == 0, done.err
    assert DoctorReport.model_validate_json(done.out).device == f"{user}@{board.host}:{board.port}"


class Unreachable(Local):
    """A board that lost its power."""

    def run(self, argv, *, timeout_s, on_line):
        raise DeviceError(f"{self.name} does not answer", remedy="Look at its power and its network.")


def test_device_that_does_not_answer_exits_5(device):
    device("dark", Unreachable)
    done = command("doctor", "--device", "dark")
    assert done.code == 5
    assert "dark does not answer" in done.err
    assert "Look at its power" in done.err


def bare(folder) -> type[Local]:
    """The local device with a Python that has no package, as a fresh board's."""
    import venv

    venv.create(folder, with_pip=False)

    class Bare(Local):
        def __init__(self, name):
            super().__init__(name, python=str(folder / "bin" / "python"))

    return Bare


@pytest.mark.parametrize("as_json", [False, True])
def test_device_that_can_run_nothing_exits_6_and_says_what_to_install(device, tmp_path, as_json):
    made = bare(tmp_path / "bare")
    device("fresh", made)
    done = command("doctor", "--device", "fresh", *["--json"] * as_json)
    assert done.code == 6
    python = tmp_path / "bare" / "bin" / "python"
    assert "has no numpy" in done.err
    assert f"{python} -m ensurepip && {python} -m pip install numpy" in done.err
    if as_json:
        assert not DoctorReport.model_validate_json(done.out).usable
    else:
        assert "onnxruntime" in done.out


def test_reply_that_is_not_understood_is_a_device_error(device):
    class Strange(Local):
        def run(self, argv, *, timeout_s, on_line):
            reply = json.dumps({"protocol": 1, "board": "x"})
            code = f"import sys; open(sys.argv[3], 'w').write('{reply}')"
            return super().run([self.python, "-c", code, *argv[2:]], timeout_s=timeout_s, on_line=on_line)

    device("strange", Strange)
    done = command("doctor", "--device", "strange")
    assert done.code == 5
    assert "is not understood" in done.err


def test_emulated_machine_is_marked(arm64):
    machine = Local("emulated", python=str(arm64))
    with Session(machine) as session:
        report = examine("emulated", session.doctor())
    assert report.facts.machine == "aarch64"
    assert report.facts.emulated
    assert "Intel" not in report.facts.cpu
    assert "AMD" not in report.facts.cpu
    assert not [item for item in report.runnable if "slow" in item.why]
    assert [item for item in report.symptoms if item.what.startswith("this machine is emulated")]
    assert report.facts.python.has("onnxruntime")
    assert all(item.runs for item in report.runnable if item.runtime == "onnxruntime")
