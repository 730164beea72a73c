"""Synthetic images that a small model learns in seconds, for a trial of all stages without data."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from calkd_edge.data.source import ImageArray, ImageShape, Outline, Progress, Source, balanced
from calkd_edge.records import Count

VERSION = 1
"""Increased when the same settings give other pixels."""


class Synthetic:
    """Computed gratings whose direction, width and colour depend on the class, with random phase and noise.

    Args:
        root: not read; every image is computed.
        classes: number of classes.
        images_per_class: training images of each class.
        test_images_per_class: test images of each class; with 0, `prepare` splits a test part off.
        image_size: edge of the square images in pixels.
        noise: standard deviation of the noise, as a fraction of the range of a pixel.
        seed: each seed gives other images of the same classes.
    """

    def __init__(
        self,
        root: Path | None,
        *,
        classes: Annotated[int, Field(ge=2, le=100)] = 10,
        images_per_class: Annotated[int, Field(ge=2, le=100_000)] = 60,
        test_images_per_class: Annotated[int, Field(ge=0, le=100_000)] = 30,
        image_size: Annotated[int, Field(ge=8, le=512)] = 32,
        noise: Annotated[float, Field(ge=0, le=1)] = 0.2,
        seed: Annotated[Count, Field(ge=0)] = 0,
    ) -> None:
        del root
        self.classes = classes
        self.parts = (images_per_class, test_images_per_class)
        self.image_size = image_size
        self.noise = noise
        self.seed = seed

    def identity(self) -> str:
        """SHA-256 of the settings."""
        settings = [VERSION, self.classes, *self.parts, self.image_size, self.noise, self.seed]
        return f"synthetic:sha256:{hashlib.sha256(json.dumps(settings).encode()).hexdigest()}"

    def size(self) -> tuple[int, ImageShape]:
        """Training and test images of all classes."""
        return self.classes * sum(self.parts), (3, self.image_size, self.image_size)

    def outline(self) -> Outline:
        """Training images, ordered by class, then test images."""
        return balanced([f"grating_{label:02d}" for label in range(self.classes)], *self.parts)

    def open(self, scratch: Path, progress: Progress) -> Source:
        """Training images, ordered by class, then test images."""
        outline = self.outline()
        labels, train_images = outline.labels, self.classes * self.parts[0]

        def name_of(index: int) -> str:
            return f"train/{index}" if index < train_images else f"test/{index - train_images}"

        return Source(
            labels=labels,
            official_test=outline.official_test,
            classes=outline.classes,
            image_shape=(3, self.image_size, self.image_size),
            decode=lambda index: self._image(index, int(labels[index])),
            name_of=name_of,
            license="none needed: the images are computed",
            input_note=f"{self.image_size}x{self.image_size} RGB, as computed",
            shape_note="computed from the settings",
        )

    def _image(self, index: int, label: int) -> ImageArray:
        """The image at `index`: uint8 [3, S, S]."""
        draw = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, index])))
        angle = np.pi * label / self.classes
        period = self.image_size / (2.0 + label % 3)
        down, right = np.mgrid[: self.image_size, : self.image_size]
        along = right * np.cos(angle) + down * np.sin(angle)
        wave = np.sin(2 * np.pi * (along / period + draw.random()))
        tint = np.cos(2 * np.pi * (label / self.classes + np.arange(3) / 3))
        clean = 0.5 + 0.25 * wave[None] * (1.0 + 0.5 * tint[:, None, None]) + 0.1 * tint[:, None, None]
        noisy = clean + self.noise * draw.standard_normal(clean.shape)
        image: ImageArray = np.clip(np.rint(noisy * 255), 0, 255).astype(np.uint8)
        return image
