"""int8 for ONNX Runtime's CPU beside other tools: how true to float32, and how fast.

Students trained by a packaged recipe, as it ships them. Every tool gets the student's float32 file and the
same 512 training images. Files are ranked by the Kullback-Leibler divergence of their probabilities from
float32's and by the share of equal answers, over all test images, since top-1 cannot tell them apart; their
differences to ours are paired by image. Time: one image, in blocks that take turns in a drawn order, each
against float32; every four rounds all files are opened anew; the interval from 2,000 bootstrap samples of
openings.

    python benchmarks/quantization/peers.py --store DIR --tools PYTHON [--recipe quickstart] [--root CIFAR100]

PYTHON has the other tools: onnxruntime, nncf, nvidia-modelopt[onnx], aimet-onnx, amd-quark. What is there is
not made again. `--times`, on a machine that does nothing else, only times the files.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from kinds import ENDED, block, packaged
from peer_tools import LONG, TOOLS

from calkd_edge.agent import probe
from calkd_edge.agent.runtimes import open_runtime
from calkd_edge.data.prepared import Prepared
from calkd_edge.export.host_predictions import predict_on_host
from calkd_edge.metrics.per_image import log_softmax, top1
from calkd_edge.quantization.cpu import derive_for_cpu
from calkd_edge.quantization.int8 import int8
from calkd_edge.quantization.source import Images

RESULT = Path(__file__).with_suffix(".json")
STUDENTS: dict[str, dict[str, Any]] = {
    "MobileNetV2 x0.5": {"name": "mobilenet_v2", "width": 0.5},
    "MobileNetV3-small": {"name": "mobilenet_v3_small"},
    "ShuffleNetV2 x0.5": {"name": "shufflenet_v2", "width": 0.5},
}
SHIPPED, CANONICAL = "ours, as shipped", "ours, the file for TensorRT"
VARIANTS: dict[str, dict[str, Any]] = {
    **{f"ours, {ranges}": {"ranges": ranges} for ranges in ("min_max", "percentile", "mse", "entropy")},
    "ours, mse, channels as they are": {"ranges": "mse", "equalise": False},
    "ours, mse, dyadic": {"ranges": "mse", "scales": "dyadic"},
}
QUANTIZED_IMAGES, SEED = 512, 17
ROUNDS, ROUNDS_OPEN, BLOCK_S = 48, 4, 0.1


def run_of(student: str, options: argparse.Namespace) -> Path:
    """The folder of the student's run by the command line."""
    out: Path = options.store / "runs" / f"{options.recipe}-{STUDENTS[student]['name']}"
    out.mkdir(parents=True, exist_ok=True)
    tree = packaged(options.recipe)
    tree |= {"student": STUDENTS[student], "gates": [], "evaluate": {"corruptions": []}}
    if options.root is not None:
        tree["data"]["root"] = options.root
    (out / "recipe.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    command = [sys.executable, "-m", "calkd_edge", "compress", "--recipe", str(out / "recipe.yaml")]
    command += ["--store", str(options.store), "--out", str(out), "--reuse-measurements"]
    with (out / "output.txt").open("a", encoding="utf-8") as log:
        code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    if code not in ENDED:
        raise RuntimeError(f"{out} ended with {code}: see output.txt there")
    return out


def object_of(out: Path, store: Path, stage: str) -> Path:
    """What a stage of the run left in the store."""
    plan = json.loads((out / "report.json").read_text(encoding="utf-8"))["plan"]
    fingerprint = next(line["fingerprint"] for line in plan if line["stage"] == stage)
    return store / "objects" / fingerprint[:2] / fingerprint


def prepared_of(out: Path, store: Path) -> Prepared:
    """The run's images."""
    return Prepared.open(object_of(out, store, "prepare"))


def made(out: Path, prepared: Prepared, folder: Path, tools: Path, *, with_long: bool) -> dict[str, Path]:
    """By name, the float32 file and every int8 file; what a tool cannot make is left out, and said."""
    plain = out / "models" / "student.fp32.onnx"
    images = prepared.arrays("train", QUANTIZED_IMAGES, SEED)[0]
    np.save(folder / "images.npy", images)
    models = out / "models"
    files = {
        "fp32": plain,
        SHIPPED: models / "student.int8.cpu.onnx",
        CANONICAL: models / "student.int8.onnx",
    }
    for name, settings in VARIANTS.items():
        path = folder / f"{name}.onnx".replace(" ", "_")
        if not path.is_file():
            quantized = int8(onnx.load(plain), Images(lambda count: images[:count]), **settings)
            onnx.save(derive_for_cpu(quantized, images), path)
        files[name] = path
    for name in TOOLS if with_long else [name for name in TOOLS if name not in LONG]:
        path, log = (folder / f"{name}.{end}".replace(" ", "_") for end in ("onnx", "log"))
        if not path.is_file():
            script = Path(__file__).absolute().with_name("peer_tools.py")
            command = [str(tools.absolute()), str(script), name, str(plain)]
            with log.open("w", encoding="utf-8") as output:
                subprocess.run(
                    [*command, str(folder / "images.npy"), str(path)],
                    stdout=output,
                    stderr=output,
                    cwd=folder,  # some tools leave files where they run
                    check=False,
                )
        if path.is_file():
            files[name] = path
        else:
            print(f"{name}: no file; see {log}", flush=True)
    return files


def figures(files: dict[str, Path], prepared: Prepared) -> dict[str, dict[str, Any]]:
    """By file: top-1, agreement with float32 and divergence from it, and the same less ours, paired."""
    images, labels, _ = prepared.arrays("test")
    logits = {
        name: predict_on_host("onnxruntime", path, images, 50, {"threads": 2}) for name, path in files.items()
    }
    plain = log_softmax(logits["fp32"].astype(np.float64))
    answers = top1(logits["fp32"])
    each = {}
    for name, values in logits.items():
        other = log_softmax(values.astype(np.float64))
        each[name] = (np.exp(plain) * (plain - other)).sum(1), top1(values) == answers
    told = {}
    for name, (divergence, same) in each.items():
        model = onnx.load(files[name])
        told[name] = {
            "top1": float((top1(logits[name]) == labels).mean()),
            "agreement": float(same.mean()),
            "kl": float(divergence.mean()),
            "kl_less_ours": mean_of(divergence - each[SHIPPED][0]),
            "agreement_less_ours": mean_of(same.astype(float) - each[SHIPPED][1]),
            "size_bytes": files[name].stat().st_size,
            "nodes": len(model.graph.node),
        }
    return told


def mean_of(values: np.ndarray) -> dict[str, float]:
    """Mean and 95 % interval."""
    reach = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5
    mean = float(values.mean())
    return {"value": mean, "low": mean - reach, "high": mean + reach}


def times(files: dict[str, Path], prepared: Prepared, threads: int) -> dict[str, dict[str, Any]]:
    """By file: median milliseconds of one image, and its ratio to float32's."""
    images = prepared.arrays("test", 64, SEED)[0][:, None]
    generator = np.random.default_rng(threads)
    blocks: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(ROUNDS // ROUNDS_OPEN):
        with ExitStack() as opened:
            runtimes = {
                name: opened.enter_context(open_runtime("onnxruntime", str(path), {"threads": threads}))
                for name, path in files.items()
            }
            for runtime in runtimes.values():
                block(runtime, images, BLOCK_S)
            for _ in range(ROUNDS_OPEN):
                for name in generator.permutation(list(runtimes)):
                    blocks[name].append(block(runtimes[name], images, BLOCK_S))
    return {
        name: {"p50_ms": float(np.median(values)), "ratio": ratio(values, blocks["fp32"])}
        for name, values in blocks.items()
    }


def ratio(own: list[float], other: list[float]) -> dict[str, float]:
    """Median over rounds, with what was opened together drawn together."""
    groups = (np.array(own) / np.array(other)).reshape(-1, ROUNDS_OPEN)
    picks = np.random.default_rng(1).integers(0, len(groups), (2000, len(groups)))
    low, high = np.quantile(np.median(groups[picks].reshape(2000, -1), axis=1), [0.025, 0.975])
    return {"value": float(np.median(groups)), "low": float(low), "high": float(high)}


def table(student: str, row: dict[str, Any]) -> str:
    """The student's files as lines of the documentation, the truest first."""
    lines = [f"{student}:", ""]
    lines += ["| file | top-1, % | same answer, % | KL, 1e-3 | kB | time to fp32's, 1 thread | 2 threads |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, values in sorted(row["files"].items(), key=lambda item: item[1]["kl"]):
        pace = [told(row.get(f"threads {count}", {}).get(name)) for count in (1, 2)]
        lines.append(
            f"| {name} | {100 * values['top1']:.2f} | {100 * values['agreement']:.2f} | "
            f"{1000 * values['kl']:.2f} | {values['size_bytes'] / 1000:.0f} | {pace[0]} | {pace[1]} |"
        )
    return "\n".join(lines)


def told(timed: dict[str, Any] | None) -> str:
    """A ratio with its interval."""
    if timed is None:
        return ""
    value = timed["ratio"]
    return f"{value['value']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"


def main() -> None:
    """Every student: files, figures, times; the result is written as it grows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--tools", type=Path, required=True, help="Python with the other tools")
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--root", default=None, help="holds CIFAR-100; downloaded when left out")
    parser.add_argument("--students", nargs="+", default=list(STUDENTS), choices=list(STUDENTS))
    parser.add_argument("--times", action="store_true", help="only time what is there")
    parser.add_argument("--long", action="store_true", help="AdaRound too, in a quarter of an hour a student")
    options = parser.parse_args()
    options.store = options.store.resolve()
    known = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    facts = probe.run({})
    for student in options.students:
        key = f"{student}, {options.recipe}"
        row = known.setdefault(key, {})
        out = run_of(student, options)
        prepared = prepared_of(out, options.store)
        folder = out / "peers"
        folder.mkdir(exist_ok=True)
        files = made(out, prepared, folder, options.tools, with_long=options.long)
        works: list[tuple[str, Callable[[], dict[str, Any]]]] = [("files", partial(figures, files, prepared))]
        if options.times:
            works = [(f"threads {count}", partial(times, files, prepared, count)) for count in (1, 2)]
        for name, work in works:
            row[name] = work()
            row |= {"cpu": facts["cpu"], "isa": facts["isa"]}
            RESULT.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        print(table(key, row), flush=True)


if __name__ == "__main__":
    main()
