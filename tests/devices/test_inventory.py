"""From names to devices: whose word counts, and what each wrong name or entry is told."""

from __future__ import annotations

import platform

import pytest

from calkd_edge.devices import inventory
from calkd_edge.devices.inventory import PROFILES, device_at, inventory_path, location_of, runtime_of
from calkd_edge.devices.local import Local
from calkd_edge.devices.ssh import Ssh
from calkd_edge.devices.targets import split_runtime
from calkd_edge.errors import DeviceError, RecipeError
from calkd_edge.pipeline.listing import list_names


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def written(text):
    inventory_path().parent.mkdir(parents=True, exist_ok=True)
    inventory_path().write_text(text, encoding="utf-8")


def test_the_inventory_says_where_a_board_is():
    written("board:\n  host: user@10.0.0.5\n  port: 2222\n  python: /opt/python3\n")
    assert location_of("board") == {"host": "user@10.0.0.5", "port": 2222, "python": "/opt/python3"}
    device = device_at("board", location_of("board"))
    assert isinstance(device, Ssh)
    assert (device.name, device.python) == ("board", "/opt/python3")


def test_the_inventory_stands_above_a_profile():
    written("jetson:\n  host: user@inventory\n")
    assert location_of("jetson") == {"host": "user@inventory", "python": "/usr/bin/python3"}


def test_an_inventory_that_changes_is_read_anew():
    written("board: {host: a@b}\n")
    assert location_of("board")["host"] == "a@b"
    written("board: {host: c@d, port: 1}\n")
    assert location_of("board") == {"host": "c@d", "port": 1}


@pytest.mark.parametrize(
    ("name", "location"),
    [
        ("user@10.0.0.5", {"host": "user@10.0.0.5"}),
        ("user@board.local:2222", {"host": "user@board.local", "port": 2222}),
        ("ssh://user@board:22", {"host": "user@board", "port": 22}),
        ("ssh://user@board/", {"host": "user@board"}),
    ],
)
def test_user_at_host_needs_no_inventory(name, location):
    assert location_of(name) == location


def test_local_is_this_machine_and_may_have_another_python():
    assert location_of("local") == {}
    device = device_at("local", {"python": "/usr/bin/python3"})
    assert isinstance(device, Local)
    assert device.python == "/usr/bin/python3"
    device.close()


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_profile_is_this_machine_where_it_matches(name, monkeypatch):
    profile = PROFILES[name]
    monkeypatch.setattr(platform, "machine", lambda: profile.machines[0])
    monkeypatch.setattr(inventory.board, "l4t", lambda location: "36.4.3")
    assert location_of(name, runtimes=["onnxruntime"]) == {}, "the Python that runs us has it"
    assert isinstance(device_at(name, {}), Local)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(DeviceError) as problem:
        location_of(name)
    assert problem.value.exit_code == 5
    lines = problem.value.remedy.splitlines()
    assert str(inventory_path()) in lines[0]
    assert lines[1:] == [f"  {name}:", "    host: USER@ADDRESS", f"    python: {profile.python}"]


def test_on_a_jetson_tensorrt_is_sought_where_jetpack_puts_it(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(inventory.board, "l4t", lambda location: "36.4.3")
    monkeypatch.setattr(inventory.packages, "runtimes", lambda: {"onnxruntime": "1.23.0"})
    monkeypatch.setattr(inventory.shutil, "which", lambda name: name)
    assert location_of("jetson") == {"python": "/usr/bin/python3"}
    assert location_of("jetson", runtimes=["tensorrt", "onnxruntime"]) == {"python": "/usr/bin/python3"}
    assert location_of("jetson", runtimes=["onnxruntime"]) == {}
    monkeypatch.setattr(inventory.packages, "runtimes", lambda: {"tensorrt": "10.3.0"})
    assert location_of("jetson") == {}


@pytest.mark.parametrize("entry", ["{port: 22}", "{runtime: onnxruntime, python: /usr/bin/python3}"])
def test_a_board_without_an_address_is_never_this_machine_in_silence(entry):
    written(f"jetson: {entry}\n")
    with pytest.raises(DeviceError, match="not a Jetson"):
        location_of("jetson")


def test_entry_with_only_a_python_is_this_machine():
    written("second: {python: /opt/py}\nthird: {port: 2222}\nlocal: {python: /opt/py}\n")
    assert location_of("second") == location_of("local") == {"python": "/opt/py"}
    with pytest.raises(RecipeError, match="port 2222 needs a host"):
        location_of("third")


def test_an_arm_machine_is_no_jetson(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(inventory.board, "l4t", lambda location: None)
    assert location_of("arm64") == {}
    with pytest.raises(DeviceError, match="not a Jetson"):
        location_of("jetson")


def test_the_lines_of_the_remedy_are_an_inventory():
    with pytest.raises((DeviceError, RecipeError)) as problem:
        location_of("jetson")
    written("\n".join(problem.value.remedy.splitlines()[1:]))
    assert location_of("jetson") == {"host": "USER@ADDRESS", "python": "/usr/bin/python3"}


def test_unknown_name_is_refused_with_a_suggestion():
    written("orin-lab: {host: a@b}\n")
    with pytest.raises(RecipeError, match="no device is named 'orin-lub'") as problem:
        location_of("orin-lub")
    assert "Did you mean 'orin-lab'?" in problem.value.remedy
    assert "local" in problem.value.remedy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("board: {hosts: a@b}\n", "unknown key 'hosts'"),
        ("board: {host: a@b, port: 0}\n", "port"),
        ("board: {host: a@b, port: 70000}\n", "port"),
        ("board: {host: a@b, port: '22'}\n", "port"),
        ("board: {host: ''}\n", "host"),
        ("board: {host: a@b, runtime: onnxruntme}\n", "Did you mean 'onnxruntime'?"),
        ("- board\n", "not a list of devices by name"),
        ("1: {host: a@b}\n", "not a list of devices by name"),
        ("board: [\n", "cannot be read"),
        ("board: just text\n", "board"),
    ],
)
def test_wrong_inventory_is_refused_with_its_path(text, message):
    written(text)
    with pytest.raises(RecipeError) as problem:
        location_of("board")
    assert message in problem.value.message
    assert str(inventory_path()) in problem.value.message


def test_an_empty_inventory_is_none():
    written("")
    assert inventory.inventory() == {}


@pytest.mark.parametrize(
    ("text", "name", "runtime"),
    [
        ("jetson", "jetson", ""),
        ("jetson:tensorrt", "jetson", "tensorrt"),
        ("local:openvino", "local", "openvino"),
        ("user@host", "user@host", ""),
        ("user@host:2222", "user@host:2222", ""),
        ("user@host:2222:tensorrt", "user@host:2222", "tensorrt"),
        ("ssh://user@host", "ssh://user@host", ""),
        ("local:opnvino", "local", "opnvino"),
        ("openvino", "openvino", ""),
        ("openvino:litert", "openvino", "litert"),
        (":openvino", "", "openvino"),
    ],
)
def test_runtime_and_port_are_distinguished(text, name, runtime):
    assert split_runtime(text) == (name, runtime)


def test_a_board_may_be_named_like_a_runtime():
    with pytest.raises(RecipeError, match="'openvino' is a runtime, and no device: local:openvino"):
        location_of("openvino")
    written("openvino: {host: a@b}\n")
    assert location_of(split_runtime("openvino")[0]) == {"host": "a@b"}


def test_each_kind_of_board_has_its_runtime():
    assert runtime_of("jetson") == "tensorrt"
    assert {runtime_of(name) for name in ("local", "raspberrypi", "arm64", "x86", "a@b")} == {"onnxruntime"}


def test_the_inventory_says_what_runs_models():
    written("jetson: {host: a@b, runtime: onnxruntime}\npi: {host: a@b}\n")
    assert (runtime_of("jetson"), runtime_of("pi")) == ("onnxruntime", "onnxruntime")
    assert "runtime" not in location_of("jetson"), "where it is does not change with it"


def test_the_list_of_devices_has_inventory_and_kinds():
    written("jetson: {host: a@b}\npi: {}\n")
    summaries = {entry["name"]: entry["summary"] for entry in list_names("devices")}
    assert set(summaries) == {"local", "ssh", "jetson", "pi", "raspberrypi", "arm64", "x86"}
    assert summaries["jetson"] == "a@b, of your inventory"
    assert summaries["pi"] == "this machine, of your inventory"
    assert "onnxruntime by default" in summaries["arm64"]
