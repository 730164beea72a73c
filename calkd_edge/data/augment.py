"""Augmentations in two steps, so that a view can be stored and repeated: random numbers, then pixels.

`draw` returns the random numbers of each image as named columns; `replay` is the only reader of these
columns. It runs on uint8 images and uses integers only: the same columns give the same pixels on every
machine and accelerator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from calkd_edge.data.source import ImageShape

Column = NDArray[np.int16] | NDArray[np.bool_]
View = Mapping[str, Tensor | Column]

_PIECE_PIXELS = 1 << 17
"""Of the images that are resized together: two of 224 pixels a side, 128 of 32."""


class Augmentation(Protocol):
    """Random changes of an image, built as `SomeAugmentation(image_shape, *, <settings of the recipe>)`.

    Attributes:
        version: increased when the same columns give other pixels, or the same generator gives other columns.
        columns: names of the columns that `draw` returns.
    """

    version: ClassVar[int]
    columns: ClassVar[tuple[str, ...]]

    def draw(self, count: int, generator: np.random.Generator) -> dict[str, Column]:
        """One view for each of `count` images: name -> [count]."""

    def replay(self, images: Tensor, view: View) -> Tensor:
        """uint8 [B, 3, H, W] -> the same shape and accelerator; row b of a column belongs to image b."""


class NoAugmentation:
    """No augmentation: images stay unchanged."""

    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ()

    def __init__(self, image_shape: ImageShape) -> None:
        del image_shape

    def draw(self, count: int, generator: np.random.Generator) -> dict[str, Column]:
        """No columns; the generator is not used."""
        return {}

    def replay(self, images: Tensor, view: View) -> Tensor:
        """The same tensor."""
        return images


class CropPad:
    """A random crop of the original size from the image with a black border, mirrored with probability 1/2.

    Columns: dy and dx, int16 in 0..2*padding, are the crop's corner in the bordered image; flip, bool.

    Args:
        image_shape: (3, H, W).
        padding: width of the border in pixels.
        flip: whether half of the images are mirrored left to right.

    Source: Lee et al., "Deeply-Supervised Nets", AISTATS 2015, section 4; He et al., CVPR 2016, section 4.2.
    """

    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ("dy", "dx", "flip")

    def __init__(
        self, image_shape: ImageShape, *, padding: Annotated[int, Field(ge=0, le=128)] = 4, flip: bool = True
    ) -> None:
        self.image_shape = image_shape
        self.padding = padding
        self.flip = flip

    def draw(self, count: int, generator: np.random.Generator) -> dict[str, Column]:
        """Corners, all equally likely, and flips."""
        corners = generator.integers(0, 2 * self.padding + 1, size=(2, count)).astype(np.int16)
        return {"dy": corners[0], "dx": corners[1], "flip": _flips(count, generator, enabled=self.flip)}

    def replay(self, images: Tensor, view: View) -> Tensor:
        """One padding and one gather for the batch."""
        count, channels, height, width = images.shape
        dy, dx, flip = (_column(view, name, images) for name in self.columns)
        bordered = functional.pad(images, (self.padding,) * 4)
        rows = dy[:, None] + torch.arange(height, device=images.device)
        columns = dx[:, None] + _mirrored(width, flip)
        positions = rows[:, :, None] * bordered.shape[3] + columns[:, None, :]
        return _pick(bordered, positions.view(count, -1)).view(count, channels, height, width)


class ResizedCrop:
    """A random part of the image, resized to the image's size bilinearly, mirrored with probability 1/2.

    Columns: top, left, height, width, int16, are the part in pixels; flip, bool. The part's area is uniform
    in scale_low..1 of the image's area; its aspect ratio is changed by a log-uniform factor in 3/4..4/3; a
    side that does not fit is limited to the image's side.

    Args:
        image_shape: (3, H, W).
        scale_low: smallest area of the part, as a fraction of the image's.
        flip: whether half of the images are mirrored left to right.

    Source: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section 6 (from 0.08 of the area).
    """

    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ("top", "left", "height", "width", "flip")

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        scale_low: Annotated[float, Field(gt=0, le=1)] = 0.5,
        flip: bool = True,
    ) -> None:
        self.image_shape = image_shape
        self.scale_low = scale_low
        self.flip = flip

    def draw(self, count: int, generator: np.random.Generator) -> dict[str, Column]:
        """Sizes, then positions at which they fit, then flips."""
        _, full_height, full_width = self.image_shape
        side = np.sqrt(generator.uniform(self.scale_low, 1.0, count))
        stretch = np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3), count) / 2)
        height = np.clip(np.rint(full_height * side / stretch), 1, full_height).astype(np.int64)
        width = np.clip(np.rint(full_width * side * stretch), 1, full_width).astype(np.int64)
        top = generator.integers(0, full_height - height + 1)
        left = generator.integers(0, full_width - width + 1)
        part = {"top": top, "left": left, "height": height, "width": width}
        view: dict[str, Column] = {name: values.astype(np.int16) for name, values in part.items()}
        return {**view, "flip": _flips(count, generator, enabled=self.flip)}

    def replay(self, images: Tensor, view: View) -> Tensor:
        """Rows, then columns, weighted in exact integers and rounded half up.

        On a CPU a few images at once, whose int32 copies stay in its cache.
        """
        columns = [_column(view, name, images) for name in self.columns]
        result = torch.empty(images.shape, dtype=torch.uint8, device=images.device)
        few = max(1, _PIECE_PIXELS // (images.shape[2] * images.shape[3]))
        count = few if images.device.type == "cpu" else max(1, len(images))
        for start in range(0, len(images), count):
            piece = slice(start, start + count)
            self._resize(images[piece], [column[piece] for column in columns], result[piece])
        return result

    def _resize(self, images: Tensor, columns: Sequence[Tensor], result: Tensor) -> None:
        height, width = images.shape[2:]
        top, left, part_height, part_width, flip = columns
        row, row_weight = _between(torch.arange(height, device=images.device), top, part_height, height)
        column, column_weight = _between(_mirrored(width, flip), left, part_width, width)
        next_row = torch.minimum(row + 1, (top + part_height - 1)[:, None])
        next_column = torch.minimum(column + 1, (left + part_width - 1)[:, None])
        above, below = _rows(images, row), _rows(images, next_row)
        share = row_weight.to(torch.int32)[:, :, None, None]
        blended_rows = above * (2 * height - share) + below * share
        before, after = _along_rows(blended_rows, column), _along_rows(blended_rows, next_column)
        share = column_weight.to(torch.int32)[:, None, None, :]
        blended = before * (2 * width - share) + after * share
        scale = 4 * height * width  # 255 times this fits an int32 up to images of 1,448 pixels a side
        result.copy_(((blended + scale // 2) // scale).transpose(1, 2))


def _flips(count: int, generator: np.random.Generator, *, enabled: bool) -> NDArray[np.bool_]:
    # Drawn in either case, so that the setting does not change the other random numbers of the stream.
    drawn: NDArray[np.bool_] = generator.integers(0, 2, count) == 1
    return drawn & enabled


def _column(view: View, name: str, images: Tensor) -> Tensor:
    """A column as int64 [B] on the images' accelerator."""
    values = view[name]
    if isinstance(values, Tensor):
        return values.to(images.device, torch.int64)
    # Copied, because a column mapped from a file is read-only, which torch does not support.
    return torch.from_numpy(np.array(values, dtype=np.int64)).to(images.device)


def _mirrored(width: int, flip: Tensor) -> Tensor:
    """[B, width]: 0..width-1, or width-1..0 where flip is 1."""
    index = torch.arange(width, device=flip.device)
    return torch.where(flip[:, None] == 1, width - 1 - index, index)


def _between(index: Tensor, start: Tensor, length: Tensor, full: int) -> tuple[Tensor, Tensor]:
    """The source of output pixels along a side: the pixel before, and the next pixel's share of 2 * full.

    Pixel centres are aligned: output pixel i is at (i + 1/2) * length / full - 1/2 of the part, and not
    before the part's first pixel.
    """
    doubled = ((2 * index + 1) * length[:, None] - full).clamp_min(0)
    return start[:, None] + doubled // (2 * full), doubled % (2 * full)


def _pick(images: Tensor, positions: Tensor) -> Tensor:
    """uint8 [B, channels, P] from [B, channels, H, W] at flat `positions` [B, P]."""
    count, channels = images.shape[:2]
    return images.reshape(count, channels, -1).gather(2, positions[:, None, :].expand(-1, channels, -1))


def _rows(images: Tensor, rows: Tensor) -> Tensor:
    """uint8 [B, 3, H, W] and rows [B, R] -> [B, R, 3, W]; copying complete rows is fast."""
    each = torch.arange(len(images), device=images.device)[:, None]
    return images.transpose(1, 2)[each, rows]


def _along_rows(images: Tensor, columns: Tensor) -> Tensor:
    """[B, R, 3, W] and columns [B, P] -> [B, R, 3, P]."""
    return images.gather(3, columns[:, None, None, :].expand(-1, *images.shape[1:3], -1))
