"""Canonical int8: every rule that TensorRT has for explicit quantization, node by node; ranges by numpy."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from single_layer import single_layer

from calkd_edge.onnx_model.graph import GraphView, attribute, copy_of
from calkd_edge.quantization import QUANTIZERS
from calkd_edge.quantization.int8 import int8
from calkd_edge.quantization.magnitudes import BINS
from calkd_edge.quantization.placement import insert_qdq, quantized_inputs
from calkd_edge.quantization.ranges import activation_ranges
from calkd_edge.quantization.source import Images

NETS = [
    "resnet20",
    "mobilenet_v2",
    pytest.param("shufflenet_v2", marks=pytest.mark.slow),
    pytest.param("mobilenet_v3_small", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=NETS)
def net(request, exported):
    return exported(request.param)


@pytest.fixture(scope="module")
def canonical(net):
    return int8(net.proto, Images(lambda count: net.images[:count]), images=48, scales="free", equalise=False)


def heavy(model):
    return [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]


def test_file_is_legal_at_opset_20(canonical):
    onnx.checker.check_model(canonical, full_check=True)
    assert {entry.domain: entry.version for entry in canonical.opset_import} == {"": 20}


def test_every_conv_and_gemm_reads_its_activation_through_one_symmetric_scale(canonical):
    view = GraphView.of(canonical)
    for node in heavy(canonical):
        dequantize = view.producer[node.input[0]]
        quantize = view.producer[dequantize.input[0]]
        assert (quantize.op_type, dequantize.op_type) == ("QuantizeLinear", "DequantizeLinear")
        for pair in (quantize, dequantize):
            scale, zero = view.array(pair.input[1]), view.array(pair.input[2])
            assert scale.shape == zero.shape == ()
            assert np.isfinite(scale)
            assert scale > 0
            assert zero.dtype == np.int8
            assert zero == 0
        assert quantize.input[1:] == dequantize.input[1:]


def test_every_weight_is_stored_int8_with_a_scale_for_each_output_channel(canonical):
    view = GraphView.of(canonical)
    for node in heavy(canonical):
        dequantize = view.producer[node.input[1]]
        assert dequantize.op_type == "DequantizeLinear"
        assert attribute(dequantize, "axis", None) == 0
        weight, scale, zero = (view.array(name) for name in dequantize.input)
        assert weight.dtype == zero.dtype == np.int8
        assert weight.min() >= -127
        assert scale.shape == zero.shape == (len(weight),)
        assert (scale > 0).all()
        assert not zero.any()
        if node.op_type == "Gemm":
            assert attribute(node, "transB", 0) == 1


def test_biases_stay_float(canonical):
    view = GraphView.of(canonical)
    for node in heavy(canonical):
        if len(node.input) > 2:
            assert view.array(node.input[2]).dtype == np.float32


def test_nothing_else_is_quantized_and_nothing_is_uint8(canonical):
    view = GraphView.of(canonical)
    readers = {node.name for node in heavy(canonical)}
    for node in canonical.graph.node:
        if node.op_type == "DequantizeLinear":
            assert {reader.name for reader in view.consumers[node.output[0]]} <= readers
        if node.op_type == "QuantizeLinear":
            assert {reader.op_type for reader in view.consumers[node.output[0]]} == {"DequantizeLinear"}
    kinds = {tensor.data_type for tensor in canonical.graph.initializer}
    assert kinds <= {TensorProto.FLOAT, TensorProto.INT8, TensorProto.INT64}


def test_no_quantization_stands_between_a_convolution_and_its_activation(canonical):
    view = GraphView.of(canonical)
    for node in canonical.graph.node:
        if node.op_type in ("Relu", "Clip", "HardSwish"):
            assert view.producer[node.input[0]].op_type != "DequantizeLinear"


def test_stored_weights_are_the_rounded_ones(net, canonical):
    view, original = GraphView.of(canonical), GraphView.of(net.proto)
    for node, before in zip(heavy(canonical), heavy(net.proto), strict=True):
        weight, scale, _ = (view.array(name) for name in view.producer[node.input[1]].input)
        weight_values = original.array(before.input[1])
        column = scale.reshape(-1, *[1] * (weight.ndim - 1))
        assert np.abs(weight * column - weight_values).max() <= 0.5001 * scale.max()
        np.testing.assert_allclose(
            np.abs(weight_values).reshape(len(scale), -1).max(1) / 127, scale, rtol=1e-6
        )


def test_input_is_left_alone(net, canonical):
    assert canonical.graph.input == net.proto.graph.input
    assert "QuantizeLinear" not in {node.op_type for node in net.proto.graph.node}


def test_quantized_net_resembles_the_float_one(net, canonical, execute):
    result = execute(canonical, net.images, simulate=True)["logits"]
    correlation = np.corrcoef(result.ravel(), net.reference.ravel())[0, 1]
    assert correlation > 0.9


def test_same_images_give_the_same_bytes(net, canonical):
    again = int8(
        net.proto, Images(lambda count: net.images[:count]), images=48, scales="free", equalise=False
    )
    assert again.SerializeToString(deterministic=True) == canonical.SerializeToString(deterministic=True)


def test_dead_channel_keeps_a_positive_scale(execute):
    weight = np.random.default_rng(0).normal(size=(3, 2, 1, 1)).astype(np.float32)
    weight[1] = 0
    model = single_layer(weight, np.array([0.0, 0.5, 1.0], np.float32))
    quantized = insert_qdq(model, {"h": 3.0})
    view = GraphView.of(quantized)
    integers, scale, _ = (view.array(n) for n in view.producer[heavy(quantized)[0].input[1]].input)
    assert (scale > 0).all()
    assert not integers[1].any()
    images = np.random.default_rng(1).normal(size=(5, 2, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(execute(quantized, images, simulate=True)["logits"][:, 1], 0.5)


def test_untransposed_gemm_is_turned(execute):
    weight = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    model = single_layer(weight, np.zeros(3, np.float32))
    quantized = insert_qdq(model, {"h": 4.0})
    images = np.random.default_rng(1).uniform(-4, 4, (50, 6)).astype(np.float32)
    gap = execute(quantized, images, simulate=True)["logits"] - execute(model, images)["logits"]
    assert np.abs(gap).max() < 0.1
    assert attribute(heavy(quantized)[0], "transB", 0) == 1


def test_an_activation_read_twice_is_quantized_once(net, canonical):
    activations = quantized_inputs(net.proto)
    assert len(activations) == len(set(activations))
    count = sum(node.op_type == "QuantizeLinear" for node in canonical.graph.node)
    assert count == len(activations)


# Ranges


@pytest.fixture(scope="module")
def collected(exported):
    """Some activations of ResNet-20 on the images, by a session of the test's own."""
    net = exported("resnet20")
    names = quantized_inputs(net.proto)[:3] + quantized_inputs(net.proto)[-1:]
    shown = copy_of(net.proto)
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
    return net, dict(zip(names, session.run(names, {"images": net.images}), strict=True))


def collected_ranges(collected, method):
    net, values = collected
    # 100 images: more than one run of the session, and the last one not full.
    images = np.concatenate([net.images, net.images[:36]])
    return activation_ranges(net.proto, list(values), images, method)


def test_min_max_is_the_largest_magnitude(collected):
    for name, limit in collected_ranges(collected, "min_max").items():
        assert limit == pytest.approx(np.abs(collected[1][name]).max(), rel=1e-5)


def test_percentile_is_numpys_to_a_bin(collected):
    net, values = collected
    for name, limit in collected_ranges(collected, "percentile").items():
        magnitudes = np.abs(np.concatenate([values[name], values[name][:36]])).ravel()
        expected = np.quantile(magnitudes, 0.9999, method="inverted_cdf")
        assert abs(limit - expected) <= 1.01 * magnitudes.max() / BINS
        assert (magnitudes > limit).mean() <= 1e-4


def squared_error(values, limit) -> float:
    step = limit / 127
    return float(((values - np.clip(np.rint(values / step), -127, 127) * step) ** 2).mean())


def test_mse_is_the_best_of_a_scan_and_never_worse_than_min_max(collected):
    net, values = collected
    best, widest = collected_ranges(collected, "mse"), collected_ranges(collected, "min_max")
    for name, activations in values.items():
        activations = np.concatenate([activations, activations[:36]]).astype(np.float64)
        result = squared_error(activations, best[name])
        scanned = [squared_error(activations, widest[name] * share) for share in np.linspace(0.2, 1, 81)]
        assert result <= scanned[-1] * (1 + 1e-9)
        assert result <= min(scanned) * 1.02


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["normal", "laplace", "uniform", "outlier"]))
def test_mse_is_never_worse_than_min_max_on_any_law(seed, law):
    from calkd_edge.quantization.magnitudes import _least_squares

    generator = np.random.default_rng(seed)
    values = getattr(generator, law)(size=20_000) if law != "outlier" else generator.normal(size=20_000)
    values[0] = 60.0 if law == "outlier" else values[0]
    largest = float(np.abs(values).max())
    counts = np.histogram(np.abs(values), bins=BINS, range=(0, largest))[0]
    assert squared_error(values, _least_squares(counts, largest)) <= squared_error(values, largest) * 1.001


def divergence_of(counts, limit, levels=128):
    """The same, bin by bin, as one would write it down."""
    reference = [float(count) for count in counts[:limit]]
    reference[-1] += float(sum(counts[limit:]))
    quantized_shares = [0.0] * limit
    for level in range(levels):
        bins = [index for index in range(limit) if index * levels // limit == level and counts[index] > 0]
        for index in bins:
            quantized_shares[index] = sum(float(counts[level]) for level in bins) / len(bins)
    p, q = (np.array(values) / sum(values) for values in (reference, quantized_shares))
    return sum(a * np.log(a / max(b, 1e-12)) for a, b in zip(p, q, strict=True) if a > 0)


@pytest.mark.parametrize("limit", [128, 200, 1000, 2048])
def test_entropy_is_the_divergence_of_its_formula(limit):
    from calkd_edge.quantization.magnitudes import _divergence

    values = np.abs(np.random.default_rng(limit).standard_t(3, 50_000))
    counts = np.histogram(values, bins=BINS, range=(0, values.max()))[0].astype(float)
    assert _divergence(counts, limit) == pytest.approx(divergence_of(counts, limit), rel=1e-9)


def test_entropy_clips_what_is_rare_and_far_and_nothing_else():
    from calkd_edge.quantization.magnitudes import _least_divergence

    generator = np.random.default_rng(0)
    even = np.histogram(generator.random(200_000), bins=BINS, range=(0, 1))[0]
    assert _least_divergence(even, 1.0) > 0.98
    normal = np.abs(np.append(generator.normal(size=200_000), 40.0))
    far = np.histogram(normal, bins=BINS, range=(0, 40.0))[0]
    assert 2.5 < _least_divergence(far, 40.0) < 6.0
    zeros = far.copy()
    zeros[0] = 10_000_000
    assert _least_divergence(zeros, 40.0) == pytest.approx(_least_divergence(far, 40.0), rel=0.2)


def test_entropy_clips_no_more_than_its_share_where_most_values_are_alike():
    """As in images with a constant background: without the bound it clips a third of the other values."""
    from calkd_edge.quantization.magnitudes import MOST_CLIPPED, _least_divergence

    generator = np.random.default_rng(0)
    others = np.abs(generator.normal(scale=1.5, size=100_000))
    alike = generator.normal(0.2, 0.003, size=90_000)
    values = np.append(others, alike)
    counts = np.histogram(values, bins=BINS, range=(0, values.max()))[0]
    assert (values > _least_divergence(counts, values.max())).mean() <= MOST_CLIPPED


def test_activation_of_zeros_gets_a_usable_range():
    model = single_layer(np.ones((1, 2, 1, 1), np.float32), np.zeros(1, np.float32))
    blank = np.zeros((3, 2, 4, 4), np.float32)
    for method in ("min_max", "percentile", "mse", "entropy"):
        assert 0 < activation_ranges(model, ["h"], blank, method)["h"] <= 1.0


def test_range_of_the_graphs_own_input_is_refused():
    model = single_layer(np.ones((1, 2, 1, 1), np.float32), np.zeros(1, np.float32))
    with pytest.raises(ValueError, match="graph's input"):
        activation_ranges(model, ["x"], np.zeros((1, 2, 4, 4), np.float32), "min_max")


# The registry


@pytest.mark.parametrize("name", list(QUANTIZERS))
def test_every_precision_is_documented(name):
    described = QUANTIZERS.describe(name)
    assert described["summary"].endswith(".")
    QUANTIZERS.settings(name, {}, where="test")


@pytest.mark.parametrize("wrong", [{"images": 0}, {"ranges": "widest"}, {"image": 5}])
def test_settings_out_of_bounds_are_refused(wrong):
    from calkd_edge.errors import RecipeError

    with pytest.raises(RecipeError, match="recipe: precisions"):
        QUANTIZERS.settings("int8", wrong, where="recipe: precisions")
