"""OpenVINO runs the same files: float ones as ONNX Runtime does, int8 ones as their simulation says."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from played_classifier import classifier_model

from calkd_edge.agent.problem import AgentProblem
from calkd_edge.agent.runtimes import open_runtime
from calkd_edge.quantization.int8 import int8
from calkd_edge.quantization.source import Images

pytest.importorskip("openvino", reason="needs the extra [openvino]")
IMAGES = np.random.default_rng(1).integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("files"), classifier_model()
    onnx.save(model, folder / "fp32.onnx")
    onnx.save(int8(model, Images(lambda count: IMAGES[:count]), images=32), folder / "int8.onnx")
    return folder


def answers(runtime, path, images=IMAGES, **options):
    with open_runtime(runtime, str(path), options) as opened:
        return opened.infer(images), opened.session_options()


def test_float_files_answer_as_in_onnx_runtime(files):
    outputs, options = answers("openvino", files / "fp32.onnx")
    reference, _ = answers("onnxruntime", files / "fp32.onnx")
    assert outputs.keys() == reference.keys() == {"logits", "probabilities"}
    for name, values in outputs.items():
        np.testing.assert_allclose(values, reference[name], atol=1e-5)
    assert options["INFERENCE_PRECISION_HINT"] == "f32"
    assert options["INFERENCE_NUM_THREADS"] == "1"


def test_int8_files_answer_as_their_simulation(files):
    outputs, _ = answers("openvino", files / "int8.onnx")
    simulated, _ = answers("onnxruntime", files / "int8.onnx", optimization="none")
    for name, values in outputs.items():
        np.testing.assert_allclose(values, simulated[name], atol=1e-3)


@pytest.mark.parametrize(("precision", "near"), [("f16", 5e-3), ("bf16", 2e-2)])
@pytest.mark.parametrize("file", ["fp32", "int8"])
def test_coarser_precisions_answer_any_number_of_images(files, precision, near, file):
    reference, _ = answers("openvino", files / f"{file}.onnx")
    try:
        opened = open_runtime("openvino", str(files / f"{file}.onnx"), {"inference_precision": precision})
        opened.__enter__()
    except AgentProblem as absent:
        pytest.skip(f"this processor: {absent}")
    for count in (40, 1, 7):
        outputs = opened.infer(IMAGES[:count])
        gap = np.abs(outputs["probabilities"] - reference["probabilities"][:count])
        assert gap.mean() < near, gap.max()


def test_later_runs_do_not_change_earlier_results(files):
    with open_runtime("openvino", str(files / "fp32.onnx"), {}) as runtime:
        first = runtime.infer(IMAGES[:1])["logits"]
        kept = first.copy()
        runtime.infer(IMAGES[1:2])
        np.testing.assert_array_equal(first, kept)


def test_any_number_of_images_is_taken(files):
    with open_runtime("openvino", str(files / "fp32.onnx"), {"threads": 2}) as runtime:
        for count in (1, 7, 40, 3):
            assert runtime.infer(IMAGES[:count])["logits"].shape == (count, 5)


def test_what_cannot_be_opened_is_refused(files, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(AgentProblem, match="refuses"):
        answers("openvino", tmp_path / "broken.onnx")
    with pytest.raises(AgentProblem, match="unknown option providers"):
        answers("openvino", files / "fp32.onnx", providers=["CPUExecutionProvider"])


def test_signals_still_run_their_handlers_after_files_that_were_open_at_a_time(files):
    """Each of OpenVINO's cores takes the stack for signals, and gives back the one that it took from."""
    program = (
        "import faulthandler, signal, sys\n"
        "from calkd_edge.agent.runtimes import open_runtime\n"
        "faulthandler.enable()\n"  # as pytest does: signals have a stack of their own
        "opened = [open_runtime('openvino', sys.argv[1], {}).__enter__() for _ in range(2)]\n"
        "while opened:\n"
        "    opened.pop(0).__exit__()\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled'))\n"
        "signal.raise_signal(signal.SIGUSR1)\n"
    )
    line = [sys.executable, "-c", program, str(files / "fp32.onnx")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_recipe_measures_both_runtimes_side_by_side(tiny, tmp_path):
    done = tiny.again(tmp_path / "out", "--device", "local:openvino")
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    rows = [row for row in report["measurements"] if row["model"] == "student" and row["calibrated"]]
    measured = {(row["runtime"], row["precision"]): row for row in rows}
    assert set(measured) == {(run, kind) for run in ("onnxruntime", "openvino") for kind in ("fp32", "int8")}
    assert measured["openvino", "int8"]["file"] == "student.int8.onnx"
    assert measured["onnxruntime", "int8"]["file"] == "student.int8.cpu.onnx"
    assert all(row["latency_ms"]["p50"]["value"] > 0 and row["quality"]["top1"] for row in rows)
    fp32 = measured["onnxruntime", "fp32"]["quality"]["nll"]["value"]
    assert measured["openvino", "fp32"]["quality"]["nll"]["value"] == pytest.approx(fp32, abs=1e-5)
