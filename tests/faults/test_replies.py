"""Wrong answers of a device: refused at the door, with its name; what other devices measured is kept."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from wrong_replies import (
    OUTPUTS,
    REPLIES,
    SAMPLES,
    TIMES,
    ChangingDevice,
    arrays_as,
    each,
    header,
    newest_reply,
)

from calkd_edge.devices import DEVICES, connection
from calkd_edge.devices.agent_lines import MOST_KEPT_CHARACTERS, MOST_LINE_BYTES
from calkd_edge.devices.inventory import inventory_path
from calkd_edge.devices.local import Local
from calkd_edge.devices.replies import check_times, read_arrays
from calkd_edge.devices.session import Session
from calkd_edge.errors import DeviceError
from calkd_edge.stages.scores import scores_of

LOAD = {"min_runs": 10, "min_seconds": 0.0, "warmup_min_runs": 1, "warmup_min_seconds": 0.0}
LOAD |= {"warmup_max_seconds": 0.1, "warmup_window_seconds": 0.01}


@pytest.fixture(scope="module")
def world(exported, tmp_path_factory):
    """A session on a device, its model and its images; one agent ran each verb, whose files are kept."""
    folder = tmp_path_factory.mktemp("world")
    net = exported("resnet20")
    np.save(folder / "images.npy", net.images)
    device = ChangingDevice("board", folder=folder / "board", python=sys.executable)
    with Session(device) as session:
        yield Recorded(session, device, net.path, folder / "images.npy")


class Recorded:
    """Runs each verb once with the real agent; later runs get the same files, changed."""

    def __init__(self, session, device, model, images):
        self.session, self.device, self.model, self.images = session, device, model, images
        self.files: dict[str, dict[str, bytes]] = {}
        self.run = device.run
        device.run = self.replayed

    def replayed(self, argv, **options):
        verb, reply = argv[2], argv[4]
        folder = self.device.session
        if verb not in self.files:
            before = {path.name for path in folder.iterdir()}
            assert self.run(argv, **options) == 0
            made = [path for path in folder.iterdir() if path.name not in before]
            self.files[verb] = {path.name.replace(reply, "reply"): path.read_bytes() for path in made}
        for name, content in self.files[verb].items():
            (folder / name.replace("reply", reply)).write_bytes(content)
        self.device.change(folder)
        return 0

    def predict(self, change=lambda folder: None):
        self.device.change = change
        return self.session.predict(self.model, self.images, runtime="onnxruntime", options={})

    def time(self, change=lambda folder: None):
        self.device.change = change
        return self.session.time(self.model, self.images, runtime="onnxruntime", options={}, load=LOAD)


def refusal(work, change) -> DeviceError:
    work()  # right without the change
    with pytest.raises(DeviceError) as refused:
        work(change)
    assert refused.value.message.startswith("board: ")
    assert len(refused.value.message) < 1000
    assert refused.value.remedy
    return refused.value


@pytest.mark.parametrize("change", [*REPLIES.values(), *OUTPUTS.values()], ids=[*REPLIES, *OUTPUTS])
def test_wrong_answer_to_predict_is_a_device_error(world, change):
    refusal(world.predict, change)


@pytest.mark.parametrize("change", [*TIMES.values(), *SAMPLES.values()], ids=[*TIMES, *SAMPLES])
def test_wrong_answer_to_time_is_a_device_error(world, change):
    refusal(world.time, change)


def test_own_number_of_images_does_not_count(world):
    """More rows than images were sent are refused, whatever number the device tells."""

    def change(folder):
        OUTPUTS["more rows"](folder)
        path = newest_reply(folder)
        path.write_text(path.read_text().replace('"images": 64', '"images": 65'))

    assert "for 64 images" in refusal(world.predict, change).message


def test_reply_and_file_that_are_too_large_are_refused(world, monkeypatch):
    monkeypatch.setattr("calkd_edge.devices.session.MOST_REPLY_BYTES", 20)
    assert "more than 20 bytes" in refusal_of(world.predict).message
    device = Local()
    try:
        (device.temporary_folder / "large").write_bytes(b"x" * 100)
        device.most_bytes = 99
        with pytest.raises(DeviceError, match="more than 99 bytes"):
            device.get("large", device.temporary_folder / "copy")
    finally:
        device.close()


def refusal_of(work) -> DeviceError:
    with pytest.raises(DeviceError) as refused:
        work()
    return refused.value


TRACE = {
    "samples_ns": np.full(10, 5),
    "starts_ns": np.arange(10),
    "late_ns": np.array([], np.int64),
    "device_ms": np.array([]),
    "times_ns": np.arange(3),
    "values": np.zeros((3, 2)),
    "columns": np.array(["a", "b"]),
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"starts_ns": np.arange(9)},
        {"late_ns": np.arange(3)},
        {"device_ms": np.full(10, np.nan)},
        {"device_ms": np.arange(10)},
        {"values": np.zeros((3, 3))},
        {"columns": np.arange(2)},
        {"times_ns": np.zeros(3)},
        {"samples_ns": np.array(5)},
    ],
)
def test_wrong_trace_is_a_device_error(wrong):
    check_times("board", TRACE, 10)
    with pytest.raises(DeviceError, match="board: "):
        check_times("board", TRACE | wrong, 10)


def test_arrays_arrive_as_they_were_saved(tmp_path):
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "b": np.asfortranarray(np.eye(3)),
        "c": np.array(["x", "yy"]),
    }
    arrays |= {"d": np.zeros((0, 4), np.float32), "e": np.arange(3, dtype=">i8"), "f": np.array(True)}
    np.savez(tmp_path / "a.npz", **arrays)
    for name, values in read_arrays("board", tmp_path / "a.npz").items():
        assert values.shape == arrays[name].shape
        assert (values == arrays[name]).all()
        assert values.dtype.isnative
        assert values.flags.writeable
    (tmp_path / "b.npy").write_bytes(header("(3,)") + bytes(12))
    assert (read_arrays("board", tmp_path / "b.npy")["b.npy"] == np.zeros(3)).all()


SCORES = np.full((4, 3), 0.5, np.float32)


@pytest.mark.parametrize("name", ["logits", "probabilities"])
@pytest.mark.parametrize(
    "make",
    [
        lambda v: v[:, 0],
        lambda v: v[:, :2],
        lambda v: v[..., None],
        lambda v: v.astype(np.int64),
        lambda v: np.where(np.arange(3) == 1, np.nan, v),
        lambda v: np.where(np.arange(3) == 1, np.inf, v),
    ],
)
def test_scores_of_another_kind_are_a_device_error(name, make):
    right = {"logits": SCORES, "probabilities": SCORES}
    how = {"file": "model.onnx", "device": "board", "classes": 3}
    scores_of(right, **how)
    with pytest.raises(DeviceError, match=f"board: model.onnx returned {name}"):
        scores_of(right | {name: make(SCORES)}, **how)
    with pytest.raises(DeviceError, match="not logits and probabilities"):
        scores_of({"x": SCORES}, **how)


FAULTS = {
    "fewer": (OUTPUTS["fewer rows"], "for .* images"),
    "infinite": (arrays_as(lambda a: each(a, lambda v: v * np.nan)), "not finite"),
    "timeless": (SAMPLES["zero"], "a run took 0 ns"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_rows_of_other_devices_are_kept(tiny, tmp_path, monkeypatch, name):
    """The release is written, without the rows of the device that answers wrongly."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    change, reason = FAULTS[name]
    kind = type("Wrong", (ChangingDevice,), {"change": staticmethod(change)})
    monkeypatch.setattr(DEVICES, "_added", {"directory": kind})
    inventory_path().parent.mkdir(parents=True)
    inventory_path().write_text(f"{name}: {{kind: directory, folder: {tmp_path}, runtime: onnxruntime}}\n")
    done = tiny.again(tmp_path / "out", "--device", name)
    assert done.code == 5, done.err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    measured = {device: [] for device in ("local", name)}
    for row in report["measurements"]:
        measured[row["device"]].append(bool(row["quality"] and row["latency_ms"]))
    assert any(measured["local"])
    assert not any(measured[name])
    assert any(re.search(f"{name}: .*{reason}", line) for line in report["conclusions"])


def test_printed_lines_are_kept_to_a_bound():
    device, seen = Local(), []
    try:
        code = "print('x' * 10**7); [print('line', n) for n in range(10**5)]"
        assert device.run([device.python, "-c", code], timeout_s=60, on_line=seen.append) == 0
    finally:
        device.close()
    assert max(map(len, seen)) <= MOST_LINE_BYTES
    assert len(device.output) <= MOST_KEPT_CHARACTERS
    assert device.output.endswith("line 99999\n")


def test_file_is_received_to_a_bound_and_an_answer_keeps_its_end():
    def output_of(script, **how):
        line = [sys.executable, "-c", script]
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            try:
                return connection._read(process, on_line=None, **how)
            finally:
                process.kill()

    endless = "import sys\nwhile True: sys.stdout.write('x' * 65536)"
    received = io.BytesIO()
    output_of(endless, receive=received, receive_most=100_000)
    assert len(received.getvalue()) == 100_000
    long = output_of("print('x' * 3_000_000 + 'end', end='')", receive=None, receive_most=0)
    assert len(long) == connection.MOST_ANSWER_BYTES
    assert long.endswith(b"xend")
