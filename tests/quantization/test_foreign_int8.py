"""int8 files of other makers: never derived from, and their answers stay what they are."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_static
from range_images import RangeImages
from single_layer import single_layer

from calkd_edge.engine.stage import Job
from calkd_edge.onnx_model.graph import copy_of
from calkd_edge.quantization.cpu import derive_for_cpu, is_canonical
from calkd_edge.quantization.int8_fp16 import int8_fp16
from calkd_edge.quantization.placement import insert_qdq
from calkd_edge.quantization.source import Images
from calkd_edge.stages import quantize
from calkd_edge.stages.executed import executed_file


@pytest.fixture(scope="module")
def net(exported):
    return exported("resnet8")


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """stage(model): the folder that the quantize stage makes of a file that stays as it is."""
    data = tmp_path_factory.mktemp("data")
    np.save(data / "images.npy", np.zeros((4, 3, 32, 32), np.uint8))
    np.save(data / "labels.npy", np.zeros(4, np.int64))
    (data / "splits.json").write_text(json.dumps({"train": [0, 1], "calibration": [2, 3]}))
    (data / "classes.json").write_text(json.dumps({"classes": ["a", "b"]}))

    def run(model: onnx.ModelProto):
        source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out")
        onnx.save(model, source / quantize.CANONICAL)
        params = {"precision": "fp32", "settings": {}, "seed": 0, "versions": {}}
        inputs = {"data": data, "model": source}
        quantize.run(
            Job(params, {}, inputs, out, tmp_path_factory.mktemp("scratch"), lambda done, total: None)
        )
        return out

    return run


@pytest.mark.parametrize("activations", [QuantType.QInt8, QuantType.QUInt8], ids=["QInt8", "QUInt8"])
@pytest.mark.parametrize("per_channel", [False, True], ids=["per tensor", "per channel"])
def test_a_file_of_onnx_runtimes_quantizer_keeps_its_outputs(
    net, stage, execute, activations, per_channel, tmp_path
):
    quantize_static(
        net.path,
        tmp_path / "given.onnx",
        RangeImages(net.images),
        per_channel=per_channel,
        activation_type=activations,
        weight_type=QuantType.QInt8,
    )
    quantized = onnx.load(tmp_path / "given.onnx")
    assert not is_canonical(quantized)
    shipped = executed_file(stage(quantized), "onnxruntime")
    assert shipped.name == quantize.CANONICAL
    before, after = execute(quantized, net.images), execute(onnx.load(shipped), net.images)
    assert before.keys() == after.keys() == {"logits", "probabilities"}
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
    assert np.abs(before["logits"] - net.reference).max() < 0.2 * np.ptp(net.reference), (
        "it is int8 of that net"
    )


def test_our_own_int8_ships_what_is_derived_from_it(stage):
    derived = insert_qdq(single_layer(np.ones((2, 2, 1, 1), np.float32), np.ones(2, np.float32)), {"h": 3.0})
    folder = stage(derived)
    assert executed_file(folder, "onnxruntime").name == quantize.FOR_CPU
    assert onnx.load(folder / quantize.FOR_CPU).graph == derive_for_cpu(derived).graph


# --- what the derivation relies on ----------------------------------------------------------------------


def canonical() -> onnx.ModelProto:
    """A Conv and its ReLU, and a Conv behind them, in int8 as we write it."""
    model = single_layer(np.ones((2, 2, 1, 1), np.float32), np.ones(2, np.float32))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((2, 2, 1, 1), np.float32), "w2"))
    model.graph.node.extend(
        [helper.make_node("Relu", ["logits"], ["r"]), helper.make_node("Conv", ["r", "w2"], ["end"])]
    )
    model.graph.output[0].name = "end"
    return insert_qdq(model, {"h": 3.0, "r": 3.0})


def first(model: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == kind)


def store(model: onnx.ModelProto, name: str, values) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    return name


def unsigned(model):
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            node.input[2] = store(model, f"{node.name}_unsigned", np.uint8(0))


def shifted(model):
    first(model, "QuantizeLinear").input[2] = store(model, "five", np.int8(5))


def without_zero_points(model):
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            del node.input[2:]


def computed_scale(model):
    quantizing = first(model, "QuantizeLinear")
    model.graph.node.insert(0, helper.make_node("Identity", [quantizing.input[1]], ["computed"]))
    quantizing.input[1] = "computed"


def other_scale(model):
    first(model, "DequantizeLinear").input[1] = store(model, "other", np.float32(0.5))


def integers_as_output(model):
    model.graph.output.append(
        helper.make_tensor_value_info(first(model, "QuantizeLinear").output[0], TensorProto.INT8, None)
    )


def integers_read_by_another(model):
    integers = first(model, "QuantizeLinear").output[0]
    model.graph.node.append(helper.make_node("Cast", [integers], ["cast"], to=TensorProto.FLOAT))


def int32_bias(model):
    convolution = first(model, "Conv")
    stored = store(model, "b32", np.ones(2, np.int32)), store(model, "bs", np.ones(2, np.float32))
    zero = store(model, "bz", np.zeros(2, np.int32))
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", [*stored, zero], ["bd"], axis=0))
    convolution.input[2] = "bd"


def weights_along_another_axis(model):
    for node in model.graph.node:
        for item in node.attribute:
            item.i = 1 if item.name == "axis" else item.i


def weight_of_another_domain(model):
    first(model, "DequantizeLinear").domain = "com.microsoft"


def weight_that_is_quantized_in_the_file(model):
    weight = next(
        tensor
        for tensor in model.graph.node
        if len(tensor.attribute) and tensor.op_type == "DequantizeLinear"
    )
    quantizing = helper.make_node(
        "QuantizeLinear", [store(model, "wf", np.ones((2, 2, 1, 1), np.float32)), "ws", "wz"], ["wq"]
    )
    store(model, "ws", np.float32(0.01))
    store(model, "wz", np.int8(0))
    model.graph.node.insert(0, quantizing)
    del weight.attribute[:]
    weight.input[:] = ["wq", "ws", "wz"]


def scaled_bias(model):
    gemm = helper.make_node("Gemm", ["a", "b"], ["c"], beta=0.5)
    model.graph.node.append(gemm)


def old_opset(model):
    model.opset_import[0].version = 12


def nothing_quantized(model):
    kept = [node for node in model.graph.node if node.op_type == "Relu"]
    del model.graph.node[:]
    model.graph.node.extend(kept)


FOREIGN = (
    unsigned,
    shifted,
    without_zero_points,
    computed_scale,
    other_scale,
    integers_as_output,
    integers_read_by_another,
    int32_bias,
    weights_along_another_axis,
    weight_of_another_domain,
    weight_that_is_quantized_in_the_file,
    scaled_bias,
    old_opset,
    nothing_quantized,
)


@pytest.mark.parametrize("change", FOREIGN, ids=lambda change: change.__name__)
def test_each_condition_of_the_derivation_is_checked(change):
    model = canonical()
    assert is_canonical(model)
    change(model)
    assert not is_canonical(model)
    with pytest.raises(ValueError, match="run it unchanged"):
        derive_for_cpu(model)


def test_what_int8_with_float16_writes_is_our_form(net):
    derived = int8_fp16(net.proto, Images(lambda count: net.images[:count]), images=16)
    assert is_canonical(derived)
    derive_for_cpu(derived)


def test_a_dequantized_weight_that_is_an_output_as_well_stays(execute):
    model = canonical()
    weight = next(
        node for node in model.graph.node if len(node.attribute) and node.op_type == "DequantizeLinear"
    )
    shown = copy_of(model)
    shown.graph.output.append(
        helper.make_tensor_value_info(weight.output[0], TensorProto.FLOAT, [2, 2, 1, 1])
    )
    shown.graph.node[-1].input[1] = weight.output[0]
    images = np.random.default_rng(0).normal(size=(2, 2, 4, 4)).astype(np.float32)
    expected, names = (
        execute(shown, images, simulate=True),
        execute(derive_for_cpu(shown), images, simulate=True),
    )
    for name, values in expected.items():
        np.testing.assert_allclose(names[name], values, atol=1e-6)
