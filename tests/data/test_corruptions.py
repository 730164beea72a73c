"""Corrupted images: each corruption by hand and against Pillow and scipy."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from scipy import ndimage

from calkd_edge.data.corruptions import NAMES, SEVERITIES, corrupted, strength


@pytest.fixture(scope="module")
def images():
    """Smooth colours with edges, 40 of them."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, size=(40, 3, 8, 8))
    return coarse.repeat(4, axis=2).repeat(4, axis=3).astype(np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_every_corruption_keeps_shape_and_input_and_grows_with_severity(images, name):
    before = images.copy()
    distance = []
    for severity in SEVERITIES:
        result = corrupted(images, name, severity, seed=1)
        assert result.shape == images.shape
        assert result.dtype == np.uint8
        distance.append(np.abs(result.astype(int) - images).mean())
    np.testing.assert_array_equal(images, before)
    assert 0 < distance[0] < distance[1] < distance[2]


@pytest.mark.parametrize("name", NAMES)
def test_a_subset_is_corrupted_as_in_the_full_set_except_for_noise(images, name):
    complete, part = corrupted(images, name, 2, seed=1), corrupted(images[:7], name, 2, seed=1)
    np.testing.assert_array_equal(complete[:7], part)
    again = corrupted(images, name, 2, seed=1)
    np.testing.assert_array_equal(complete, again)


def test_brightness_adds_to_the_value_and_keeps_hue_and_saturation():
    pixel = np.array([[60, 30, 90]], np.uint8).reshape(1, 3, 1, 1)
    result = corrupted(pixel, "brightness", 2, seed=0).reshape(3) / 255
    hue, saturation, value = colorsys.rgb_to_hsv(*(pixel.reshape(3) / 255))
    expected = colorsys.hsv_to_rgb(hue, saturation, value + 0.15)
    np.testing.assert_allclose(result, expected, atol=0.5 / 255 + 1e-6)
    black = np.zeros((1, 3, 1, 1), np.uint8)
    assert corrupted(black, "brightness", 3, seed=0).reshape(3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("severity", SEVERITIES)
def test_blur_is_scipys_gaussian(images, severity):
    deviation = strength("blur", severity, 32)
    expected = ndimage.gaussian_filter(
        images.astype(float), (0, 0, deviation, deviation), mode="nearest", truncate=4
    )
    result = corrupted(images, "blur", severity, seed=0)
    assert np.abs(result - expected).max() <= 0.51


def test_noise_has_its_standard_deviation_and_depends_on_the_seed():
    grey = np.full((20, 3, 32, 32), 128, np.uint8)
    result = corrupted(grey, "noise", 2, seed=5)
    assert result.astype(float).std() == pytest.approx(255 * 0.08, rel=0.02)
    assert result.astype(float).mean() == pytest.approx(128, abs=0.5)
    assert (result != corrupted(grey, "noise", 2, seed=6)).mean() > 0.9


def test_large_images_get_the_strengths_of_large_images():
    assert strength("jpeg", 1, 32) == 80
    assert strength("jpeg", 1, 224) == 25
    assert strength("blur", 3, 224) == 6.0


@pytest.mark.parametrize(("name", "severity"), [("fog", 1), ("blur", 0), ("blur", 4)])
def test_an_unknown_corruption_is_refused(images, name, severity):
    with pytest.raises(ValueError, match="brightness, blur, noise, jpeg"):
        corrupted(images, name, severity, seed=0)
