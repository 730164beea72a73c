"""Does the agent's loop tell the truth? Blocks of a second take turns with a bare ONNX Runtime loop.

Both run the same file with the same session settings and time the same span: the call alone, from an image in
host memory to outputs in host memory. Ours is the agent's `measure`, its sampler running beside it, as when a
device is benchmarked. Two models: one of about a millisecond, one of a tenth of that. Every block opens the
file anew (how fast it runs depends by a per cent or two on where in memory it came to lie) and warms up
before it is timed; the order is drawn anew each round. Two estimates, each with its 95 % interval from 2,000
bootstrap samples of rounds: the ratio of both loops' medians over all blocks, and the median over rounds of
the ratio of both blocks' medians, which slow minutes of the machine move less. Both are to lie within what
is wanted. Writes its result beside itself; ten minutes.

    python benchmarks/device/loop.py [--blocks 100] [--result FILE]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from calkd_edge.agent import probe
from calkd_edge.agent.latency import measure
from calkd_edge.agent.runtimes import open_runtime
from calkd_edge.agent.telemetry import Sampler

RESULT = Path(__file__).with_suffix(".json")
TARGETS_MS = {"1 ms": (1.0, 0.98, 1.02), "0.1 ms": (0.1, 0.95, 1.05)}
"""By model: about how long it takes, and within what the ratio's interval is to lie."""

BLOCK_S, WARM_UP_S, IMAGES, CHANNELS, SIZE = 1.0, 0.2, 64, 8, 32
Block = Callable[[Path, list[np.ndarray], float], float]


def net(layers: int) -> onnx.ModelProto:
    """A chain of 3x3 convolutions on a uint8 image [1, 3, 32, 32]."""
    generator = np.random.default_rng(layers)
    nodes = [helper.make_node("Cast", ["images"], ["x0"], to=TensorProto.FLOAT)]
    stored = []
    for number in range(layers):
        inside = 3 if number == 0 else CHANNELS
        weight = generator.standard_normal((CHANNELS, inside, 3, 3)).astype(np.float32) / (3 * inside)
        stored.append(numpy_helper.from_array(weight, f"w{number}"))
        names = [f"x{number}", f"w{number}"]
        nodes.append(helper.make_node("Conv", names, [f"x{number + 1}"], pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node("GlobalAveragePool", [f"x{layers}"], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CHANNELS, 1, 1])],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def bare_session(path: Path) -> onnxruntime.InferenceSession:
    """A session with the settings that the agent's has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def bare(path: Path, images: list[np.ndarray], lasts_s: float) -> float:
    """Median milliseconds of a block: nothing but the call and the clock."""
    session = bare_session(path)
    _loop(session, images, WARM_UP_S)
    return float(np.median(_loop(session, images, lasts_s))) / 1e6


def _loop(session: onnxruntime.InferenceSession, images: list[np.ndarray], lasts_s: float) -> list[int]:
    taken: list[int] = []
    begun = now = time.perf_counter_ns()
    while now - begun < lasts_s * 1e9:
        image = images[len(taken) % len(images)]
        start = time.perf_counter_ns()
        session.run(None, {"images": image})
        now = time.perf_counter_ns()
        taken.append(now - start)
    return taken


def ours(path: Path, images: list[np.ndarray], lasts_s: float) -> float:
    """Median milliseconds of a block of the agent's loop."""
    with open_runtime("onnxruntime", str(path), {"threads": 1}) as runtime:
        measure(runtime, images, 1, WARM_UP_S)
        with Sampler():
            series = measure(runtime, images, 1, lasts_s)
    return float(np.median(series.lasted)) / 1e6


def of_about(target_ms: float, folder: Path, images: list[np.ndarray]) -> Path:
    """A file that takes about `target_ms` here: from how long a short and a long chain take."""
    taken = {}
    for layers in (2, 12):
        onnx.save(net(layers), folder / "tried.onnx")
        taken[layers] = bare(folder / "tried.onnx", images, BLOCK_S)
    each = (taken[12] - taken[2]) / 10
    layers = max(1, round(2 + (target_ms - taken[2]) / each))
    path = folder / f"{layers}.onnx"
    onnx.save(net(layers), path)
    return path


def rounds(path: Path, images: list[np.ndarray], count: int) -> dict[str, np.ndarray]:
    """By loop, the median of each of its blocks, [count] in milliseconds."""
    loops: dict[str, Block] = {"ours": ours, "bare": bare}
    generator = np.random.default_rng(0)
    found: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(count):
        for name in generator.permutation(list(loops)):
            found[name].append(loops[name](path, images, BLOCK_S))
    return {name: np.array(values) for name, values in found.items()}


def ratios(own: np.ndarray, other: np.ndarray) -> dict[str, dict[str, float]]:
    """Both estimates of how many times as long `own` takes, each with a 95 % interval over rounds."""
    picks = np.random.default_rng(1).integers(0, len(own), (2000, len(own)))
    each = own / other
    estimates = {
        "ratio_of_medians": (
            np.median(own) / np.median(other),
            np.median(own[picks], 1) / np.median(other[picks], 1),
        ),
        "median_of_ratios": (np.median(each), np.median(each[picks], 1)),
    }
    told = {}
    for name, (value, drawn) in estimates.items():
        low, high = np.quantile(drawn, [0.025, 0.975])
        told[name] = {"value": float(value), "low": float(low), "high": float(high)}
    return told


def main() -> None:
    """Both models; the result is written as it grows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--blocks", type=int, default=100)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    facts = probe.run({})
    told: dict[str, Any] = {"cpu": facts["cpu"], "onnxruntime": onnxruntime.__version__}
    told.update(blocks=options.blocks, block_s=BLOCK_S, models={})
    generator = np.random.default_rng(3)
    pixels = generator.integers(0, 256, (IMAGES, 1, 3, SIZE, SIZE), dtype=np.uint8)
    images = list(pixels)
    for name, (target_ms, low, high) in TARGETS_MS.items():
        with tempfile.TemporaryDirectory() as folder:
            found = rounds(of_about(target_ms, Path(folder), images), images, options.blocks)
        both = ratios(found["ours"], found["bare"])
        told["models"][name] = {
            "median_ms": {loop: float(np.median(values)) for loop, values in found.items()},
            **both,
            "wanted": [low, high],
            "held": all(low <= one["low"] and one["high"] <= high for one in both.values()),
            "load_1min": probe.state()["load_1min"],
        }
        options.result.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        print(name, told["models"][name])


if __name__ == "__main__":
    main()
