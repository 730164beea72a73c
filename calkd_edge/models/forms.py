"""Which form of an architecture suits an image size."""

from __future__ import annotations

from typing import Literal

Form = Literal["auto", "cifar", "imagenet"]
ImageShape = tuple[int, int, int]

SMALL_IMAGE = 64
"""Up to this side length in pixels `auto` takes the CIFAR form: half the total stride, or less."""


def is_cifar(form: Form, image_shape: ImageShape) -> bool:
    """Whether the CIFAR form is meant, for images of [3, H, W]."""
    return form == "cifar" or (form == "auto" and min(image_shape[1:]) <= SMALL_IMAGE)
