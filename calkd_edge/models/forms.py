"""The form of an architecture that suits an image size."""

from __future__ import annotations

from typing import Literal

Form = Literal["auto", "cifar", "imagenet"]
ImageShape = tuple[int, int, int]

SMALL_IMAGE = 64
"""Up to this side length in pixels, `auto` means the CIFAR form: half the total stride, or less."""


def is_cifar(form: Form, image_shape: ImageShape) -> bool:
    """Whether `form` means the CIFAR form for images of [3, H, W]."""
    return form == "cifar" or (form == "auto" and min(image_shape[1:]) <= SMALL_IMAGE)
