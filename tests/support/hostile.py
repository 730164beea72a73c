"""Files that are almost right: seeded mutations of each kind of file that users bring, and their readers.

`mutations(kind, seed, count)` yields contents; `read(kind, content, folder)` reads one as commands do. Each
is read, or refused by a CalkdError.
"""

from __future__ import annotations

import io
import json
import logging
import os
import random
import signal
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
import yaml
from bundles import real_bundle, sealed_again
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tiny_run import RECIPE

from calkd_edge import calibrate, evaluate, verify
from calkd_edge.benchmarking.baseline import read_baseline
from calkd_edge.benchmarking.images import images_for
from calkd_edge.benchmarking.sources import open_source
from calkd_edge.data.pixels import BrokenImage, decode_image
from calkd_edge.devices import inventory
from calkd_edge.errors import CalkdError
from calkd_edge.external_models.predictions import read_predictions
from calkd_edge.models import MODELS
from calkd_edge.models.checkpoint import fill, read_state
from calkd_edge.onnx_model.lint import lint
from calkd_edge.onnx_model.read import read_onnx
from calkd_edge.pipeline.checks import check
from calkd_edge.recipe.schema import load_recipe
from calkd_edge.recipe.source import packaged
from calkd_edge.release.verification import problems_of

WORDS = [
    b"017", b"yes", b"1:2:3", b"2024-13-45", b"0x_", b"!!int foo", b"&a [*a]", b"*a", b"<<: ", b"? ",
    b"~nosuchuser/", b"\\0", b"\0", b"\x1b[31m", b"\xff", b"\xed\xa0\x80", b"9" * 5000, b"1e999", b"-1",
    b"null", b"true", b"{}", b"[]", b"''", b"- ", b": ", b"#", b"'", b'"', b"\n", b"\t", b"|", b">",
    b"[" * 60, b"a" * 300, "\u202e²".encode(), b"Infinity", b"NaN", b".nan", b"\\ud800", b"%s", b"{0}",
    b"%YAML 9.9\n", b"[/bold]",
]  # fmt: skip
"""Pieces of text with a meaning in one of the formats, or in what shows their values."""

LIMIT_S = 60
"""Of one file; far above what any takes on a busy machine."""

NUMBERS = [0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1]


def damaged(content: bytes, draw: random.Random) -> bytes:
    """The content with one to four small changes of bytes."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(len(changed) + 1)
        length = draw.choice((1, 2, 4, 8, draw.randrange(1, 65)))
        match draw.randrange(7):
            case 0 if at < len(changed):
                changed[at] ^= 1 << draw.randrange(8)
            case 1 if at < len(changed):
                changed[at] = draw.randrange(256)
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[at : at + length] * draw.choice((1, 2, 50))
            case 4:
                changed[at : at + draw.choice((0, length))] = draw.choice(WORDS)
            case 5:
                packed = struct.pack(draw.choice("<>") + "Q", draw.choice(NUMBERS))
                changed[at : at + length] = packed[: min(length, 8)]
            case 6:
                del changed[at:]
    return bytes(changed)


def damaged_text(content: bytes, draw: random.Random) -> bytes:
    """The content with a value, a key or a line replaced; else with changed bytes."""
    lines = content.split(b"\n")
    at = draw.randrange(len(lines))
    head, colon, _ = lines[at].rpartition(b": ")
    match draw.randrange(5):
        case 0:
            lines[at] = head + colon + draw.choice(WORDS)
        case 1:
            lines[at] = draw.choice(WORDS) + b": 1"
        case 2:
            lines[at] = draw.choice(lines)
        case 3:
            lines[at : at + 1] = [b" " * draw.randrange(4) + lines[at], draw.choice(lines)]
        case _:
            return damaged(content, draw)
    return b"\n".join(lines)


def damaged_zip(content: bytes, draw: random.Random) -> bytes:
    """The zip with one member changed and its checksum set; else with changed bytes."""
    if draw.random() < 0.4:
        return damaged(content, draw)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = list(members)
    name = draw.choice(names)
    kind = draw.randrange(6)
    if kind == 0:
        members.pop(name)
    elif kind == 1:
        members[(draw.choice(WORDS).decode("latin-1").strip("\0") or "x")[:100]] = members.pop(name)
    elif name.endswith((".npy", ".pkl")) and kind < 5:
        start = members[name][:128]
        members[name] = damaged(start, draw) + members[name][128:]
    else:
        change = damaged_text if name.endswith(".json") else damaged
        members[name] = change(members[name], draw)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, value in members.items():
            archive.writestr(name, value)
    return buffer.getvalue()


def damaged_bundle(content: bytes, draw: random.Random) -> bytes:
    """The bundle with one file changed: as it is, or with all sums set right."""
    if draw.random() < 0.3:
        return damaged_zip(content, draw)
    changes = {".json": damaged_text, ".npz": damaged_zip, ".onnx": damaged, ".md": damaged}
    return sealed_again(content, draw, changes, WORDS)


@cache
def recipes() -> tuple[bytes, ...]:
    """The packaged recipes and the tiny one."""
    return (yaml.safe_dump(RECIPE).encode(), *(path.read_bytes() for path in packaged().values()))


def bundles() -> tuple[bytes, ...]:
    """A real bundle."""
    return (real_bundle(),)


@cache
def arrays() -> tuple[bytes, ...]:
    """Predictions of 30 images in an .npz."""
    draw = np.random.default_rng(7)
    buffer, stacked = io.BytesIO(), draw.standard_normal((30, 3)).astype(np.float32)
    labels = (stacked + draw.standard_normal(stacked.shape)).argmax(axis=1)
    np.savez(buffer, logits=stacked, labels=labels, classes=np.array(["cat", "dog", "eel"]))
    return (buffer.getvalue(),)


@cache
def tables() -> tuple[bytes, ...]:
    """The same predictions in a .csv."""
    with np.load(io.BytesIO(arrays()[0])) as stored:
        rows = zip(stored["labels"], stored["logits"], strict=True)
        lines = [f"{label},{','.join(f'{value:.3f}' for value in row)}" for label, row in rows]
    return ("\n".join(["label,logit:cat,logit:dog,logit:eel", *lines]).encode(),)


@cache
def onnx_files() -> tuple[bytes, ...]:
    """A small classifier, with an attribute of each type and a Q/DQ pair."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 4, 4])
    scores = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])
    stored = {
        "k": np.full((2, 3, 3, 3), 0.1, np.float32),
        "w": np.eye(32, 3, dtype=np.float32),
        "s": np.array(0.1, np.float32),
        "z": np.array(0, np.int8),
    }
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array([0, -1]))),
        helper.make_node("Reshape", ["d", "shape"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["g"], alpha=1.0),
        helper.make_node("Softmax", ["g"], ["y"], axis=-1),
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "g", [given], [scores], tensors)
    return (helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString(),)


def network() -> torch.nn.Module:
    """A small network of ours."""
    torch.manual_seed(7)
    built: torch.nn.Module = MODELS.load("resnet8", where="test")(3, (3, 8, 8), width=0.25)
    return built


@cache
def checkpoints() -> tuple[bytes, ...]:
    """Its weights as torch.save writes them, now and before torch 1.6."""
    made = []
    for is_zip in (True, False):
        buffer = io.BytesIO()
        state = {"epoch": 3, "model": network().state_dict()}
        torch.save(state, buffer, _use_new_zipfile_serialization=is_zip)
        made.append(buffer.getvalue())
    return tuple(made)


@cache
def images() -> tuple[bytes, ...]:
    """A picture in each supported format."""
    pixels = np.random.default_rng(7).integers(0, 255, (16, 12, 3)).astype(np.uint8)
    made = []
    for kind in ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        made.append(buffer.getvalue())
    return tuple(made)


@cache
def benchmarks() -> tuple[bytes, ...]:
    """The beginning of a benchmark.json."""
    return (json.dumps({"device": "local", "files": [{"precision": "int8"}], "processes": 3}).encode(),)


@cache
def inventories() -> tuple[bytes, ...]:
    """An inventory of two boards."""
    return (
        b"jetson:\n  host: user@10.0.0.5\n  port: 22\n  python: python3\npi:\n  kind: ssh\n  host: pi@pi\n",
    )


def _read_recipe(path: Path) -> None:
    check(load_recipe(path), str(path))


def _read_bundle(path: Path) -> None:
    problems_of(path)
    with tempfile.TemporaryDirectory() as work:
        source = open_source(path, Path(work))
        for precision, folder in source.folders.items():
            source.measurement(precision, "local", "onnxruntime")
            file, _ = source.file_for(precision, "local", "onnxruntime")
            read_onnx(file)
            images_for(folder, images=None, prepared=None, seed=17, bundle=source.bundle)


def _run_bundle(path: Path) -> None:
    verify(path, run=True)


def _read_predictions(path: Path) -> None:
    read_predictions(path)
    calibrate(predictions=path)


def _read_onnx(path: Path) -> None:
    for target in ("tensorrt", "onnxruntime"):
        lint(path, target=target)


def _score_onnx(path: Path) -> None:
    inputs = path.with_name("inputs.npz")
    draw = np.random.default_rng(7)
    images = draw.standard_normal((30, 3, 4, 4)).astype(np.float32)
    np.savez(inputs, inputs=images, labels=draw.integers(0, 3, 30))
    evaluate(path, inputs)


def _read_checkpoint(path: Path) -> None:
    fill(network(), read_state(path, "teacher.weights"), "teacher.weights")


def _read_image(path: Path) -> None:
    for content in (path, path.read_bytes()):
        try:
            decode_image(content, path.name)
        except BrokenImage:  # as the data room passes it on
            continue


def _read_inventory(path: Path) -> None:
    os.environ["XDG_CONFIG_HOME"] = str(path.parent)
    target = inventory.inventory_path()
    target.parent.mkdir(exist_ok=True)
    path.replace(target)
    for name in ("jetson", "pi"):
        inventory.location_of(name)


Damage = Callable[[bytes, random.Random], bytes]
KINDS: dict[str, tuple[str, Callable[[], tuple[bytes, ...]], Damage, Callable[[Path], object]]] = {
    "recipe": ("recipe.yaml", recipes, damaged_text, _read_recipe),
    "inventory": ("devices.yaml", inventories, damaged_text, _read_inventory),
    "benchmark": ("benchmark.json", benchmarks, damaged_text, read_baseline),
    "csv": ("predictions.csv", tables, damaged_text, _read_predictions),
    "npz": ("predictions.npz", arrays, damaged_zip, _read_predictions),
    "bundle": ("bundle.zip", bundles, damaged_bundle, _read_bundle),
    "release": ("bundle.zip", bundles, damaged_bundle, _run_bundle),
    "onnx": ("model.onnx", onnx_files, damaged, _read_onnx),
    "classifier": ("model.onnx", onnx_files, damaged, _score_onnx),
    "checkpoint": ("weights.pth", checkpoints, damaged_zip, _read_checkpoint),
    "image": ("image.png", images, damaged, _read_image),
}
"""Kind -> name of such a file, whole examples, how they are damaged, and what reads them."""


def mutations(kind: str, seed: int, count: int) -> Iterator[bytes]:
    """`count` damaged files of a kind; the same for the same seed."""
    _, examples, damage, _ = KINDS[kind]
    for number in range(count):
        draw = random.Random(f"{kind} {seed} {number}")
        content = draw.choice(examples())
        is_zip = content.startswith(b"PK")
        yield (damage if is_zip or damage is not damaged_zip else damaged)(content, draw)


def read(kind: str, content: bytes, folder: Path) -> None:
    """Read a file of a kind as the commands do."""
    name, _, _, reader = KINDS[kind]
    path = folder / name
    path.write_bytes(content)
    reader(path)


def read_all(kind: str, seed: int, count: int, folder: Path) -> None:
    """Read `count` mutations; whatever is no CalkdError, and a file that takes too long, is raised."""
    log = logging.getLogger("calkd_edge")
    level, previous = log.level, signal.signal(signal.SIGALRM, _too_slow)
    log.setLevel(logging.CRITICAL)
    try:
        for number, content in enumerate(mutations(kind, seed, count)):
            signal.alarm(LIMIT_S)
            try:
                read(kind, content, folder)
            except CalkdError:
                continue
            except Exception as escaped:
                raise AssertionError(f"mutation {number} of {kind}, seed {seed}") from escaped
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        log.setLevel(level)


def _too_slow(number: int, frame: object) -> None:
    raise TimeoutError(f"more than {LIMIT_S} s for one file")
