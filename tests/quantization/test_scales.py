"""Scales of int8: dyadic ones leave float32 nothing to round."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from calkd_edge.quantization.cpu import derive_for_cpu
from calkd_edge.quantization.int8 import int8
from calkd_edge.quantization.scales import LARGEST, activation_scale, on_grid, weight_scales
from calkd_edge.quantization.source import Images

VALUES = st.floats(-100, 100, width=32)
WEIGHTS = arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 40)), elements=VALUES)


def digits(value: float) -> int:
    """Binary digits of a number, from its first to its last one that is not 0."""
    numerator = float(value).as_integer_ratio()[0]
    return (abs(numerator) // (numerator & -numerator)).bit_length() if numerator else 0


@given(st.floats(1e-6, 1e6))
def test_a_dyadic_activation_scale_is_a_power_of_two_near_the_free_one(limit):
    free, dyadic = activation_scale(limit, "free"), activation_scale(limit, "dyadic")
    assert digits(dyadic) == 1
    assert 0.9 * free <= dyadic <= 1.81 * free


@given(WEIGHTS, st.floats(1e-4, 10))
def test_every_sum_of_a_channel_is_exact_in_float32_in_any_order(weight, limit):
    of_activation = activation_scale(limit, "dyadic")
    scale = weight_scales(weight, None, of_activation, "dyadic")
    assert (scale * LARGEST >= np.abs(weight).max(1) * (1 - 1e-6)).all()
    integers = np.clip(np.rint(weight / scale[:, None].astype(np.float64)), -127, 127)
    generator = np.random.default_rng(0)
    x = generator.integers(-128, 128, weight.shape[1])
    exact = (integers * x).sum(1) * scale.astype(np.float64) * of_activation
    products = (integers * scale[:, None]).astype(np.float32) * (x * of_activation).astype(np.float32)
    for _ in range(3):
        order = generator.permutation(weight.shape[1])
        total = np.zeros(len(weight), dtype=np.float32)
        for index in order:
            total = total + products[:, index]
        assert total.dtype == np.float32
        assert (total.astype(np.float64) == exact).all()


@given(WEIGHTS)
def test_dyadic_weight_scales_are_hardly_wider_than_free_ones(weight):
    free, dyadic = (weight_scales(weight, None, 1.0, kind) for kind in ("free", "dyadic"))
    assert (dyadic >= free * (1 - 1e-6)).all()
    assert (dyadic <= free * 1.2).all()  # forty weights leave several digits


def test_a_bias_stands_on_the_grid_where_it_can():
    scale = np.array([0.5, 0.25, 2.0**-40], dtype=np.float32)
    moved = on_grid(np.array([1.3, -0.7, 5.0], dtype=np.float32), 0.125, scale)
    assert moved.tolist() == [1.3125, -0.6875, 5.0]


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet8"])
def test_a_file_with_dyadic_scales_answers_alike_however_it_is_run(name, exported, execute):
    """Exact sums: the simulation in float and the integer kernels give one answer, to the last bit."""
    net = exported(name)
    model = int8(net.proto, Images(lambda count: net.images[:count]), scales="dyadic")
    simulated = execute(model, net.images, simulate=True)["logits"]
    executed = execute(derive_for_cpu(model), net.images)["logits"]
    np.testing.assert_allclose(executed, simulated, rtol=0, atol=1e-6 * np.abs(simulated).max())
    assert np.abs(simulated - net.reference).max() > 1e-4  # int8 does move them
