"""Training with the rounding of the int8 file: activations and weights are rounded where the file does so.

As in the canonical file, these are the input of each Conv2d or Linear, on one symmetric int8 range, and its
weight, per output channel, after batch normalisation is folded into it. Normalisation must keep its stored
statistics, while its weight and bias continue to learn. Gradients pass through a rounding unchanged and stop
where a value is clipped (the straight-through estimator, Bengio et al., arXiv 1308.3432; for int8, Jacob et
al., arXiv 1712.05877).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from calkd_edge.errors import StageFailed
from calkd_edge.quantization.magnitudes import Magnitudes, RangeMethod
from calkd_edge.quantization.scales import Scales, activation_scale, on_grid, weight_scales
from calkd_edge.training.kernels import convolve

IMAGES_PER_RUN = 64
FOLDED_TOLERANCE = 1e-4
"""Largest change of the logits by folding a normalisation, as a fraction of the largest logit."""


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer that int8 kernels compute.

    Attributes:
        path: of the module in the network.
        module: the convolution or linear layer.
        norm: the batch normalisation after it that is folded into it; None where another module reads its
            output as well.
        reads: the first module that reads the same input, which shares its range.
    """

    path: str
    module: nn.Conv2d | nn.Linear
    norm: _BatchNorm | None
    reads: str


def layers_of(network: nn.Module, images: Tensor) -> list[Layer]:
    """Every layer of a network that int8 kernels compute, in the order of execution.

    Args:
        network: uint8 images [N, 3, H, W] -> logits; it is set to evaluation mode.
        images: a few images, from which the order of the layers is traced.

    Raises:
        StageFailed: folding the network's normalisations changes its logits.
    """
    traced = _trace(network.eval(), images)
    with torch.no_grad():
        expected = network(images)

        def change(folded: Sequence[Layer]) -> float:
            """Largest change of a logit by folding, as a fraction of the largest logit."""
            with _patched({layer.module: partial(_folded, layer) for layer in folded}, norms_of(folded)):
                logits = network(images)
            return float((logits - expected).abs().max()) / max(1.0, float(expected.abs().max()))

        # A second reader of a convolution's output shows only in the logits.
        layers = [
            layer if layer.norm is None or change([layer]) <= FOLDED_TOLERANCE else replace(layer, norm=None)
            for layer in traced
        ]
        total_change = change(layers)
    if not total_change <= 10 * FOLDED_TOLERANCE:
        raise StageFailed(
            "folding this network's batch normalisations changes its logits by "
            f"{total_change:.2g} of the largest",
            remedy="Remove int8_qat from the precisions, and report the network.",
        )
    return layers


def norms_of(layers: Sequence[Layer]) -> list[nn.Module]:
    """The batch normalisations that are folded into the layers."""
    return [layer.norm for layer in layers if layer.norm is not None]


def ranges_of(
    network: nn.Module, layers: Sequence[Layer], batches: Callable[[], Iterator[Tensor]], method: RangeMethod
) -> dict[str, float]:
    """The bound r of the symmetric range [-r, r] of each layer's input, by the layer's path.

    Args:
        network: in evaluation mode.
        layers: its layers.
        batches: returns the same uint8 images [N, 3, H, W] on each call.
        method: see Magnitudes.
    """
    magnitudes = Magnitudes([layer.path for layer in layers if layer.reads == layer.path], method)
    for this_pass in range(magnitudes.passes):

        def observe(path: str, module: nn.Module, inputs: tuple[Tensor, ...], now: int = this_pass) -> None:
            magnitudes.add(now, path, inputs[0].float().cpu().numpy())

        hooks = [
            layer.module.register_forward_pre_hook(partial(observe, layer.path))
            for layer in layers
            if layer.reads == layer.path
        ]
        try:
            with torch.no_grad():
                for images in batches():
                    network(images)
        finally:
            for hook in hooks:
                hook.remove()
    ranges = magnitudes.ranges()
    return {layer.path: ranges[layer.reads] for layer in layers}


@contextmanager
def fake_int8(layers: Sequence[Layer], ranges: Mapping[str, float], scales: Scales) -> Iterator[None]:
    """Inside the block, the layers round as int8 does and include their normalisations."""
    forwards: dict[nn.Module, Callable[[Tensor], Tensor]] = {
        layer.module: partial(_rounded, layer, activation_scale(ranges[layer.path], scales), scales)
        for layer in layers
    }
    with _patched(forwards, norms_of(layers)):
        yield


@contextmanager
def _patched(
    forwards: Mapping[nn.Module, Callable[[Tensor], Tensor]], bypassed: Sequence[nn.Module]
) -> Iterator[None]:
    """Inside the block, modules run these forwards; the bypassed ones return their input."""
    patches: dict[nn.Module, Callable[[Tensor], Tensor]] = {**forwards, **dict.fromkeys(bypassed, _identity)}
    originals = {module: vars(module).get("forward") for module in patches}
    for module, forward in patches.items():
        module.forward = forward
    try:
        yield
    finally:
        for module, original in originals.items():
            if original is None:
                del module.forward
            else:
                module.forward = original


def _identity(x: Tensor) -> Tensor:
    return x


def _folded(layer: Layer, x: Tensor) -> Tensor:
    return _computed(layer.module, x, *_weight_and_bias(layer))


def _rounded(layer: Layer, scale: float, scales: Scales, x: Tensor) -> Tensor:
    weight, bias = _weight_and_bias(layer)
    # In float32, also under autocast: rounding needs all digits of the scale.
    x = torch.fake_quantize_per_tensor_affine(x.float(), scale, 0, -128, 127)
    return _computed(layer.module, x, *_rounded_weight(weight.float(), bias, scale, scales))


def _rounded_weight(
    weight: Tensor, bias: Tensor | None, of_activation: float, scales: Scales
) -> tuple[Tensor, Tensor | None]:
    """The weight on the file's scales, within [-127, 127]; the bias on the grid of the scales."""
    offset = None if bias is None else bias.detach().float().cpu().numpy()
    scale = weight_scales(weight.detach().cpu().numpy(), offset, of_activation, scales)
    of_weight = torch.from_numpy(scale).to(weight.device)
    zeros = torch.zeros_like(of_weight, dtype=torch.int32)
    rounded = torch.fake_quantize_per_channel_affine(weight, of_weight, zeros, 0, -127, 127)
    if bias is not None and offset is not None and scales == "dyadic":
        moved = torch.from_numpy(on_grid(offset, of_activation, scale)).to(bias.device)
        bias = bias + (moved - bias).detach()
    return rounded, bias


def _weight_and_bias(layer: Layer) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a layer, with its normalisation folded into them."""
    weight, bias, norm = layer.module.weight, layer.module.bias, layer.norm
    if norm is None:
        return weight, bias
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    factor = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        factor = factor * norm.weight
    shift = -mean * factor if bias is None else (bias - mean) * factor
    if norm.bias is not None:
        shift = shift + norm.bias
    return weight * factor.view(-1, *[1] * (weight.dim() - 1)), shift


def _computed(module: nn.Conv2d | nn.Linear, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if isinstance(module, nn.Linear):
        return functional.linear(x, weight, bias)
    return convolve(module, x, weight, bias)


def _trace(network: nn.Module, images: Tensor) -> list[Layer]:
    """The layers in the order of one forward pass, with their normalisations and shared inputs."""
    paths = {module: path for path, module in network.named_modules()}
    order: list[nn.Module] = []
    writers: dict[tuple[int, int], nn.Module] = {}
    first_readers: dict[tuple[int, int], nn.Module] = {}
    reads: dict[nn.Module, nn.Module] = {}
    norms: dict[nn.Module, _BatchNorm] = {}
    tensors: list[Tensor] = []  # kept alive, so that no id is used twice

    def identity(tensor: Tensor) -> tuple[int, int]:
        tensors.append(tensor)
        return id(tensor), tensor._version  # an in-place activation changes the version

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        value = identity(inputs[0])
        if isinstance(module, _BatchNorm):
            source = writers.get(value)
            if source is not None:
                norms[source] = module
        elif isinstance(module, nn.Linear) and inputs[0].dim() != 2:
            return  # exported as a product of matrices that stays in float
        elif module not in reads:
            order.append(module)
            reads[module] = first_readers.setdefault(value, module)

    def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        writers[identity(output)] = module

    hooks = [module.register_forward_pre_hook(before) for module in paths if isinstance(module, _BatchNorm)]
    for module in paths:
        if isinstance(module, nn.Conv2d | nn.Linear):
            hooks += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return [
        Layer(paths[module], module, norms.get(module), paths[reads[module]])  # type: ignore[arg-type]  # only hooked modules
        for module in order
    ]
