"""doctor() from Python: the record of the command, its errors, and nothing of the training framework."""

from __future__ import annotations

import doctest
import subprocess
import sys

import pytest

from calkd_edge.devices.doctor import diagnosis, doctor
from calkd_edge.devices.doctor.diagnosis import check_usable
from calkd_edge.devices.local import Local
from calkd_edge.errors import DeviceError, EnvironmentProblem, RecipeError
from calkd_edge.records import DoctorReport


def test_it_returns_the_record_of_the_command():
    report = doctor("local:openvino")
    assert report.device == "local"
    assert DoctorReport.model_validate_json(report.model_dump_json()) == report
    check_usable(report)


def test_example_of_its_docstring_runs():
    assert doctest.testmod(diagnosis).attempted > 0
    assert doctest.testmod(diagnosis).failed == 0


@pytest.mark.parametrize(
    ("device", "error", "message"),
    [
        ("locla", RecipeError, "no device is named 'locla'"),
        ("ssh", RecipeError, "'ssh' is a kind of device, and no device"),
        ("user@", RecipeError, "'user@' is no address of a board"),
        ("", RecipeError, "the name of the device is empty"),
        ("local:openvno", RecipeError, "no runtime is named 'openvno'"),
        ("jetson", DeviceError, "this machine is not a Jetson"),
    ],
)
def test_unknown_names_raise_what_the_command_prints(device, error, message, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(error, match=message) as refused:
        doctor(device)
    assert f"  {device}:\n" not in refused.value.remedy or device in ("locla", "jetson")
    assert "Known: local, ssh" not in refused.value.remedy


def test_device_that_can_run_nothing_is_reported_and_refused_on_request(device, tmp_path):
    import venv

    venv.create(tmp_path / "bare", with_pip=False)
    device("fresh", lambda name: Local(name, python=str(tmp_path / "bare" / "bin" / "python")))
    report = doctor("fresh")
    assert not report.usable
    with pytest.raises(EnvironmentProblem, match="fresh: nothing there can run a model: .* has no numpy"):
        check_usable(report)


def test_it_imports_no_training_framework():
    code = (
        "import sys; from calkd_edge.devices.doctor import doctor; doctor();"
        "print(sorted({'torch', 'torchvision', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
