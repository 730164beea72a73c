"""Latency of one image: our files against each runtime's default path, in one run, in blocks that take turns.

Students that a packaged recipe trained, and the files of their releases (those of peers.py, from its store).
Other paths, from the same trained module: torch eager; torch.compile; a plain torch.onnx.export in ONNX
Runtime as it comes; ONNX Runtime's static quantization of that, activations uint8 and weights int8 by
channel, its fastest (peers.py compares its answers too); OpenVINO's own conversion of the torch module, as it
comes (in bfloat16 where the CPU has that) and in float32; the float16 that comes with ONNX Runtime; and, with
--litert-torch, Google's conversion of the torch module. Each contender runs a block of a tenth of a second
a round, in an order that is drawn anew each round. Every ten rounds all are opened anew: how fast a file runs
depends by some per cent on where in memory it came to lie. A ratio is the median over rounds of the ratio of
both blocks' medians, its interval from 2,000 bootstrap samples of openings.

    PYTHONPATH=benchmarks/quantization python benchmarks/export/latency.py --store DIR [--rounds 120]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from peers import QUANTIZED_IMAGES, SEED, STUDENTS, object_of, prepared_of, run_of
from torch import nn

from calkd_edge.agent import probe
from calkd_edge.agent.runtimes import open_runtime
from calkd_edge.export.litert import convert
from calkd_edge.models import image_model

RESULT = Path(__file__).with_suffix(".json")
BLOCK_S, IMAGES, ROUNDS_OPEN = 0.1, 64, 10
PAIRS = (
    ("ours, fp32, ONNX Runtime", "torch.onnx.export, ONNX Runtime"),
    ("ours, fp16, ONNX Runtime", "convert_float_to_float16, ONNX Runtime"),
    ("ours, int8, ONNX Runtime", "quantize_static, ONNX Runtime"),
    ("ours, int8, ONNX Runtime", "ours, fp32, ONNX Runtime"),
    ("ours, fp32, OpenVINO", "convert_model, OpenVINO in f32"),
    ("ours, fp32, OpenVINO as it comes", "convert_model, OpenVINO"),
    ("ours, int8, OpenVINO", "ours, fp32, OpenVINO"),
    ("ours, fp32, LiteRT", "litert_torch, LiteRT"),
    ("ours, fp32, LiteRT", "ours, fp32, ONNX Runtime"),
    ("ours, int8, LiteRT", "ours, fp32, LiteRT"),
    ("ours, int8, LiteRT", "ours, int8, ONNX Runtime"),
    ("ours, int8, LiteRT", "ours, fp32, ONNX Runtime"),
)
HINT = str(openvino.Core().get_property("CPU", "INFERENCE_PRECISION_HINT"))
AS_IT_COMES = {"inference_precision": "bf16" if "bfloat16" in HINT else "f32"}
"""What OpenVINO computes float32 in where nobody says otherwise."""
Contender = Callable[[np.ndarray], Any]
Opening = Callable[[], Contender]


class Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped
    """Images for ONNX Runtime's quantizer, one by one."""

    def __init__(self, images: np.ndarray) -> None:
        self.feeds = iter([{"images": images[place : place + 1]} for place in range(len(images))])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next, or None."""
        return next(self.feeds, None)


def by_litert_torch(net: nn.Module, example: torch.Tensor, python: Path, target: Path) -> None:
    """Google's own conversion, by another Python, since it wants other versions of common packages."""
    program = target.with_suffix(".pt2")
    torch.export.save(torch.export.export(net, (example,)), program)
    code = "import sys, torch, litert_torch as made\n"
    code += "example = torch.zeros(*map(int, sys.argv[3:]), dtype=torch.uint8)\n"
    code += "made.convert(torch.export.load(sys.argv[1]).module(), (example,)).export(sys.argv[2])"
    command = [str(python), "-c", code, str(program), str(target), *map(str, example.shape)]
    subprocess.run(command, check=True, capture_output=True)


def contenders(
    net: nn.Module,
    models: Path,
    calibration: np.ndarray,
    threads: int,
    folder: Path,
    litert_torch: Path | None,
) -> dict[str, Opening]:
    """By name, what opens something that takes one image [1, 3, H, W] and answers."""
    example = torch.from_numpy(calibration[:1])
    plain, static = folder / "plain.onnx", folder / "static.onnx"
    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["logits"]}
    torch.onnx.export(net, (example,), str(plain), dynamo=True, verbose=False, **names)
    quant_pre_process(str(plain), str(static))
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(str(static), str(static), Reader(calibration), per_channel=True, **kinds)
    half = folder / "half.onnx"
    onnx.save(convert_float_to_float16(onnx.load(plain), keep_io_types=True), half)
    ours, exact, derived = (models / f"student.{name}.onnx" for name in ("fp32", "int8", "int8.cpu"))
    for name, path in (("fp32", ours), ("int8", exact)):
        (folder / f"{name}.tflite").write_bytes(convert(onnx.load(path)))
    torch.set_num_threads(threads)
    compiled = torch.compile(net)
    converted = openvino.convert_model(net, example_input=example)

    def by_us(runtime: str, path: Path, **options: Any) -> Opening:
        return lambda: open_runtime(runtime, str(path), {"threads": threads, **options}).__enter__().infer

    theirs: dict[str, Opening] = {}
    if litert_torch is not None:
        by_litert_torch(net, example, litert_torch, folder / "theirs.tflite")
        theirs["litert_torch, LiteRT"] = by_us("litert", folder / "theirs.tflite")
    return {
        **theirs,
        "torch eager": lambda: partial(_by_torch, net),
        "torch.compile": lambda: partial(_by_torch, compiled),
        "torch.onnx.export, ONNX Runtime": partial(_as_it_comes, plain, threads),
        "quantize_static, ONNX Runtime": partial(_as_it_comes, static, threads),
        "ours, fp32, ONNX Runtime": by_us("onnxruntime", ours),
        "convert_float_to_float16, ONNX Runtime": partial(_as_it_comes, half, threads),
        "ours, fp16, ONNX Runtime": by_us("onnxruntime", models / "student.fp16.onnx"),
        "ours, int8, ONNX Runtime": by_us("onnxruntime", derived),
        "convert_model, OpenVINO": partial(_converted, converted, threads),
        "convert_model, OpenVINO in f32": partial(_converted, converted, threads, "f32"),
        "ours, fp32, OpenVINO": by_us("openvino", ours),
        "ours, fp32, OpenVINO as it comes": by_us("openvino", ours, **AS_IT_COMES),
        "ours, int8, OpenVINO": by_us("openvino", exact),
        "ours, fp32, LiteRT": by_us("litert", folder / "fp32.tflite"),
        "ours, int8, LiteRT": by_us("litert", folder / "int8.tflite"),
    }


def _by_torch(net: nn.Module, image: np.ndarray) -> Any:
    with torch.inference_mode():
        return net(torch.from_numpy(image)).numpy()


def _as_it_comes(path: Path, threads: int) -> Contender:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"images": image})


def _converted(model: openvino.Model, threads: int, precision: str | None = None) -> Contender:
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if precision is not None:
        settings["INFERENCE_PRECISION_HINT"] = precision
    request = openvino.Core().compile_model(model, "CPU", settings)
    return lambda image: request(image)


def block(run: Contender, images: list[np.ndarray]) -> float:
    """Median milliseconds of one inference over a block."""
    taken = []
    end = time.perf_counter() + BLOCK_S
    while time.perf_counter() < end:
        for image in images:
            begun = time.perf_counter_ns()
            run(image)
            taken.append(time.perf_counter_ns() - begun)
    return float(np.median(taken)) / 1e6


def rounds(openings: dict[str, Opening], images: list[np.ndarray], count: int) -> dict[str, np.ndarray]:
    """By contender, the median of each of its blocks, [count] in milliseconds."""
    generator = np.random.default_rng(0)
    found: dict[str, list[float]] = {name: [] for name in openings}
    for number in range(count):
        if number % ROUNDS_OPEN == 0:
            made = {}  # what was open is closed before anything is opened anew
            made = {name: opening() for name, opening in openings.items()}
            for run in made.values():
                block(run, images)
        for name in generator.permutation(list(made)):
            found[name].append(block(made[name], images))
    return {name: np.array(values) for name, values in found.items()}


def ratio(own: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Median over rounds, whose slow minutes meet both alike; what was opened together is drawn together."""
    groups = np.stack(np.split(own / other, len(own) // ROUNDS_OPEN))
    picks = np.random.default_rng(1).integers(0, len(groups), (2000, len(groups)))
    low, high = np.quantile(np.median(groups[picks].reshape(2000, -1), axis=1), [0.025, 0.975])
    return {"value": float(np.median(groups)), "low": float(low), "high": float(high)}


def main() -> None:
    """Every student and number of threads; the result is written as it grows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True, help="peers.py's")
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--root", default=None, help="holds CIFAR-100; downloaded when left out")
    parser.add_argument("--rounds", type=int, default=120, help="a multiple of ten")
    parser.add_argument("--students", nargs="+", default=list(STUDENTS), choices=list(STUDENTS))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", default="", help="contenders whose names hold this")
    parser.add_argument("--litert-torch", type=Path, help="a Python that has litert-torch")
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.rounds < 1 or options.rounds % ROUNDS_OPEN:
        parser.error(f"--rounds {options.rounds}: not a multiple of {ROUNDS_OPEN}")
    facts = probe.run({})
    told: dict[str, Any] = {"cpu": facts["cpu"], "isa": facts["isa"], "rounds": options.rounds, "runs": {}}
    if options.result.is_file():  # what this processor has measured of other students stays
        earlier = json.loads(options.result.read_text(encoding="utf-8"))
        if all(earlier.get(key) == told[key] for key in ("cpu", "isa", "rounds")):
            told["runs"] = earlier["runs"]
    options.store = options.store.resolve()
    for student in options.students:
        out = run_of(student, options)
        net = image_model.load(object_of(out, options.store, "distill"))[0].eval()
        prepared = prepared_of(out, options.store)
        images = list(prepared.arrays("test", IMAGES, SEED)[0][:, None])
        calibration = prepared.arrays("train", QUANTIZED_IMAGES, SEED)[0]
        for threads in options.threads:
            with tempfile.TemporaryDirectory() as folder:
                peer = options.litert_torch
                made = contenders(net, out / "models", calibration, threads, Path(folder), peer)
                made = {one: run for one, run in made.items() if options.only in one}
                found = rounds(made, images, options.rounds)
            key = f"{student}, {options.recipe}, threads {threads}"
            present = [pair for pair in PAIRS if found.keys() >= set(pair)]
            pairs = {f"{own} / {other}": ratio(found[own], found[other]) for own, other in present}
            own = [one for one in found if one.startswith("ours")]
            fastest = min(own, key=lambda one: float(np.median(found[one])))
            for other in [one for one in ("torch eager", "torch.compile") if one in found]:
                pairs[f"fastest ({fastest}) / {other}"] = ratio(found[fastest], found[other])
            medians = {one: float(np.median(values)) for one, values in found.items()}
            told["runs"][key] = {"median_ms": medians, "ratios": pairs}
            options.result.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
            print(key)
            for one, value in medians.items():
                print(f"  {one:36} {value:8.3f} ms")
            for one, figures in pairs.items():
                print(f"  {one:70} {figures['value']:.3f} [{figures['low']:.3f}, {figures['high']:.3f}]")


if __name__ == "__main__":
    main()
