"""Training a network as its int8 file will run: every activation and weight rounded where the file rounds.

The places are those of the canonical file: what a Conv2d or Linear reads, on one symmetric range of int8, and
its weight, by output channel, after batch normalisation was folded into it. Normalisation must stay at its
stored statistics, while its weight and bias go on learning. Gradients pass through a rounding unchanged,
and stop where a value is clipped (the straight-through estimator, Bengio et al., arXiv 1308.3432; for int8,
Jacob et al., arXiv 1712.05877).
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
"""Of the largest logit: how far folding a normalisation may move the logits before it counts as wrong."""


@dataclass(frozen=True)
class Layer:
    """A module that int8 kernels compute.

    Attributes:
        path: of the module, in the network.
        module: the convolution or linear layer.
        norm: the batch normalisation behind it that is folded into it; None where something else reads its
            output too.
        reads: the first module that reads the same input, which shares its range.
    """

    path: str
    module: nn.Conv2d | nn.Linear
    norm: _BatchNorm | None
    reads: str


def layers_of(network: nn.Module, images: Tensor) -> list[Layer]:
    """Every layer of a network that int8 kernels compute, in the order in which they run.

    Args:
        network: uint8 images [N, 3, H, W] -> logits; put in evaluation mode.
        images: a few, to see what follows on what.

    Raises:
        StageFailed: folding its normalisations changes what the network says.
    """
    layers = _traced(network.eval(), images)
    with torch.no_grad():
        wanted = network(images)

        def moves(chosen: Sequence[Layer]) -> float:
            """By how much of the largest logit folding moves one."""
            with _patched({layer.module: partial(_folded, layer) for layer in chosen}, norms_of(chosen)):
                found = network(images)
            return float((found - wanted).abs().max()) / max(1.0, float(wanted.abs().max()))

        # What reads a convolution beside its normalisation shows only in what the network then says.
        kept = [
            layer if layer.norm is None or moves([layer]) <= FOLDED_TOLERANCE else replace(layer, norm=None)
            for layer in layers
        ]
        departs = moves(kept)
    if not departs <= 10 * FOLDED_TOLERANCE:
        raise StageFailed(
            f"folding this network's batch normalisations moves its logits by {departs:.2g} of the largest",
            remedy="Leave int8_qat out, and report the network.",
        )
    return kept


def norms_of(layers: Sequence[Layer]) -> list[nn.Module]:
    """The normalisations that are folded."""
    return [layer.norm for layer in layers if layer.norm is not None]


def ranges_of(
    network: nn.Module, layers: Sequence[Layer], batches: Callable[[], Iterator[Tensor]], method: RangeMethod
) -> dict[str, float]:
    """r of the symmetric range [-r, r] of what each layer reads, by the layer's path.

    Args:
        network: in evaluation mode.
        layers: its layers.
        batches: gives the same uint8 images [N, 3, H, W] each time it is asked.
        method: see Magnitudes.
    """
    found = Magnitudes([layer.path for layer in layers if layer.reads == layer.path], method)
    for this_pass in range(found.passes):

        def see(path: str, module: nn.Module, inputs: tuple[Tensor, ...], now: int = this_pass) -> None:
            found.add(now, path, inputs[0].float().cpu().numpy())

        hooks = [
            layer.module.register_forward_pre_hook(partial(see, layer.path))
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
    ranges = found.ranges()
    return {layer.path: ranges[layer.reads] for layer in layers}


@contextmanager
def fake_int8(layers: Sequence[Layer], ranges: Mapping[str, float], scales: Scales) -> Iterator[None]:
    """Inside the block, the layers round as int8 does, and their normalisations do nothing of their own."""
    forwards: dict[nn.Module, Callable[[Tensor], Tensor]] = {
        layer.module: partial(_rounded, layer, activation_scale(ranges[layer.path], scales), scales)
        for layer in layers
    }
    with _patched(forwards, norms_of(layers)):
        yield


@contextmanager
def _patched(
    forwards: Mapping[nn.Module, Callable[[Tensor], Tensor]], passed: Sequence[nn.Module]
) -> Iterator[None]:
    whole: dict[nn.Module, Callable[[Tensor], Tensor]] = {**forwards, **dict.fromkeys(passed, _same)}
    before = {module: vars(module).get("forward") for module in whole}
    for module, forward in whole.items():
        module.forward = forward
    try:
        yield
    finally:
        for module, kept in before.items():
            if kept is None:
                del module.forward
            else:
                module.forward = kept


def _same(x: Tensor) -> Tensor:
    return x


def _folded(layer: Layer, x: Tensor) -> Tensor:
    return _computed(layer.module, x, *_weight_and_bias(layer))


def _rounded(layer: Layer, scale: float, scales: Scales, x: Tensor) -> Tensor:
    weight, bias = _weight_and_bias(layer)
    # In float32, also under autocast: rounding needs the scale's own digits.
    x = torch.fake_quantize_per_tensor_affine(x.float(), scale, 0, -128, 127)
    return _computed(layer.module, x, *_rounded_weight(weight.float(), bias, scale, scales))


def _rounded_weight(
    weight: Tensor, bias: Tensor | None, of_activation: float, scales: Scales
) -> tuple[Tensor, Tensor | None]:
    """The weight on the file's scales, within [-127, 127]; the bias on their grid, where they have one."""
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
    """A layer's own, with its normalisation in them."""
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


def _traced(network: nn.Module, images: Tensor) -> list[Layer]:
    """The layers of one pass, and which tensor each of them read and wrote."""
    paths = {module: path for path, module in network.named_modules()}
    order: list[nn.Module] = []
    wrote: dict[tuple[int, int], nn.Module] = {}
    read_first: dict[tuple[int, int], nn.Module] = {}
    reads: dict[nn.Module, nn.Module] = {}
    norms: dict[nn.Module, _BatchNorm] = {}
    held: list[Tensor] = []  # so that no tensor takes another's place in memory, and with it its name

    def name(tensor: Tensor) -> tuple[int, int]:
        held.append(tensor)
        return id(tensor), tensor._version  # an activation in place makes another value of the same tensor

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        given = name(inputs[0])
        if isinstance(module, _BatchNorm):
            source = wrote.get(given)
            if source is not None:
                norms[source] = module
        elif isinstance(module, nn.Linear) and inputs[0].dim() != 2:
            return  # exported as a product of matrices that stays in float
        elif module not in reads:
            order.append(module)
            reads[module] = read_first.setdefault(given, module)

    def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        wrote[name(output)] = module

    watched = [one for one in paths if isinstance(one, nn.Conv2d | nn.Linear)]
    hooks = [one.register_forward_pre_hook(before) for one in paths if isinstance(one, _BatchNorm)]
    for one in watched:
        hooks += [one.register_forward_pre_hook(before), one.register_forward_hook(after)]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return [Layer(paths[one], one, norms.get(one), paths[reads[one]]) for one in order]  # type: ignore[arg-type]  # watched are
