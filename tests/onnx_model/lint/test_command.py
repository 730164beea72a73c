"""calkd-edge lint, and what a run of a recipe does with what it finds."""

from __future__ import annotations

import json

import onnx
import pytest
from lint_graphs import BAD, GOOD, TAKEN_THOUGH_WRONG, built
from onnxruntime.quantization import QuantType, quantize_static
from quantized_elsewhere import GivenImages
from tiny_run import command

from calkd_edge.errors import StageFailed
from calkd_edge.onnx_model.lint import lint
from calkd_edge.records import Lint
from calkd_edge.stages.calibrate import refuse_errors


def saved(folder, model):
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def test_a_good_file_exits_0_and_says_how_it_was_looked_at(tmp_path):
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
    found = Lint.model_validate(json.loads(done.out))
    assert done.code == 3
    assert found == lint(onnx.load(path), path)
    assert found.errors[0].places > 1


def test_targets_are_checked(tmp_path):
    done = command("lint", saved(tmp_path, built(GOOD["int8, per channel"])), "--target", "coreml")
    assert done.code == 2
    assert "tensorrt, onnxruntime" in done.err


def test_the_compiler_is_asked_where_it_is_there(tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="needs the extra [trt-check]")
    good = command("lint", saved(tmp_path, built(GOOD["int8, per channel"])), "--compile", "SM89", "--json")
    made = Lint.model_validate(json.loads(good.out)).compilation
    assert made.capability == "SM89"
    assert made.weighted == {"Int8": 2}
    bad = command("lint", saved(tmp_path, built(BAD["bits"][0])), "--compile", "SM86")
    assert bad.code == 3
    assert "TensorRT for RTX" in bad.out


def test_without_the_compiler_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorrt_rtx", None)
    done = command("lint", saved(tmp_path, built(GOOD["int8, per channel"])), "--compile", "SM86")
    assert done.code == 6
    assert "calkd-edge[trt-check]" in done.err


def test_a_run_stops_at_a_file_that_its_runtime_should_not_get(tmp_path):
    model = built(TAKEN_THOUGH_WRONG["only the activation quantized"][0])
    with pytest.raises(
        StageFailed, match="not fit for onnxruntime: half-quantized: conv: the act"
    ) as stopped:
        refuse_errors(lint(model, saved(tmp_path, model), "onnxruntime"))
    assert "Quantize its weight too" in stopped.value.remedy


@pytest.mark.parametrize("activations", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_what_onnx_runtime_quantizes_itself_is_good_for_it(exported, activations, per_channel, tmp_path):
    net = exported("resnet8")
    quantize_static(
        net.path,
        tmp_path / "model.onnx",
        GivenImages(net.images),
        per_channel=per_channel,
        activation_type=activations,
        weight_type=QuantType.QInt8,
    )
    done = command("lint", tmp_path / "model.onnx", "--target", "onnxruntime")
    assert done.code == 0, done.out


def test_a_run_lints_what_it_ships(tiny):
    """For ONNX Runtime, which executes it, and for TensorRT, which would."""
    found = [json.loads(path.read_text()) for path in (tiny.store / "objects").glob("*/*/lint.json")]
    assert len(found) >= 3, "teacher fp32, student fp32 and int8, and what other tests add"
    assert {one["target"] for pair in found for one in pair} == {"tensorrt", "onnxruntime"}
    assert not any(
        finding["severity"] == "error" for pair in found for one in pair for finding in one["findings"]
    )
