"""One classifier in the many forms in which others ship it, and images that it classifies.

The classifier averages each channel and compares the mean colour with that of each class. Every form is made
by hand with onnx, and states how numpy gets class probabilities out of what the file itself returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

NODE = helper.make_node
CLASSES = ("azure", "brick", "clay", "dune")
COLOURS = np.array([[70, 120, 190], [180, 80, 60], [150, 110, 90], [200, 180, 120]]) / 255
MEAN, STD = (0.5, 0.4, 0.6), (0.25, 0.2, 0.5)
CENTRES = (COLOURS - MEAN) / STD
SHARPNESS = 14.0
WEIGHT = (SHARPNESS * CENTRES.T).astype(np.float32)
BIAS = (-SHARPNESS * (CENTRES**2).sum(axis=1) / 2).astype(np.float32)
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def write_images(root, names=CLASSES, count=15, edge=20):
    """A folder of class folders; about one image in five lies nearer to the colour of another class."""
    draw = np.random.default_rng(5)
    for colour, name in zip(COLOURS, names, strict=True):
        (root / name).mkdir(parents=True)
        for number in range(count):
            tint = colour + draw.normal(0, 0.12, 3)
            pixels = 255 * (tint + draw.normal(0, 0.1, (edge, edge + 4, 3)))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / name / f"{number:02}.png")
    return root


def pixels_of(root, size=(16, 16), *, grey=False):
    """Independent of the package: [N, H, W, C] in 0..1 and class names, the middle of each image resized."""
    images, names = [], []
    for path in sorted(root.glob("*/*.png")):
        with Image.open(path) as image:
            width, height = image.size
            ratio = min(width / size[1], height / size[0])
            part = (ratio * size[1], ratio * size[0])
            left, top = (width - part[0]) / 2, (height - part[1]) / 2
            box = (left, top, left + part[0], top + part[1])
            middle = image.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box)
            array = np.asarray(middle.convert("L") if grey else middle, dtype=np.float64)
        images.append(array[..., None] if grey else array)
        names.append(path.parent.name)
    return np.stack(images) / 255, names


def softmax(scores):
    """Over the last axis, in float64."""
    shifted = scores.astype(np.float64) - scores.max(axis=-1, keepdims=True)
    return np.exp(shifted) / np.exp(shifted).sum(axis=-1, keepdims=True)


def file(nodes, outputs, *, shape=("n", 3, 16, 16), stored=None, kind=FLOAT, opset=17, ir=8, domains=()):
    """A model; its nodes may read `w` and `b`, and `outputs` maps a name to (type, shape)."""
    values = {"w": WEIGHT, "b": BIAS, **(stored or {})}
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(name, *what) for name, what in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in values.items() if name in read],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir)


BODY = [
    NODE("GlobalAveragePool", ["x"], ["pooled"]),
    NODE("Flatten", ["pooled"], ["flat"]),
    NODE("Gemm", ["flat", "w", "b"], ["z"]),
]
SOFTMAX = NODE("Softmax", ["z"], ["p"], axis=1)
SCORES = (FLOAT, ["n", 4])


@dataclass(frozen=True)
class Form:
    """A file, what the user says about it, and how its results are read by hand.

    Attributes:
        model: the file.
        options: of evaluate and calibrate, besides mean and std.
        probabilities: of what ONNX Runtime returns for it, by name -> [N, 4].
        inputs: pixels [N, H, W, C] in 0..1, normalised -> what the file takes.
        names: of its classes in order.
        size: of its images.
        grey: whether they have one channel.
        says: what `assumed` must say, by entry.
        extra: a value inside the file that `probabilities` needs, with its type.
        at_once: images that it is run on by hand.
    """

    model: onnx.ModelProto
    probabilities: Callable[[Mapping[str, np.ndarray]], np.ndarray] = lambda out: out["p"]
    options: Mapping[str, object] = field(default_factory=dict)
    inputs: Callable[[np.ndarray], np.ndarray] = lambda x: x.transpose(0, 3, 1, 2)
    names: tuple[str, ...] = CLASSES
    size: tuple[int, int] = (16, 16)
    grey: bool = False
    says: Mapping[str, str] = field(default_factory=dict)
    extra: tuple[str, int] | None = None
    at_once: int = 1


def _old():
    model = file([*BODY, SOFTMAX], {"p": SCORES}, opset=8, ir=3)
    model.graph.node[-1].attribute[0].i = 1
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, FLOAT, tensor.dims))
    return model


def _with_function():
    tail = helper.make_function(
        "own.tail",
        "Shares",
        ["scores"],
        ["shares"],
        [NODE("Softmax", ["scores"], ["shares"], axis=1)],
        [helper.make_opsetid("", 17)],
    )
    model = file(
        [*BODY, NODE("Shares", ["z"], ["p"], domain="own.tail")], {"p": SCORES}, domains=("own.tail",)
    )
    model.functions.append(tail)
    return model


def _quantized_softmax():
    nodes = [
        *BODY,
        NODE("QuantizeLinear", ["z", "zs", "zz"], ["q"]),
        NODE(
            "QLinearSoftmax", ["q", "zs", "zz", "ps", "pz"], ["p8"], domain="com.microsoft", opset=17, axis=1
        ),
        NODE("DequantizeLinear", ["p8", "ps", "pz"], ["p"]),
    ]
    stored = {
        "zs": np.float32(0.5),
        "zz": np.uint8(128),
        "ps": np.float32(1 / 256),
        "pz": np.uint8(0),
    }
    return file(nodes, {"p": SCORES}, stored=stored, domains=("com.microsoft",))


def _half():
    stored = {"w16": WEIGHT.astype(np.float16), "b16": BIAS.astype(np.float16)}
    nodes = [
        *BODY[:2],
        NODE("Cast", ["flat"], ["h"], to=HALF),
        NODE("Gemm", ["h", "w16", "b16"], ["z"]),
        SOFTMAX,
    ]
    return nodes, stored


def _half_mean():
    nodes, stored = _half()
    nodes += [
        NODE("Mul", ["z", "sharper"], ["z2"]),
        NODE("Softmax", ["z2"], ["p2"]),
        NODE("Add", ["p", "p2"], ["s"]),
    ]
    nodes += [NODE("Mul", ["s", "half"], ["mean"])]
    stored |= {"sharper": np.float16(0.5), "half": np.float16(0.5)}
    return file(nodes, {"mean": (HALF, ["n", 4])}, stored=stored)


def _dynamic():
    nodes = [
        NODE("DynamicQuantizeLinear", ["x"], ["x8", "xs", "xz"]),
        NODE("DequantizeLinear", ["x8", "xs", "xz"], ["coarse"]),
        NODE("GlobalAveragePool", ["coarse"], ["pooled"]),
        NODE("Sigmoid", ["pooled"], ["squashed"]),
        NODE("Flatten", ["squashed"], ["flat"]),
        NODE("DynamicQuantizeLinear", ["flat"], ["f8", "fs", "fz"]),
        NODE("MatMulInteger", ["f8", "w8", "fz", "wz"], ["z32"]),
        NODE("Cast", ["z32"], ["zf"], to=FLOAT),
        NODE("Mul", ["fs", "ws"], ["scale"]),
        NODE("Mul", ["zf", "scale"], ["z"]),
    ]
    scale = np.float32(np.abs(WEIGHT).max() / 127)
    stored = {"w8": np.round(WEIGHT / scale).astype(np.int8), "wz": np.int8(0), "ws": scale}
    return file(nodes, {"z": SCORES}, stored=stored)


def _training_normalisation():
    ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
    nodes = [
        NODE("BatchNormalization", ["x", "g", "o", "m", "v"], ["norm", "rm", "rv"], training_mode=1),
        NODE("Add", ["x", "norm"], ["mixed"]),
        NODE("Relu", ["mixed"], ["positive"]),
        NODE("GlobalAveragePool", ["positive"], ["pooled"]),
        *BODY[1:],
    ]
    return file(nodes, {"z": SCORES}, stored={"g": ones, "o": zeros, "m": zeros, "v": ones})


def _named():
    order = [2, 0, 3, 1]
    nodes = [*BODY, NODE("Gather", ["z", "order"], ["y"], axis=1), NODE("Softmax", ["y"], ["p"], axis=1)]
    model = file(nodes, {"p": SCORES}, stored={"order": np.array(order)})
    names = tuple(CLASSES[at] for at in order)
    model.metadata_props.add(key="names", value=str(dict(enumerate(names))))
    return model, names


def _logits(out):
    return softmax(out["z"])


def forms() -> dict[str, Form]:
    """Every form by name."""
    plain, logits = [*BODY, SOFTMAX], {"z": SCORES}
    ensemble = [
        *plain,
        NODE("Mul", ["z", "sharper"], ["z2"]),
        NODE("Softmax", ["z2"], ["p2"]),
        NODE("Add", ["p", "p2"], ["s"]),
        NODE("Mul", ["s", "half"], ["mean"]),
    ]
    halves = {"sharper": np.float32(0.5), "half": np.float32(0.5)}
    nhwc = [
        NODE("Transpose", ["x"], ["chw"], perm=[0, 3, 1, 2]),
        NODE("GlobalAveragePool", ["chw"], ["pooled"]),
    ]
    reversed_weight = {"w": WEIGHT[::-1].copy()}
    grey_weight = {"w": (SHARPNESS * np.linspace(-1, 1, 4)[None]).astype(np.float32)}
    named, names = _named()
    half_nodes, half_stored = _half()
    inner = [*BODY[:1], NODE("Reshape", ["pooled", "one"], ["flat"]), BODY[2], SOFTMAX]
    return {
        "a softmax at its end": Form(file(plain, {"p": SCORES}), says={"scores": "is the softmax of"}),
        "logits": Form(file(BODY, logits), _logits, says={"scores": "read as logits"}),
        "stored numbers among its inputs": Form(_old()),
        "nodes out of order": Form(file(plain[::-1], {"p": SCORES})),
        "a softmax inside a function": Form(_with_function(), says={"scores": "is the softmax of"}),
        "a quantized softmax": Form(
            _quantized_softmax(),
            lambda out: softmax((out["q"].astype(np.float64) - 128) * 0.5),
            extra=("q", TensorProto.UINT8),
            says={"scores": "is the softmax of"},
        ),
        "half precision inside": Form(
            file([*half_nodes, NODE("Cast", ["p"], ["out"], to=FLOAT)], {"out": SCORES}, stored=half_stored),
            lambda out: softmax(out["z"]),
            extra=("z", HALF),
        ),
        "a mean of softmaxes": Form(
            file(ensemble, {"mean": SCORES}, stored=halves),
            lambda out: out["mean"],
            {"scores": "probabilities"},
            says={"scores": "as --scores says"},
        ),
        "a mean of softmaxes in half precision": Form(
            _half_mean(),
            lambda out: out["mean"].astype(np.float64) / out["mean"].astype(np.float64).sum(1, keepdims=True),
            {"scores": "probabilities"},
        ),
        "two outputs of scores": Form(
            file(plain, {"p": SCORES, "flat": (FLOAT, ["n", 3])}), options={"scores_output": "p"}
        ),
        "a scale for the whole batch": Form(_dynamic(), _logits, says={"batch": "depend on what else"}),
        "batch statistics": Form(_training_normalisation(), _logits, says={"batch": "depend on what else"}),
        "a batch of one inside": Form(
            file(inner, {"p": SCORES}, stored={"one": np.array([1, 3])}), says={"batch": "fails with more"}
        ),
        "a fixed batch": Form(
            file(plain, {"p": (FLOAT, [4, 4])}, shape=(4, 3, 16, 16)),
            at_once=4,
            says={"batch": "4 images at a time"},
        ),
        "channels last": Form(
            file([*nhwc, *BODY[1:], SOFTMAX], {"p": SCORES}, shape=("n", 16, 16, 3)),
            inputs=lambda x: x,
            says={"input": "nhwc"},
        ),
        "blue first": Form(
            file(plain, {"p": SCORES}, stored=reversed_weight),
            options={"channels": "bgr"},
            inputs=lambda x: x[..., ::-1].transpose(0, 3, 1, 2),
            says={"channels": "BGR"},
        ),
        "one grey channel": Form(
            file(BODY, logits, shape=("n", 1, 16, 16), stored={**grey_weight, "b": np.zeros(4, np.float32)}),
            _logits,
            {"mean": (0.5,) * 3, "std": (0.25,) * 3},
            grey=True,
            says={"channels": "one grey channel"},
        ),
        "more wide than high": Form(
            file(plain, {"p": SCORES}, shape=("n", 3, 16, 24)), size=(16, 24), says={"input": "16x24"}
        ),
        "an open image size": Form(
            file(plain, {"p": SCORES}, shape=("n", 3, "h", "w")), options={"image_size": (16, 16)}
        ),
        "half precision outside": Form(
            file(
                [
                    NODE("Cast", ["x"], ["wide"], to=FLOAT),
                    NODE("GlobalAveragePool", ["wide"], ["pooled"]),
                    *BODY[1:],
                ],
                logits,
                kind=HALF,
            ),
            _logits,
            inputs=lambda x: x.transpose(0, 3, 1, 2).astype(np.float16),
        ),
        "classes in another order": Form(named, names=names, says={"classes": "by name"}),
    }
