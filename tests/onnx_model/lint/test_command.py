"""lint as a function and as a command, and its use in a run of a recipe."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys

import onnx
import pytest
from lint_graphs import ACCEPTED_BY_COMPILER, BAD, GOOD, built
from onnxruntime.quantization import QuantType, quantize_static
from range_images import RangeImages
from tiny_run import command

from calkd_edge.errors import StageFailed
from calkd_edge.onnx_model.lint import lint, lint_model, linter
from calkd_edge.records import Lint
from calkd_edge.stages.calibrate import refuse_errors


def saved(folder, model):
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def test_lint_imports_no_training_framework(tmp_path):
    path = saved(tmp_path, built(GOOD["int8, per channel"]))
    probe = (
        "import sys; from calkd_edge.onnx_model.lint import lint; result = lint(sys.argv[1]); "
        "print(result.errors, [name for name in ('torch', 'torchvision') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe, path], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["()", "[]"]


def test_the_example_of_lint_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = doctest.DocTestFinder().find(linter.lint, "lint", globs={"lint": lint})
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


def test_a_good_file_exits_0_with_the_counts(tmp_path):
    done = command("lint", saved(tmp_path, built(GOOD["int8, per channel"])))
    assert done.code == 0
    assert "opset 20; for tensorrt 0 errors, 0 warnings, 0 notes" in done.out


def test_a_bad_file_exits_3_with_node_reason_and_remedy(tmp_path):
    done = command("lint", saved(tmp_path, built(BAD["an int32 bias"][0])))
    assert done.code == 3
    line, remedy = done.out.splitlines()[:2]
    assert line.startswith("error: quantized-types: dqb: an int32 bias")
    assert "QuantizeBias=False" in remedy
    assert "must not be shipped" in done.err


def test_json_is_the_record(tmp_path):
    path = saved(tmp_path, built(BAD["a negative scale"][0]))
    done = command("lint", path, "--json")
    result = Lint.model_validate(json.loads(done.out))
    assert done.code == 3
    assert result == lint(path) == lint_model(onnx.load(path), path)
    assert result.errors[0].places > 1


def test_targets_are_checked(tmp_path):
    done = command("lint", saved(tmp_path, built(GOOD["int8, per channel"])), "--target", "coreml")
    assert done.code == 2
    assert "tensorrt, onnxruntime" in done.err


def test_the_compiler_runs_on_request(tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="needs the extra [trt-check]")
    good = command("lint", saved(tmp_path, built(GOOD["int8, per channel"])), "--compile", "SM89", "--json")
    compilation = Lint.model_validate(json.loads(good.out)).compilation
    assert compilation.capability == "SM89"
    assert compilation.weighted == {"Int8": 2}
    bad = command("lint", saved(tmp_path, built(BAD["bits"][0])), "--compile", "SM86")
    assert bad.code == 3
    assert "TensorRT for RTX" in bad.out


def test_without_the_compiler_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorrt_rtx", None)
    done = command("lint", saved(tmp_path, built(GOOD["int8, per channel"])), "--compile", "SM86")
    assert done.code == 6
    assert "calkd-edge[trt-check]" in done.err


def test_a_run_stops_at_a_file_with_an_error(tmp_path):
    model = built(ACCEPTED_BY_COMPILER["only the activation quantized"][0])
    with pytest.raises(
        StageFailed, match="not fit for onnxruntime: half-quantized: conv: the act"
    ) as stopped:
        refuse_errors(lint_model(model, saved(tmp_path, model), "onnxruntime"))
    assert "Quantize its weight too" in stopped.value.remedy


@pytest.mark.parametrize("activations", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_files_of_onnx_runtimes_quantizer_have_no_error_for_it(exported, activations, per_channel, tmp_path):
    net = exported("resnet8")
    quantize_static(
        net.path,
        tmp_path / "model.onnx",
        RangeImages(net.images),
        per_channel=per_channel,
        activation_type=activations,
        weight_type=QuantType.QInt8,
    )
    done = command("lint", tmp_path / "model.onnx", "--target", "onnxruntime")
    assert done.code == 0, done.out


def test_a_run_lints_what_it_ships(tiny):
    """For ONNX Runtime, which executes it, and for TensorRT, which could."""
    files = [json.loads(path.read_text()) for path in (tiny.store / "objects").glob("*/*/lint.json")]
    results = [result for file in files for result in file]
    assert len(files) >= 3, "teacher fp32, student fp32 and int8, and those of other tests"
    assert {result["target"] for result in results} == {"tensorrt", "onnxruntime"}
    assert not [f for result in results for f in result["findings"] if f["severity"] == "error"]
