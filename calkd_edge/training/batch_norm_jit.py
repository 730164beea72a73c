"""The loops of a batch normalisation with its activation, compiled on the machine that trains.

numba compiles them at the first training, in some seconds, and keeps the result beside this file or in the
user's cache. torch's own OpenMP threads run them: a second pool of threads would wait for the same cores.

A map is read as rows [P, C]: P pixels of all images, C channels. Rows go in blocks whose size depends on P
alone, and each block has its own sums, so that neither the number of threads nor their order changes a bit.

A loop gets an array of addresses: SIZES [4] int64 = P, C, rows in a block, blocks; SUMMED and APPLIED [1]
int64, the next block of the first loop and of the last; X, Y (the gradient of y in the backward pass) and DX
[P, C]; SUMS [blocks, 2, C]; WEIGHT and BIAS [C]; STATISTICS [5, C], whose rows are MEAN to SHIFT; GRADIENTS
[4, C], whose rows are OF_WEIGHT to CONSTANT; EPS [1] float64. All others are float32.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic

SIZES, SUMMED, APPLIED, X, Y, DX, SUMS, WEIGHT, BIAS, STATISTICS, GRADIENTS, EPS = range(12)
MEAN, VARIANCE, INVERSE, SCALE, SHIFT = range(5)
OF_WEIGHT, OF_BIAS, SLOPE, CONSTANT = range(4)

MOST_ROWS = 128
"""Rows in a block: few enough for exact sums in float32, enough to keep a thread at work."""

RELU, RELU6, HARD_SWISH = range(3)
"""Activations."""

ROUNDING = {"contract", "reassoc", "arcp", "nsz"}
"""What the compiler may reorder. Not-a-number and infinity stay what they are: a training must see them."""

f32 = np.float32
SIGNATURE = types.void(types.CPointer(types.voidptr))


def sizes_of(rows: int, channels: int) -> np.ndarray:
    """SIZES of a map."""
    block = min(MOST_ROWS, -(-rows // 4) * 4)
    return np.array([rows, channels, block, -(-rows // block)], np.int64)


class Loops(NamedTuple):
    """The compiled loops of one activation; each is called with a pointer to the addresses."""

    forward: Callable[[int], None]
    backward: Callable[[int], None]


@functools.lru_cache
def loops_of(activation: int) -> Loops:
    """The loops, compiled or from the cache.

    Raises:
        OSError, AttributeError: torch's OpenMP has no interface of GNU's form.
    """
    threads = _openmp()
    sums, statistics = _compiled(_sums), _compiled(_statistics)
    apply = _compiled(_apply(activation))
    back_sums, gradients = _compiled(_back_sums(activation)), _compiled(_gradients)
    back_apply = _compiled(_back_apply(activation))

    def in_turn(first: Any, between: Any, last: Any) -> Callable[[int], None]:
        serial = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(between.address)

        def run(addresses: int) -> None:
            count = torch.get_num_threads()
            threads(first.address, addresses, count, 0)
            serial(addresses)
            threads(last.address, addresses, count, 0)

        return run

    return Loops(in_turn(sums, statistics, apply), in_turn(back_sums, gradients, back_apply))


def _openmp() -> Any:
    """GOMP_parallel(function, argument, threads, flags) of the OpenMP library that torch itself uses.

    LLVM's and Intel's libraries have it too.
    """
    libraries = Path(torch.__file__).parent / "lib"
    parallel = ctypes.CDLL(str(libraries / "libtorch_cpu.so")).GOMP_parallel
    parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    parallel.restype = None
    return parallel


def _compiled(loop: Callable[..., None]) -> Any:
    try:
        return cfunc(SIGNATURE, fastmath=ROUNDING, cache=True)(loop)
    except RuntimeError:  # no folder for a cache can be written to
        return cfunc(SIGNATURE, fastmath=ROUNDING)(loop)


@intrinsic
def _next(typing_context: Any, counter: Any) -> Any:
    """The number of the next block, taken by one thread alone."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer = ir.IntType(64)
        pointer = builder.bitcast(arguments[0], integer.as_pointer())
        return builder.atomic_rmw("add", pointer, ir.Constant(integer, 1), "monotonic")

    return types.int64(types.voidptr), code


@njit(inline="always")
def _sizes(at: Any) -> Any:
    sizes = carray(at[SIZES], (4,), np.int64)
    return sizes[0], sizes[1], sizes[2], sizes[3]


@njit(inline="always", fastmath=ROUNDING)
def _activated(v: Any, activation: int) -> Any:
    if activation == RELU:
        return f32(0) if v < f32(0) else v
    if activation == RELU6:
        return f32(0) if v < f32(0) else (f32(6) if v > f32(6) else v)
    gate = v + f32(3)
    gate = f32(0) if gate < f32(0) else (f32(6) if gate > f32(6) else gate)
    return v * gate * f32(1 / 6)


@njit(inline="always", fastmath=ROUNDING)
def _before(v: Any, g: Any, activation: int) -> Any:
    """The gradient before the activation at v, from the gradient g behind it."""
    if activation == RELU:
        return f32(0) if v <= f32(0) else g
    if activation == RELU6:
        return f32(0) if v <= f32(0) or v >= f32(6) else g
    if v <= f32(-3):
        return f32(0)
    return g if v >= f32(3) else g * (v * f32(1 / 3) + f32(0.5))


def _sums(at: Any) -> None:
    """Each block's sums of x and of its square, from the first row on.

    Without that shift a channel whose mean is far from zero would lose its variance.
    """
    rows, channels, block, blocks = _sizes(at)
    x = carray(at[X], (rows, channels), f32)
    sums = carray(at[SUMS], (blocks, 2, channels), f32)
    origin = x[0]
    while True:
        number = _next(at[SUMMED])
        if number >= blocks:
            return
        plain, squares = sums[number, 0], sums[number, 1]
        for c in range(channels):
            plain[c] = squares[c] = f32(0)
        row, end = number * block, min(rows, number * block + block)
        while row + 4 <= end:  # four rows at a time: the sums are read and written once for them
            x0, x1, x2, x3 = x[row], x[row + 1], x[row + 2], x[row + 3]
            for c in range(channels):
                k = origin[c]
                v0, v1, v2, v3 = x0[c] - k, x1[c] - k, x2[c] - k, x3[c] - k
                plain[c] += (v0 + v1) + (v2 + v3)
                squares[c] += (v0 * v0 + v1 * v1) + (v2 * v2 + v3 * v3)
            row += 4
        while row < end:
            for c in range(channels):
                v = x[row, c] - origin[c]
                plain[c] += v
                squares[c] += v * v
            row += 1


def _statistics(at: Any) -> None:
    """STATISTICS from SUMS, in float64; the variance is the biased one."""
    rows, channels, _, blocks = _sizes(at)
    origin, weight = carray(at[X], (channels,), f32), carray(at[WEIGHT], (channels,), f32)
    bias, sums = carray(at[BIAS], (channels,), f32), carray(at[SUMS], (blocks, 2, channels), f32)
    result, eps = carray(at[STATISTICS], (5, channels), f32), carray(at[EPS], (1,), np.float64)[0]
    for c in range(channels):
        mean = square = 0.0
        for number in range(blocks):
            mean += sums[number, 0, c]
            square += sums[number, 1, c]
        mean /= rows
        variance = square / rows - mean * mean
        if variance < 0:
            variance = 0.0
        mean += origin[c]
        inverse = 1 / np.sqrt(variance + eps)
        result[MEAN, c], result[VARIANCE, c], result[INVERSE, c] = mean, variance, inverse
        result[SCALE, c] = weight[c] * inverse
        result[SHIFT, c] = bias[c] - mean * weight[c] * inverse


def _gradients(at: Any) -> None:
    """GRADIENTS from SUMS, in float64: of weight and bias; SLOPE and CONSTANT of dx.

    With g before the activation and n = (x - mean) * inverse, dx is
    scale * (g - mean(g) - n * mean(g n)) = scale * g + SLOPE * x + CONSTANT.
    """
    rows, channels, _, blocks = _sizes(at)
    sums, result = carray(at[SUMS], (blocks, 2, channels), f32), carray(at[GRADIENTS], (4, channels), f32)
    statistics = carray(at[STATISTICS], (5, channels), f32)
    for c in range(channels):
        of_bias = of_weight = 0.0
        for number in range(blocks):
            of_bias += sums[number, 0, c]
            of_weight += sums[number, 1, c]
        inverse, scale = statistics[INVERSE, c], statistics[SCALE, c]
        of_weight *= inverse
        slope = scale * of_weight * inverse / rows
        result[OF_WEIGHT, c], result[OF_BIAS, c] = of_weight, of_bias
        result[SLOPE, c] = -slope
        result[CONSTANT, c] = slope * statistics[MEAN, c] - scale * of_bias / rows


def _apply(activation: int) -> Callable[..., None]:
    def apply(at: Any) -> None:
        """y from x, first the blocks that were read last: they are still in the cache."""
        rows, channels, block, blocks = _sizes(at)
        x, y = carray(at[X], (rows, channels), f32), carray(at[Y], (rows, channels), f32)
        statistics = carray(at[STATISTICS], (5, channels), f32)
        scale, shift = statistics[SCALE], statistics[SHIFT]
        while True:
            number = blocks - 1 - _next(at[APPLIED])
            if number < 0:
                return
            for row in range(number * block, min(rows, number * block + block)):
                for c in range(channels):
                    y[row, c] = _activated(x[row, c] * scale[c] + shift[c], activation)

    return apply


def _back_sums(activation: int) -> Callable[..., None]:
    def back_sums(at: Any) -> None:
        """Each block's sums of the gradient g before the activation and of g (x - mean)."""
        rows, channels, block, blocks = _sizes(at)
        x, of_y = carray(at[X], (rows, channels), f32), carray(at[Y], (rows, channels), f32)
        sums = carray(at[SUMS], (blocks, 2, channels), f32)
        statistics = carray(at[STATISTICS], (5, channels), f32)
        mean, scale, shift = statistics[MEAN], statistics[SCALE], statistics[SHIFT]
        while True:
            number = _next(at[SUMMED])
            if number >= blocks:
                return
            plain, products = sums[number, 0], sums[number, 1]
            for c in range(channels):
                plain[c] = products[c] = f32(0)
            row, end = number * block, min(rows, number * block + block)
            while row + 4 <= end:
                x0, x1, x2, x3 = x[row], x[row + 1], x[row + 2], x[row + 3]
                y0, y1, y2, y3 = of_y[row], of_y[row + 1], of_y[row + 2], of_y[row + 3]
                for c in range(channels):
                    m, k, b = mean[c], scale[c], shift[c]
                    g0 = _before(x0[c] * k + b, y0[c], activation)
                    g1 = _before(x1[c] * k + b, y1[c], activation)
                    g2 = _before(x2[c] * k + b, y2[c], activation)
                    g3 = _before(x3[c] * k + b, y3[c], activation)
                    plain[c] += (g0 + g1) + (g2 + g3)
                    first, second = g0 * (x0[c] - m), g1 * (x1[c] - m)
                    products[c] += (first + second) + (g2 * (x2[c] - m) + g3 * (x3[c] - m))
                row += 4
            while row < end:
                for c in range(channels):
                    g = _before(x[row, c] * scale[c] + shift[c], of_y[row, c], activation)
                    plain[c] += g
                    products[c] += g * (x[row, c] - mean[c])
                row += 1

    return back_sums


def _back_apply(activation: int) -> Callable[..., None]:
    def back_apply(at: Any) -> None:
        """dx from x and the gradient of y."""
        rows, channels, block, blocks = _sizes(at)
        x, of_y = carray(at[X], (rows, channels), f32), carray(at[Y], (rows, channels), f32)
        dx = carray(at[DX], (rows, channels), f32)
        statistics = carray(at[STATISTICS], (5, channels), f32)
        gradients = carray(at[GRADIENTS], (4, channels), f32)
        scale, shift = statistics[SCALE], statistics[SHIFT]
        slope, constant = gradients[SLOPE], gradients[CONSTANT]
        while True:
            number = blocks - 1 - _next(at[APPLIED])
            if number < 0:
                return
            for row in range(number * block, min(rows, number * block + block)):
                for c in range(channels):
                    v = x[row, c]
                    g = _before(v * scale[c] + shift[c], of_y[row, c], activation)
                    dx[row, c] = scale[c] * g + slope[c] * v + constant[c]

    return back_apply
