"""A kind of device that a plugin adds by one line serves doctor, benchmark and compress."""

from __future__ import annotations

import json

import pytest
from benchmark_world import SHORT
from directory_device import DirectoryDevice
from tiny_run import command

from calkd_edge.devices import DEVICES
from calkd_edge.devices.inventory import device_at, inventory_path, location_of
from calkd_edge.devices.local import Local
from calkd_edge.errors import RecipeError
from calkd_edge.metrics.latency import LOADS, PROCESSES


@pytest.fixture
def written(tmp_path, monkeypatch):
    """written(text): the inventory, while the kind `directory` exists."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(DEVICES, "_added", {"directory": DirectoryDevice})

    def write(text: str) -> None:
        inventory_path().parent.mkdir(parents=True, exist_ok=True)
        inventory_path().write_text(text)

    return write


def test_doctor_benchmark_and_compress_use_it(written, tiny, tmp_path, monkeypatch):
    board = tmp_path / "board"
    written(f"bench: {{kind: directory, folder: {board}, runtime: onnxruntime}}\n")
    done = command("doctor", "--device", "bench", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["device"] == "bench"

    done = tiny.again(tmp_path / "out", "--device", "bench")
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {row["device"] for row in report["measurements"]} == {"local", "bench"}
    assert [path.name for path in board.iterdir()] == ["cache"], "each session removes its folder"

    monkeypatch.setitem(LOADS, "quick", SHORT)
    monkeypatch.setitem(PROCESSES, "quick", 1)
    options = ("--precision", "fp32", "--out", tmp_path / "times")
    done = command("benchmark", tiny.out, "--device", "bench", "--clean", *options)
    assert done.code in (0, 4), done.err
    assert json.loads((tmp_path / "times" / "benchmark.json").read_text())["device"] == "bench"
    assert not list(board.iterdir()), "--clean empties it"


def test_doctor_cleans_it(written, tmp_path):
    (tmp_path / "board" / "cache").mkdir(parents=True)
    written(f"bench: {{kind: directory, folder: {tmp_path / 'board'}}}\n")
    done = command("doctor", "--device", "bench", "--clean")
    assert done.code == 0, done.err
    assert "bench: what was sent there is removed" in done.out + done.err
    assert not (tmp_path / "board" / "cache").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bench: {kind: directry, folder: /x}\n", "bench.kind: no kind of device is named 'directry'"),
        ("bench: {kind: directory}\n", "bench.folder: this key is missing"),
        ("bench: {kind: directory, folder: /x, host: a@b}\n", "unknown key 'host'"),
        ("bench: {kind: ssh}\n", "bench.host: this key is missing"),
        ("bench: {kind: ssh, host: a@b, port: 70000}\n", "port"),
        ("bench: {kind: ''}\n", "kind"),
    ],
)
def test_wrong_entry_of_a_kind_is_refused(written, text, message):
    written(text)
    with pytest.raises(RecipeError) as problem:
        location_of("bench")
    assert message in problem.value.message
    assert str(inventory_path()) in problem.value.message


def test_kind_may_be_named_where_it_is_the_default(written):
    written("bench: {kind: ssh, host: a@b}\nother: {kind: local, python: /opt/py}\n")
    assert location_of("bench") == {"kind": "ssh", "host": "a@b"}
    device = device_at("other", location_of("other"))
    assert isinstance(device, Local)
    assert device.python == "/opt/py"
    device.close()
