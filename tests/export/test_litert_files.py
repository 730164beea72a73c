"""The LiteRT file of a canonical ONNX file: every net and precision, every operator, what is refused."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
from branches import negating
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from calkd_edge.errors import EnvironmentProblem, StageFailed
from calkd_edge.export.agreement import agreement
from calkd_edge.export.litert import convert
from calkd_edge.onnx_model.fold import fold
from calkd_edge.quantization.cpu import derive_for_cpu
from calkd_edge.quantization.fp16 import fp16
from calkd_edge.quantization.int8 import int8
from calkd_edge.quantization.int8_fp16 import int8_fp16
from calkd_edge.quantization.placement import insert_qdq, layer_names, quantized_inputs
from calkd_edge.quantization.source import Images
from calkd_edge.records import Affine

litert = pytest.importorskip("ai_edge_litert.interpreter", reason="needs the extra [litert]")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs the extra [litert]")

SLOW = ("mobilenet_v1", "mobilenet_v3_large", "resnet50", "shufflenet_v1", "vgg8", "wrn_16_1")
NETS = [
    "resnet20",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "shufflenet_v2",
    *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW),
]


def run_litert(content, images):
    """Every output by name, an image at a time."""
    interpreter = litert.Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (image_input,) = interpreter.get_input_details()
    values_by_name = {detail["name"]: [] for detail in interpreter.get_output_details()}
    for index in range(len(images)):
        interpreter.set_tensor(image_input["index"], images[index : index + 1])
        interpreter.invoke()
        for detail in interpreter.get_output_details():
            values_by_name[detail["name"]].append(interpreter.get_tensor(detail["index"]).copy())
    return {name: np.concatenate(values) for name, values in values_by_name.items()}


def operators(content):
    """(operator, type of its first input) of each node, in order."""
    model = schema.ModelT.InitFromPackedBuf(content)
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    kinds = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    (graph,) = model.subgraphs
    return [
        (names[model.operatorCodes[node.opcodeIndex].builtinCode], kinds[graph.tensors[node.inputs[0]].type])
        for node in graph.operators
    ]


@pytest.fixture(scope="module", params=NETS)
def net(request, exported):
    return exported(request.param)


def test_float32_agrees_to_the_last_digits(net, execute):
    converted, expected = (
        run_litert(convert(net.proto), net.images),
        execute(net.proto, net.images, simulate=True),
    )
    assert converted.keys() == {"logits", "probabilities"}
    for name, values in converted.items():
        assert np.abs(values - expected[name]).max() <= 1e-5 * max(1.0, np.abs(expected[name]).max())


def test_pixels_are_normalised_a_plane_at_a_time(net):
    kinds = [kind for kind, _ in operators(convert(net.proto))]
    assert kinds[: kinds.index("TRANSPOSE")] == ["DEQUANTIZE", "SUB", "MUL"]


@pytest.mark.parametrize("quantizer", [fp16, int8, int8_fp16])
def test_other_precisions_agree_up_to_rounding(net, quantizer, execute):
    source = Images(lambda count: net.images[:count])
    kept = {} if quantizer is fp16 else {"images": 32}
    model = quantizer(net.proto, source, **kept)
    content = convert(model)
    converted, expected = (
        net["logits"] for net in (run_litert(content, net.images), execute(model, net.images, simulate=True))
    )
    near = agreement(converted, expected, exact=False)
    assert near.sound, near
    assert near.max_logit_difference <= 0.03 * np.ptp(expected)
    share = len(content) / len(net.proto.SerializeToString())
    assert share <= (0.6 if quantizer is fp16 else 0.4)


def test_convolutions_between_quantized_values_run_in_integers(net):
    model = int8(net.proto, Images(lambda count: net.images[:count]), images=32)
    between = 0
    readers = {
        name: [n for n in model.graph.node if name in n.input] for n in model.graph.node for name in n.output
    }
    for node in model.graph.node:
        if node.op_type == "Conv":
            after = readers[node.output[0]]
            if len(after) == 1 and after[0].op_type in ("Relu", "Clip"):
                after = readers[after[0].output[0]]
            between += [net.op_type for net in after] == ["QuantizeLinear"]
    converted = operators(convert(model))
    in_integers = [net for net in converted if net in {("CONV_2D", "INT8"), ("DEPTHWISE_CONV_2D", "INT8")}]
    assert len(in_integers) == between > 0


def test_layers_kept_in_float_stay_so(net, execute):
    model = net.proto
    kept = layer_names(model)[:2]
    mixed = insert_qdq(model, dict.fromkeys(quantized_inputs(model), 4.0), in_float=kept)
    converted, expected = run_litert(convert(mixed), net.images), execute(mixed, net.images, simulate=True)
    assert agreement(converted["logits"], expected["logits"], exact=False).sound
    stored = {net.name: net for net in schema.ModelT.InitFromPackedBuf(convert(mixed)).subgraphs[0].tensors}
    assert all(stored[name.encode()].type == schema.TensorType.FLOAT32 for name in kept)


@pytest.mark.parametrize("scale", [(0.5,), tuple(np.linspace(0.5, 1.5, 10)), tuple(np.eye(10).ravel() * 0.7)])
def test_a_calibration_is_converted_with_the_file(exported, execute, scale):
    net = exported("resnet20")
    model = int8(net.proto, Images(lambda count: net.images[:count]), images=32)
    raw = run_litert(convert(model), net.images)["logits"]
    affine = Affine(scale=scale, bias=tuple(np.linspace(-1, 1, 10)))
    fold(model, affine)
    np.testing.assert_allclose(run_litert(convert(model), net.images)["logits"], affine.apply(raw), atol=2e-5)


def graph(nodes, shape, stored=None, opset=20, kind=TensorProto.FLOAT):
    """A model images -> Cast -> x -> `nodes` -> y."""
    cast = helper.make_node("Cast", ["images"], ["x"], "cast", to=TensorProto.FLOAT)
    tensors = [numpy_helper.from_array(np.asarray(values), name) for name, values in (stored or {}).items()]
    built_graph = helper.make_graph(
        [cast, *nodes],
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", *shape])],
        [helper.make_tensor_value_info("y", kind, None)],
        tensors,
    )
    model = helper.make_model(built_graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(model)
    for output in inferred.graph.output:
        output.type.tensor_type.shape.dim[0].dim_param = "batch"
    return inferred


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


WEIGHT = {"w": random(4, 3, 3, 3)}


def check_agrees(model, execute, atol=1e-4):
    dims = model.graph.input[0].type.tensor_type.shape.dim[1:]
    shape = [dim.dim_value for dim in dims]
    images = np.random.default_rng(3).integers(0, 256, (3, *shape), dtype=np.uint8)
    expected = execute(model, images, simulate=True)["y"]
    converted = run_litert(convert(model), images)["y"]
    assert converted.shape == expected.shape
    np.testing.assert_allclose(converted, expected, atol=atol * max(1.0, np.abs(expected).max()))


CONVOLUTIONS = {
    "plain": ((6, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    "no padding": ((6, 3, 3, 3), {}),
    "stride, even": ((6, 3, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "more above than below": ((6, 3, 3, 3), {"pads": [2, 0, 1, 1]}),
    "dilated": ((6, 3, 3, 3), {"pads": [2, 2, 2, 2], "dilations": [2, 2]}),
    "flat kernel": ((6, 3, 1, 3), {"pads": [0, 1, 0, 1], "strides": [1, 2]}),
    "depthwise": ((3, 1, 3, 3), {"pads": [1, 1, 1, 1], "group": 3}),
    "depthwise, two each": ((6, 1, 3, 3), {"pads": [1, 1, 1, 1], "group": 3}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("size", [8, 9])
def test_convolutions(name, size, execute):
    shape, attributes = CONVOLUTIONS[name]
    conv = helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv", **attributes)
    check_agrees(graph([conv], (3, size, size + 1), {"w": random(*shape), "b": random(shape[0])}), execute)


def test_grouped_convolutions_and_no_bias(execute):
    first = helper.make_node("Conv", ["x", "w"], ["h"], "first")
    grouped = helper.make_node("Conv", ["h", "v"], ["y"], "grouped", group=3, pads=[1, 1, 1, 1])
    check_agrees(
        graph([first, grouped], (3, 8, 8), {"w": random(6, 3, 1, 1), "v": random(9, 2, 3, 3)}), execute
    )


@pytest.mark.parametrize("ends", [(0, 6), (0, 4), (-1, 1), (-3, 3), (None, 5), (1, None), (None, None)])
def test_clips_behind_layers_and_alone(ends, execute):
    stored = {"w": 0.01 * random(4, 3, 1, 1)}
    names = []
    for name, end in zip(("low", "high"), ends, strict=True):
        names.append("" if end is None else name)
        if end is not None:
            stored[name] = np.array(end, dtype=np.float32)
    behind = [
        helper.make_node("Conv", ["x", "w"], ["h"], "conv"),
        helper.make_node("Clip", ["h", *names], ["y"], "clip"),
    ]
    check_agrees(graph(behind, (3, 5, 5), stored), execute)
    shared = [
        *behind[:1],
        helper.make_node("Clip", ["h", *names], ["c"], "clip"),
        helper.make_node("Add", ["c", "h"], ["y"], "add"),
    ]
    check_agrees(graph(shared, (3, 5, 5), stored), execute)


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "count_include_pad": 1}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}),
        ("GlobalAveragePool", {}),
    ],
)
def test_pools_of_negative_numbers(kind, attributes, execute):
    nodes = [
        helper.make_node("Sub", ["x", "c"], ["h"], "below"),
        helper.make_node(kind, ["h"], ["y"], "pool", **attributes),
    ]
    check_agrees(graph(nodes, (3, 8, 9), {"c": np.array(300, dtype=np.float32)}), execute)


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Div", "Max", "Min"])
@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 1, 1), (1, 3, 1, 1), (1, 1, 4, 5)])
@pytest.mark.parametrize("turned", [False, True])
def test_arithmetic_with_stored_numbers(kind, shape, turned, execute):
    stored = {"c": np.abs(random(*shape)) + np.float32(1), "one": np.ones(1, dtype=np.float32)}
    operands = ["c", "h"] if turned else ["h", "c"]
    nodes = [
        helper.make_node("Add", ["x", "one"], ["h"], "above_zero"),
        helper.make_node(kind, operands, ["y"], "arithmetic"),
    ]
    check_agrees(graph(nodes, (3, 4, 5), stored), execute)


def test_arithmetic_between_values_that_lie_differently(execute):
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["f"], "reshape"),
        helper.make_node("Transpose", ["f"], ["t"], "transpose", perm=[0, 2, 1]),
        helper.make_node("Reshape", ["t", "back"], ["b"], "reshape_back"),
        helper.make_node("Mul", ["x", "b"], ["m"], "mul"),
        helper.make_node("Relu", ["m"], ["y"], "relu"),
    ]
    stored = {"flat": np.array([0, 3, 20]), "back": np.array([-1, 3, 4, 5])}
    check_agrees(graph(nodes, (3, 4, 5), stored), execute)


@given(data=st.data())
def test_any_reshapes_and_transposes(data, execute):
    """Whatever is split, joined and turned: memory moves only where it must, and values stay in place."""
    shape, nodes, stored, last = [1, 4, 6, 2], [], {}, "x"
    for step in range(data.draw(st.integers(1, 4))):
        name = f"v{step}"
        if data.draw(st.booleans()):
            order = data.draw(st.permutations(range(1, len(shape))))
            nodes.append(helper.make_node("Transpose", [last], [name], name, perm=[0, *order]))
            shape = [1, *(shape[axis] for axis in order)]
        else:
            shape = [
                1,
                *data.draw(st.sampled_from([(48,), (6, 8), (2, 2, 12), (4, 1, 12), (3, 2, 2, 4), (8, 6, 1)])),
            ]
            stored[f"s{step}"] = np.array(shape)
            nodes.append(helper.make_node("Reshape", [last, f"s{step}"], [name], name))
        last = name
    nodes.append(helper.make_node("Relu", [last], ["y"], "relu"))
    model = graph(nodes, (4, 6, 2), stored)
    image = np.arange(48, dtype=np.uint8).reshape(1, 4, 6, 2)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    np.testing.assert_array_equal(run_litert(convert(model), image)["y"], execute(model, image)["y"])


@pytest.mark.parametrize("keeps", [0, 1])
@pytest.mark.parametrize("axes", [[2, 3], [-1, -2], [1], [3]])
def test_means_and_what_follows_them(keeps, axes, execute):
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["m"], "mean", keepdims=keeps),
        helper.make_node("Flatten", ["m"], ["y"], "flatten"),
    ]
    check_agrees(graph(nodes, (3, 4, 5), {"axes": np.array(axes)}), execute)


def test_batch_normalisation_activations_and_parts(execute):
    nodes = [
        helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["n"], "norm"),
        helper.make_node("HardSwish", ["n"], ["s"], "swish"),
        helper.make_node("HardSigmoid", ["n"], ["h"], "hard", alpha=1 / 6, beta=0.5),
        helper.make_node("Sigmoid", ["n"], ["g1"], "sigmoid"),
        helper.make_node("Concat", ["s", "h", "g1"], ["c"], "concat", axis=1),
        helper.make_node("Split", ["c", "parts"], ["p", "q"], "split", axis=1),
        helper.make_node("Concat", ["q", "p"], ["y"], "swapped", axis=1),
    ]
    stored = {name: random(4) for name in "gbm"}
    stored.update(v=np.abs(random(4)) * 5000 + 1, parts=np.array([5, 7]))
    check_agrees(graph(nodes, (4, 5, 5), stored), execute)


def test_int8_with_dyadic_scales_is_exact(exported, execute):
    net = exported("mobilenet_v2")
    model = int8(net.proto, Images(lambda count: net.images[:count]), images=32, scales="dyadic")
    converted, expected = run_litert(convert(model), net.images), execute(model, net.images, simulate=True)
    gap = np.abs(converted["logits"] - expected["logits"]).max(1)
    assert (gap <= 1e-5).mean() >= 0.95


def test_an_operator_without_a_counterpart_is_named():
    nodes = [
        helper.make_node("Erf", ["x"], ["e"], "the_erf"),
        helper.make_node("Cos", ["e"], ["y"], "the_cosine"),
    ]
    with pytest.raises(StageFailed, match=r"Cos \('the_cosine'\), Erf \('the_erf'\)"):
        convert(graph(nodes, (3, 4, 4)))


def test_branches_are_named():
    nodes = [
        helper.make_node("If", ["always"], ["e"], "decides", **negating("x")),
        helper.make_node("Neg", ["e"], ["y"]),
    ]
    with pytest.raises(StageFailed, match=r"no counterpart for If \('decides'\)"):
        convert(graph(nodes, (3, 4, 4), {"always": np.array(True)}))


@pytest.mark.parametrize(
    ("node", "stored", "reason"),
    [
        (helper.make_node("Conv", ["x", "x"], ["y"], "c"), {}, "weights are computed"),
        (helper.make_node("Conv", ["x", "w"], ["y"], "c", auto_pad="SAME_UPPER"), WEIGHT, "automatic"),
        (helper.make_node("MaxPool", ["x"], ["y"], "p", kernel_shape=[2, 2], ceil_mode=1), {}, "plain"),
        (helper.make_node("AveragePool", ["x"], ["y"], "p", kernel_shape=[3, 3], pads=[1] * 4), {}, "mean"),
        (helper.make_node("HardSigmoid", ["x"], ["y"], "h"), {}, "alpha is 0.2"),
        (helper.make_node("Softmax", ["x"], ["y"], "s", axis=1), {}, "classes"),
        (helper.make_node("Gather", ["x", "i"], ["y"], "g", axis=1), {"i": np.array([1, 0])}, "parts"),
        (helper.make_node("Cast", ["x"], ["y"], "i", to=TensorProto.INT64), {}, "not float"),
    ],
    ids=lambda net: net.op_type if isinstance(net, onnx.NodeProto) else "",
)  # fmt: skip
def test_an_unsupported_form_of_an_operator_is_refused(node, stored, reason):
    kind = TensorProto.INT64 if node.op_type == "Cast" else TensorProto.FLOAT
    with pytest.raises(StageFailed, match=f"{node.op_type} '{node.name}' cannot be converted: .*{reason}"):
        convert(graph([node], (3, 4, 4), stored, kind=kind))


def test_the_file_derived_for_another_runtime_is_refused(exported):
    net = exported("resnet20")
    derived = derive_for_cpu(int8(net.proto, Images(lambda count: net.images[:count]), images=32))
    with pytest.raises(StageFailed, match="not symmetric int8"):
        convert(derived)


def test_numbers_lie_at_multiples_of_16_bytes_and_the_file_is_the_same_each_time(exported):
    proto = exported("resnet20").proto
    content = convert(proto)
    assert content == convert(proto)
    model = schema.Model.GetRootAs(content, 0)
    first = np.frombuffer(content, np.uint8)
    for index in range(model.BuffersLength()):
        if not model.Buffers(index).DataIsNone():
            data = model.Buffers(index).DataAsNumpy()
            assert (data.ctypes.data - first.ctypes.data) % 16 == 0


def test_without_the_package_the_extra_is_named(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.schema_py_generated", None)
    with pytest.raises(EnvironmentProblem, match="ai-edge-litert") as refused:
        convert(exported("resnet20").proto)
    assert refused.value.exit_code == 6
    assert "calkd-edge[litert]" in refused.value.remedy


def test_agreement_sees_a_scale_a_swap_and_a_hole():
    expected = np.random.default_rng(0).normal(0, 3, (200, 10)).astype(np.float32)
    assert agreement(expected + 1e-5, expected, exact=True).sound
    assert not agreement(expected + 1e-2, expected, exact=True).sound
    noise = np.random.default_rng(1).normal(0, 0.02, expected.shape)
    near = agreement(expected + noise, expected, exact=False)
    assert near.sound
    assert near.near_ties > 0
    assert not agreement(1.1 * expected, expected, exact=False).sound
    swapped = expected.copy()
    swapped[:10] = swapped[:10, ::-1]
    assert not agreement(swapped, expected, exact=False).sound
    holed = expected.copy()
    holed[3, 4] = np.nan
    assert not agreement(holed, expected, exact=False).sound
