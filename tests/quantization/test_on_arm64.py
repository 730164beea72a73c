"""Both int8 files on x86 and on an emulated arm64 machine, by the agent, on real images: the same answers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from calkd_edge.data.fashion_mnist import FashionMnistSmall
from calkd_edge.devices.local import Local
from calkd_edge.devices.session import Session
from calkd_edge.quantization.cpu import derive_for_cpu
from calkd_edge.quantization.int8 import int8
from calkd_edge.quantization.source import Images

IMAGES = 64
SIMULATED, EXECUTED = 1e-5, 1e-3
"""Largest differences of a logit: between machines without optimization, and of int8 kernels to that."""

NETS = [pytest.param("mobilenet_v2", marks=pytest.mark.slow), "shufflenet_v2"]
"""The quick tests run MobileNetV2 on the emulated board of end_to_end."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Fashion-MNIST test images, uint8 [64, 3, 32, 32], and as many others for ranges."""
    source = FashionMnistSmall(None).open(tmp_path_factory.mktemp("data"), lambda done, total: None)
    tests, trains = (np.flatnonzero(source.official_test == part)[:IMAGES] for part in (True, False))
    return tuple(np.stack([source.decode(int(row)) for row in rows]) for rows in (tests, trains))


def write(proto, pictures, folder):
    """The canonical file, the one derived from it, and the images on disk."""
    canonical = int8(proto, Images(lambda count: pictures[1][:count]), scales="dyadic")
    onnx.save(canonical, folder / "model.int8.onnx")
    onnx.save(derive_for_cpu(canonical), folder / "model.int8.cpu.onnx")
    np.save(folder / "images.npy", pictures[0])
    return folder


def run_agent(folder, file, machine, arm64, **options):
    """The logits of a file on a machine."""
    device = Local(machine)
    device.python = str(arm64) if machine == "arm64" else device.python
    with Session(device) as session:
        facts = session.probe()
        assert (facts.machine == "aarch64") == facts.emulated == (machine == "arm64")
        path, images = folder / file, folder / "images.npy"
        return session.predict(path, images, runtime="onnxruntime", options=options)[0]["logits"]


@pytest.fixture(scope="module", params=NETS)
def logits_of(request, exported, pictures, arm64, tmp_path_factory):
    """logits_of(file, machine, **options): logits, computed once."""
    folder = write(exported(request.param).proto, pictures, tmp_path_factory.mktemp("files"))
    known = {}

    def once(file, machine, **options):
        key = (file, machine, str(options))
        if key not in known:
            known[key] = run_agent(folder, file, machine, arm64, **options)
        return known[key]

    return once


@pytest.mark.parametrize("file", ["model.int8.onnx", "model.int8.cpu.onnx"])
def test_without_optimization_both_machines_agree(logits_of, file):
    here, on_arm64 = (logits_of(file, machine, optimization="none") for machine in ("x86", "arm64"))
    assert len(here) == IMAGES
    np.testing.assert_allclose(on_arm64, here, rtol=0, atol=SIMULATED)


def test_the_derived_file_agrees_with_the_canonical_file(logits_of):
    canonical, derived = (
        logits_of(file, "x86", optimization="none") for file in ("model.int8.onnx", "model.int8.cpu.onnx")
    )
    np.testing.assert_allclose(derived, canonical, rtol=0, atol=SIMULATED)


def test_executed_both_machines_agree(logits_of):
    here, on_arm64 = (logits_of("model.int8.cpu.onnx", machine) for machine in ("x86", "arm64"))
    np.testing.assert_allclose(on_arm64, here, rtol=0, atol=SIMULATED)


@pytest.mark.parametrize("machine", ["x86", "arm64"])
def test_executed_the_derived_file_equals_its_simulation(logits_of, machine):
    file = "model.int8.cpu.onnx"
    executed = logits_of(file, machine)
    np.testing.assert_allclose(executed, logits_of(file, machine, optimization="none"), rtol=0, atol=EXECUTED)


@pytest.mark.parametrize("machine", ["x86", "arm64"])
def test_executed_the_canonical_file_is_its_simulation_where_biases_are_left_alone(logits_of, machine):
    file = "model.int8.onnx"
    executed = logits_of(file, machine, disabled_optimizers=["WeightBiasQuantization"])
    np.testing.assert_allclose(executed, logits_of(file, machine, optimization="none"), rtol=0, atol=EXECUTED)


@pytest.mark.slow
def test_where_a_mean_stays_in_float_a_few_images_round_to_the_other_side(
    exported, pictures, arm64, tmp_path
):
    """MobileNetV3's squeeze-and-excitation: its means are sums of floats, and their order differs."""
    folder = write(exported("mobilenet_v3_small").proto, pictures, tmp_path)
    here, on_arm64 = (
        run_agent(folder, "model.int8.cpu.onnx", machine, arm64) for machine in ("x86", "arm64")
    )
    apart = np.abs(on_arm64 - here).max(1)
    assert (apart <= SIMULATED).mean() >= 0.95
    assert apart.max() < 0.01 * np.abs(here).max()
