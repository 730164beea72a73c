"""Image sizes that a network of another library cannot take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from calkd_edge.errors import RecipeError
from calkd_edge.models.forms import ImageShape

_RAISED = (RuntimeError, AssertionError, ValueError, IndexError, TypeError, ZeroDivisionError)
"""By torch, torchvision and timm, where a map has become smaller than a kernel, or a side is not a multiple
of what the network needs."""


@contextmanager
def refusing_image_size(network: str, image_shape: ImageShape, where: str = "") -> Iterator[None]:
    """Inside the block, where a network is built or run, an error of its library means these images.

    Args:
        network: its name, for the message.
        image_shape: (3, H, W) of the images.
        where: begins the message: the recipe's file and section.

    Raises:
        RecipeError: the network cannot take them.
    """
    try:
        yield
    except NotImplementedError:  # an operation that torch's device "meta" does not know says nothing of sizes
        raise
    except _RAISED as unfit:
        reason = (str(unfit).splitlines() or [type(unfit).__name__])[0]
        raise RecipeError(
            f"{where}the network {network} cannot take images of {image_shape[1]} x {image_shape[2]} pixels: "
            f"{reason}",
            remedy="Set data.image_size to a size that it is made for, where the data set has that setting, "
            "or name another network.",
        ) from unfit
