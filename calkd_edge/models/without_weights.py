"""Networks without their weights: layers and shapes, on torch's device "meta"."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def without_weights(build: Callable[[], Network]) -> Network:
    """What `build` gives, on the device "meta"; torch's generator stays as it was.

    Where a library reads numbers back from tensors while it builds (torchvision's RegNet), the network is
    built with weights, which are then dropped.
    """
    try:
        with torch.device("meta"):
            return build()
    except NotImplementedError:
        with torch.random.fork_rng(devices=()):
            return build().to("meta")
