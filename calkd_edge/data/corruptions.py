"""Corrupted images: brighter, blurred, noisy or compressed, in three severities.

Confidence is calibrated for images like those of the calibration split. Corrupted images show how well it
holds for others.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calkd_edge.data.source import ImageArray

SEVERITIES = (1, 2, 3)
SMALL_PIXELS = 64
"""Up to this height, the strengths for small images apply."""

_CHUNK = 256
Floats = NDArray[np.float32]

_STRENGTHS = {
    "brightness": ((0.05, 0.15, 0.3), (0.1, 0.3, 0.5)),
    "blur": ((0.4, 0.7, 1.0), (1.0, 3.0, 6.0)),
    "noise": ((0.04, 0.08, 0.10), (0.08, 0.18, 0.38)),
    "jpeg": ((80, 58, 40), (25, 15, 7)),
}
"""Strengths of levels 1, 3 and 5: those of CIFAR-10-C for small images, of ImageNet-C for larger images."""

NAMES = tuple(_STRENGTHS)


def strength(name: str, severity: int, height: int) -> float:
    """The added brightness, the blur's or the noise's standard deviation, or the JPEG quality.

    Source: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations", ICLR 2019 (arXiv 1903.12261): levels 1, 3 and 5.
    """
    return _STRENGTHS[name][0 if height <= SMALL_PIXELS else 1][severity - 1]


def corrupted(images: ImageArray, name: str, severity: int, *, seed: int) -> ImageArray:
    """Corrupted copies of uint8 images [N, 3, H, W].

    Args:
        images: may be a memory-mapped array; it is read in chunks.
        name: one of NAMES.
        severity: 1, 2 or 3.
        seed: of the noise.

    Raises:
        ValueError: the name or the severity is unknown.
    """
    if name not in _STRENGTHS or severity not in SEVERITIES:
        raise ValueError(f"there is no corruption '{name}' of severity {severity}; valid: {', '.join(NAMES)}")
    amount = strength(name, severity, images.shape[2])
    generator = np.random.default_rng([seed, NAMES.index(name), severity])
    change = _CHANGES[name]
    parts = [
        change(np.asarray(images[start : start + _CHUNK]), amount, generator)
        for start in range(0, len(images), _CHUNK)
    ]
    return np.concatenate(parts)


def _rounded(values: Floats) -> ImageArray:
    return np.rint(np.clip(values, 0.0, 255.0)).astype(np.uint8)


def _brightness(images: ImageArray, amount: float, generator: np.random.Generator) -> ImageArray:
    """Increase the value in the HSV colour space; hue and saturation stay, and so does pure black.

    Black is a background that was cut out or a bar beside a photo: where it turned grey, every image of a set
    such as Fashion-MNIST would become one of another set.
    """
    pixels = images.astype(np.float32)
    value = pixels.max(axis=1, keepdims=True)
    brighter = np.minimum(value + 255 * amount, 255.0)
    scale = np.divide(brighter, value, out=np.zeros_like(value), where=value > 0)
    return _rounded(pixels * scale)


def _blur(images: ImageArray, deviation: float, generator: np.random.Generator) -> ImageArray:
    """A Gaussian filter over four standard deviations, with repeated edges."""
    reach = max(1, int(np.ceil(4 * deviation)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2).astype(np.float32)
    kernel /= kernel.sum()
    pixels = images.astype(np.float32)
    for axis in (2, 3):
        pad = [(reach, reach) if at == axis else (0, 0) for at in range(4)]
        wide = np.pad(pixels, pad, mode="edge")
        size = pixels.shape[axis]
        pixels = np.zeros_like(pixels)
        for at, weight in enumerate(kernel):
            pixels += weight * np.take(wide, range(at, at + size), axis=axis)
    return _rounded(pixels)


def _noise(images: ImageArray, deviation: float, generator: np.random.Generator) -> ImageArray:
    drawn = generator.standard_normal(images.shape, dtype=np.float32)
    return _rounded(images + np.float32(255 * deviation) * drawn)


def _jpeg(images: ImageArray, quality: float, generator: np.random.Generator) -> ImageArray:
    out = np.empty_like(images)
    for row, image in enumerate(images):
        stream = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(stream, format="JPEG", quality=int(quality))
        out[row] = np.asarray(Image.open(stream)).transpose(2, 0, 1)
    return out


_CHANGES: dict[str, Callable[[ImageArray, float, np.random.Generator], ImageArray]] = {
    "brightness": _brightness,
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
}
