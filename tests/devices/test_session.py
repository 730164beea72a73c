"""Session on the local device: the real agent in a real process on a real small file."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from loopback_board import children
from wrong_replies import TIME_REPLY

from calkd_edge.agent import PROTOCOL
from calkd_edge.devices import DEVICES
from calkd_edge.devices.local import Local
from calkd_edge.devices.session import Session, open_session
from calkd_edge.errors import DeviceError, RecipeError

LOAD = {
    "min_runs": 30,
    "min_seconds": 0.05,
    "warmup_min_runs": 5,
    "warmup_min_seconds": 0.0,
    "warmup_max_seconds": 0.3,
    "warmup_window_seconds": 0.02,
}


@pytest.fixture(scope="module")
def net(exported):
    return exported("resnet20")


@pytest.fixture(scope="module")
def images(net, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, net.images)
    return path


@pytest.fixture
def session():
    with open_session("local") as opened:
        yield opened


def ignored(line: str) -> None:
    """What a command printed, where the test does not ask."""


def predict(session, net, images, *, runtime="onnxruntime", options=None):
    return session.predict(net.path, images, runtime=runtime, options=options or {})


def test_probe_tells_of_this_machine(session):
    facts = session.probe()
    assert facts.python == ".".join(map(str, sys.version_info[:3]))
    assert facts.runtimes["onnxruntime"] == onnxruntime.__version__


def test_outputs_equal_those_of_onnxruntime(session, net, images, execute):
    outputs, options = predict(session, net, images)
    wanted = execute(net.proto, net.images)
    assert set(outputs) == {"logits", "probabilities"}
    for name, values in wanted.items():
        assert outputs[name].dtype == np.float32
        np.testing.assert_allclose(outputs[name], values, atol=2e-5)
    assert options["threads"] == 1
    assert options["providers"] == ["CPUExecutionProvider"]
    assert options["onnxruntime"] == onnxruntime.__version__


def test_same_images_give_the_same_bits(session, net, images):
    first, second = (predict(session, net, images)[0] for _ in range(2))
    np.testing.assert_array_equal(first["logits"], second["logits"])


def test_images_of_several_runs_are_answered_in_order(session, net, tmp_path):
    path = tmp_path / "many.npy"
    np.save(path, np.concatenate([net.images] * 4)[:250])
    outputs, _ = predict(session, net, path)
    np.testing.assert_allclose(outputs["logits"], np.concatenate([net.reference] * 4)[:250], atol=1e-3)


def test_optimization_can_be_switched_off(session, net, images, execute):
    outputs, options = predict(session, net, images, options={"optimization": "none"})
    assert options["optimization"] == "none"
    np.testing.assert_allclose(
        outputs["logits"], execute(net.proto, net.images, simulate=True)["logits"], atol=2e-5
    )


def test_timing_meets_both_minima_and_keeps_every_sample(session, net, images):
    timed = session.time(net.path, images, runtime="onnxruntime", options={}, load=LOAD)
    assert timed.samples_ns.dtype == np.int64
    assert len(timed.samples_ns) >= 30
    assert (timed.samples_ns > 0).all()
    assert timed.samples_ns.sum() / 1e9 <= 600
    assert timed.reply["warmup_runs"] >= 5
    assert timed.reply["load_ms"] > 0
    assert timed.reply["first_ms"] > 0
    assert isinstance(timed.reply["steady"], bool)
    assert set(timed.reply["before"]) == set(timed.reply["after"])


def test_timing_goes_on_for_the_seconds_asked(session, net, images):
    load = LOAD | {"min_runs": 1, "min_seconds": 0.3}
    timed = session.time(net.path, images, runtime="onnxruntime", options={}, load=load)
    # Samples and the loop around them fill the time; the last one may begin just before its end.
    assert timed.samples_ns.sum() / 1e9 >= 0.3 * 0.5


def test_garbage_model_is_a_device_error_with_a_remedy(session, images, tmp_path, net):
    bad = tmp_path / "model.onnx"
    bad.write_bytes(b"not an onnx file")
    with pytest.raises(DeviceError, match=r"local: onnxruntime .* refuses model\.onnx") as refused:
        session.predict(bad, images, runtime="onnxruntime", options={})
    assert refused.value.remedy
    assert refused.value.exit_code == 5
    # The session is none the worse for it.
    assert len(predict(session, net, images)[0]["logits"]) == 64


@pytest.mark.parametrize(
    ("runtime", "options", "message"),
    [
        ("tensorflow", {}, "no runtime named 'tensorflow'"),
        ("onnxruntime", {"providers": ["MoonExecutionProvider"]}, "no provider MoonExecutionProvider"),
        ("onnxruntime", {"colour": "red"}, "unknown option colour"),
    ],
)
def test_what_the_agent_does_not_know_is_a_device_error_with_a_remedy(
    session, net, images, runtime, options, message
):
    with pytest.raises(DeviceError, match=message) as refused:
        predict(session, net, images, runtime=runtime, options=options)
    assert refused.value.remedy


def test_images_of_another_shape_are_an_error_with_the_traceback_in_the_log(session, net, tmp_path, caplog):
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((2, 3, 8, 8), np.uint8))
    with caplog.at_level(logging.ERROR), pytest.raises(DeviceError):
        predict(session, net, path)
    assert "Traceback" in caplog.text


class Scripted(Local):
    """The local device with a Python file of the test's own in the agent's place."""

    def __init__(self, script: str):
        super().__init__("scripted")
        self.script = script

    def run(self, argv, *, timeout_s, on_line):
        command = [self.python, "-c", self.script, *argv[2:]]
        return super().run(command, timeout_s=timeout_s, on_line=on_line)


REPLY = "import sys, json, numpy as np\njson.dump({}, open(sys.argv[3], 'w'))\n"
DONE = REPLY.format("{'protocol': 1, 'images': 64, 'session_options': {}}")
TIMED = REPLY.format(repr(TIME_REPLY))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import sys; sys.exit(3)", "the agent left no reply-1.json"),
        ("import sys; print('Segmentation fault'); sys.exit(139)", "Segmentation fault"),
        ("import sys; open(sys.argv[3], 'w').write('<html>')", "not JSON"),
        ("import sys; open(sys.argv[3], 'wb').write(bytes([0xff, 0xfe, 0x00]))", "not JSON"),
        (REPLY.format("[1, 2]"), "not understood"),
        (REPLY.format("None"), "not understood"),
        (REPLY.format("{}"), "another protocol"),
        (REPLY.format("{'protocol': 999, 'images': 64}"), "another protocol"),
        (REPLY.format("{'error': 'too hot', 'protocol': 1}"), "scripted: too hot"),
        (REPLY.format("{'protocol': 1}") + "sys.exit(1)", "ended with status 1"),
        (DONE, "left no outputs.npz"),
        (DONE + "open('outputs.npz', 'w').write('x')", "cannot be read"),
        (DONE + "np.savez('outputs.npz', logits=np.zeros((63, 10)))", "63"),
        (REPLY.format("{'protocol': 1}"), "not understood: no images, session_options"),
    ],
)
def test_broken_reply_is_a_device_error_with_a_remedy(net, images, script, message):
    with Session(Scripted(script)) as session, pytest.raises(DeviceError, match=message) as refused:
        predict(session, net, images)
    assert refused.value.remedy


def test_probe_that_lacks_a_fact_is_refused():
    script = REPLY.format("{'protocol': 1, 'board': 'x'}")
    with Session(Scripted(script)) as session, pytest.raises(DeviceError, match="reply to probe"):
        session.probe()


@pytest.mark.parametrize(
    "save",
    [
        "open('samples.npy', 'w').write('x')",
        "np.save('samples.npy', np.array([1], dtype=object), allow_pickle=True)",
    ],
)
def test_broken_samples_are_a_device_error(net, images, save):
    with Session(Scripted(TIMED + save)) as session, pytest.raises(DeviceError, match="cannot be read"):
        session.time(net.path, images, runtime="onnxruntime", options={}, load=LOAD)


def test_progress_is_reported_and_incomplete_lines_are_ignored(net, images):
    reported = []
    script = (
        "print('calkd-progress 1.000 4.000'); print('calkd-progress 2.0'); print('calkd-progress x y');"
        "print('calkd-progress nan 4.0'); print('hello'); print('calkd-progress 3.5 4.0')\n"
        + REPLY.format("{'protocol': 1, 'images': 64, 'session_options': {}}")
        + "np.savez('outputs.npz', logits=np.zeros((64, 10)))"
    )
    with Session(Scripted(script)) as session:
        session.predict(
            net.path,
            images,
            runtime="x",
            options={},
            progress=lambda done, total: reported.append((done, total)),
        )
        assert "hello" in session.device.output
    assert reported == [(1000, 4000), (3500, 4000)]


def test_agent_that_hangs_is_stopped():
    device = Local()
    try:
        with pytest.raises(DeviceError, match="not done after 1 s") as refused:
            device.run([device.python, "-c", "import time; time.sleep(600)"], timeout_s=0.6, on_line=ignored)
        assert refused.value.remedy
    finally:
        device.close()


def test_interpreter_that_is_not_there_is_a_device_error():
    device = Local()
    try:
        with pytest.raises(DeviceError, match="cannot be started"):
            device.run(["/no/such/python"], timeout_s=1, on_line=ignored)
    finally:
        device.close()


def test_nothing_is_left_behind(net, images):
    with open_session("local") as session:
        folder, scratch = session.device.temporary_folder, session._scratch.path
        predict(session, net, images)
        assert folder.is_dir()
    assert not folder.exists()
    assert not scratch.exists()
    assert net.path.is_file()
    assert images.is_file()


def test_putting_a_file_again_replaces_it_without_touching_the_first(tmp_path):
    device = Local()
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("1", encoding="utf-8")
    second.write_text("2", encoding="utf-8")
    try:
        device.put(first, "deep/file")
        device.put(second, "deep/file")
        device.get("deep/file", tmp_path / "back")
    finally:
        device.close()
    assert (tmp_path / "back").read_text(encoding="utf-8") == "2"
    assert first.read_text(encoding="utf-8") == "1"


def test_agent_does_not_inherit_what_only_we_set(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    device = Local()
    try:
        code = "import os; print(os.environ.get('PYTHONPATH'), os.environ.get('OMP_NUM_THREADS'))"
        assert device.run([device.python, "-c", code], timeout_s=30, on_line=ignored) == 0
        assert device.output.split() == ["None", "None"]
    finally:
        device.close()


def test_unknown_device_is_refused_with_the_known_ones():
    with pytest.raises(RecipeError, match="no device is named 'locla'") as refused:
        open_session("locla")
    assert "Did you mean 'local'?" in refused.value.remedy


@pytest.mark.parametrize("name", list(DEVICES))
def test_every_device_is_documented(name):
    assert DEVICES.describe(name)["summary"].endswith(".")


def test_host_and_agent_share_the_protocol_number():
    assert isinstance(PROTOCOL, int)


CLIENT = """
import sys
import time
from pathlib import Path
from calkd_edge.devices.session import open_session
load = {"min_runs": 1, "min_seconds": 60, "warmup_min_runs": 1, "warmup_min_seconds": 0}
load.update(warmup_max_seconds=0.1, warmup_window_seconds=0.1)
with open_session("local") as session:
    session.time(Path(sys.argv[1]), Path(sys.argv[2]), runtime="onnxruntime", options={}, load=load,
                 progress=lambda done, total: print("timing", flush=True))
"""


def test_agent_ends_with_the_process_that_started_it(net, images):
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(net.path), str(images)], stdout=subprocess.PIPE, text=True
    )
    assert client.stdout.readline() == "timing\n"
    (agent,) = children(client.pid)
    client.kill()
    client.communicate()
    for _ in range(100):
        if not Path(f"/proc/{agent}").exists():
            break
        time.sleep(0.1)
    else:
        os.kill(agent, signal.SIGKILL)
        raise AssertionError("the agent went on")
