"""Convolutions of mobile networks on a CPU: the same sums as torch's, by faster routes.

torch is slow where mobile networks spend their time: on small maps, where the set-up of a convolution costs
more than its sums; in the weight gradient of a grouped 1x1 convolution; and in the weight gradient of a
depthwise convolution with a 5x5 kernel or on maps smaller than the kernel, most of all on processors without
AVX-512. Matrix products and shifted sums replace it there. benchmarks/training/kernels.py measures each
route.

One route is there for safety: with AVX-512, the backward pass of torch 2.14 (oneDNN's brgconv_1x1) writes
outside its memory for strided 1x1 convolutions of fewer than 16 channels and an odd number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

SMALL_MAP = 16
"""Pixels of a map up to which the set-up of a convolution costs more than its sums."""

UNSAFE_CHANNELS = 16
"""Below so many, torch's strided 1x1 convolution writes outside its memory."""


@contextmanager
def quick_convolutions(module: nn.Module) -> Iterator[None]:
    """Inside the block, the convolutions of `module` for which a faster route exists use it.

    A route applies to float32 inputs in channels-last memory on a CPU, in training mode, and outside
    autocast; torch computes all others as before. The results differ only by the order of rounding.
    """
    changed = []
    for convolution in module.modules():
        if type(convolution) is nn.Conv2d and _faster_route(convolution) is not None:
            convolution.forward = partial(_forward, convolution)  # type: ignore[method-assign]  # undone below
            changed.append(convolution)
    try:
        yield
    finally:
        for convolution in changed:
            del convolution.forward


def convolve(module: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The output of `module` for x with this weight and bias, by the fastest route."""
    route = _faster_route(module)
    y = None if route is None or not _suits(module, x) else route(module, x, weight)
    if y is None:
        plain: Tensor = module._conv_forward(x, weight, bias)
        return plain
    return y if bias is None else y + bias.view(1, -1, 1, 1)


def _forward(module: nn.Conv2d, x: Tensor) -> Tensor:
    return convolve(module, x, module.weight, module.bias)


def _faster_route(module: nn.Conv2d) -> Callable[[nn.Conv2d, Tensor, Tensor], Tensor | None] | None:
    """The route for a kind of convolution; the route returns None for inputs where torch is faster."""
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        return None
    if module.kernel_size == (1, 1) and module.padding == (0, 0):
        if module.stride == (1, 1):
            return _pointwise
        if module.groups == 1 and module.in_channels < UNSAFE_CHANNELS:
            return _strided_pointwise
    is_depthwise = module.groups == module.in_channels == module.out_channels
    if is_depthwise and module.dilation == (1, 1) and max(module.kernel_size) > 1:
        return _depthwise
    return None


def _suits(module: nn.Conv2d, x: Tensor) -> bool:
    return (
        module.training
        and x.device.type == "cpu"
        and x.dtype == module.weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def _pointwise(module: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor | None:
    if module.groups == 1 and x.shape[2] * x.shape[3] > SMALL_MAP:
        return None
    y: Tensor = PointwiseConvolution.apply(x, weight, module.groups)
    return y


def _strided_pointwise(module: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    down, right = module.stride
    kept = x[:, :, ::down, ::right].contiguous(memory_format=torch.channels_last)
    y: Tensor = PointwiseConvolution.apply(kept, weight, 1)
    return y


def _depthwise(module: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor | None:
    pixels, kernel = x.shape[2] * x.shape[3], module.kernel_size
    is_slow_in_torch = max(kernel) >= 5 or x.shape[2] < kernel[0] or x.shape[3] < kernel[1]
    if pixels > SMALL_MAP or not is_slow_in_torch:
        return None
    y: Tensor = SmallDepthwiseConvolution.apply(x, weight, module.stride, module.padding)
    return y


class PointwiseConvolution(torch.autograd.Function):
    """A 1x1 convolution as matrix products; in groups, only its weight gradient is one.

    x: [B, I, H, W] float32, channels last; weight: [O, I / groups, 1, 1]; y: [B, O, H, W], channels last.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        """The convolution."""
        ctx.save_for_backward(x, weight)
        ctx.groups = groups
        if groups > 1:
            return functional.conv2d(x, weight, groups=groups)
        return _as_map(_rows(x) @ weight.flatten(1).t(), x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Gradients of x and weight."""
        x, weight = ctx.saved_tensors
        groups = ctx.groups
        of_x = of_weight = None
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        if ctx.needs_input_grad[0]:
            if groups == 1:
                of_x = _as_map(_rows(gradient) @ weight.flatten(1), x)
            else:
                of_x = _input_gradient(gradient, x, weight, (1, 1), (0, 0), groups)
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(_rows(x), _rows(gradient), groups).view_as(weight)
        return of_x, of_weight, None


def _input_gradient(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    groups: int,
) -> Tensor:
    """The gradient of the input alone, by torch's route."""
    outputs = [True, False, False]
    of_x: Tensor = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, (1, 1), False, (0, 0), groups, outputs
    )[0]
    return of_x


def _weight_gradient(rows: Tensor, gradients: Tensor, groups: int) -> Tensor:
    """[O, I / groups] from the inputs [P, I] and gradients [P, O] of every pixel."""
    if groups == 1:
        return gradients.t() @ rows
    inputs = rows.view(len(rows), groups, -1).transpose(0, 1)
    outputs = gradients.view(len(rows), groups, -1).transpose(0, 1)
    return torch.bmm(outputs.transpose(1, 2), inputs).flatten(0, 1)


class SmallDepthwiseConvolution(torch.autograd.Function):
    """A depthwise convolution whose weight gradient is one sum per element of the kernel.

    x: [B, C, H, W] float32, channels last; weight: [C, 1, K, L]; y: [B, C, H', W'].
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        """The convolution."""
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(x, weight, stride=stride, padding=padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Gradients of x and weight."""
        x, weight = ctx.saved_tensors
        of_x = of_weight = None
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        if ctx.needs_input_grad[0]:
            of_x = _input_gradient(gradient, x, weight, ctx.stride, ctx.padding, len(weight))
        if ctx.needs_input_grad[1]:
            of_weight = _depthwise_weight_gradient(x, gradient, weight, ctx.stride, ctx.padding)
        return of_x, of_weight, None, None


def _depthwise_weight_gradient(
    x: Tensor, gradient: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """The weight gradient [C, 1, K, L]: per element, the sum of its input pixels times their gradients."""
    inputs, gradients = x.permute(0, 2, 3, 1), gradient.permute(0, 2, 3, 1)
    result = torch.zeros_like(weight)
    for down in range(weight.shape[2]):
        rows, output_rows = _overlap(down - padding[0], stride[0], x.shape[2], gradient.shape[2])
        for right in range(weight.shape[3]):
            columns, output_columns = _overlap(right - padding[1], stride[1], x.shape[3], gradient.shape[3])
            products = inputs[:, rows, columns] * gradients[:, output_rows, output_columns]
            result[:, 0, down, right] = products.sum((0, 1, 2))
    return result


def _overlap(shift: int, stride: int, size: int, outputs: int) -> tuple[slice, slice]:
    """The inputs that an element of the kernel reads along an axis, and the outputs that it contributes to.

    Output i reads input i * stride + shift.
    """
    first = max(0, -(shift // stride))
    last = min(outputs - 1, (size - 1 - shift) // stride)
    if last < first:
        return slice(0, 0), slice(0, 0)
    return slice(first * stride + shift, last * stride + shift + 1, stride), slice(first, last + 1)


def _rows(image: Tensor) -> Tensor:
    """[B, C, H, W] in channels-last memory as [B * H * W, C], without a copy."""
    return image.permute(0, 2, 3, 1).reshape(-1, image.shape[1])


def _as_map(rows: Tensor, like: Tensor) -> Tensor:
    """[B * H * W, C] as [B, C, H, W], of `like`'s batch, height and width, without a copy."""
    return rows.view(like.shape[0], like.shape[2], like.shape[3], -1).permute(0, 3, 1, 2)
