"""What each kind of quantization costs a trained student: accuracy, confidence, size, time.

Students of the quickstart, trained a little longer; every kind is a run of `calkd-edge compress`, scored on
all test images. Drops are paired with the same student in float32. Some ten minutes on two cores for the
trainings, then half a minute a kind; what is finished is not done again.

    python benchmarks/quantization/kinds.py --store DIR
    python benchmarks/quantization/kinds.py --store DIR --times

The second, on a machine that does nothing else, times the files of the first in blocks that take turns, with
ONNX Runtime and one thread, one image at a time, each against its student in float32.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from calkd_edge.agent.runtimes import Runtime, open_runtime
from calkd_edge.metrics.intervals.proportions import tango
from calkd_edge.metrics.per_image import top1
from calkd_edge.records import Predictions

RECIPES = Path(__file__).parents[2] / "recipes"
RESULT = Path(__file__).with_suffix(".json")
RECIPE = "quickstart"
STUDENTS: dict[str, dict[str, Any]] = {
    "MobileNetV2 x0.5": {"name": "mobilenet_v2", "width": 0.5},
    "MobileNetV3-small": {"name": "mobilenet_v3_small"},
    "ShuffleNetV2 x0.5": {"name": "shufflenet_v2", "width": 0.5},
}
ENDED = (0, 3, 4)
"""Exit codes of a run that was measured, whatever its gates say: these recipes have none."""

ROUNDS, BLOCK_S = 24, 0.25
RANGES = ("min_max", "percentile", "mse", "entropy")
KINDS: dict[str, dict[str, Any]] = {
    "fp16": {"name": "fp16"},
    **{f"int8, {ranges}": {"name": "int8", "ranges": ranges} for ranges in RANGES},
    "int8, mse, biases as they are": {"name": "int8", "ranges": "mse", "correct_bias": False},
    "int8, mse, channels as they are": {"name": "int8", "ranges": "mse", "equalise": False},
    "int8, mse, dyadic": {"name": "int8", "ranges": "mse", "scales": "dyadic"},
    "int8_mixed": {"name": "int8_mixed"},
    "int8_qat": {"name": "int8_qat", "epochs": 3},
    "int8_qat, dyadic": {"name": "int8_qat", "scales": "dyadic", "epochs": 3},
}


def packaged(name: str) -> dict[str, Any]:
    """A packaged recipe; the quickstart's networks learn longer than its three minutes allow."""
    tree: dict[str, Any] = yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))
    if name == RECIPE:
        tree["teacher"] = {"name": "resnet20"}
        tree["teacher_training"]["epochs"] = 6
        tree["distill"] |= {"epochs": 7, "soft_labels": {"views": 3}}
    return tree


def recipe_of(student: str, precision: dict[str, Any]) -> dict[str, Any]:
    """The packaged recipe with this student and this precision beside fp32."""
    tree = packaged(RECIPE)
    precisions = [{"name": "fp32"}, precision]
    return tree | {
        "student": STUDENTS[student],
        "precisions": precisions,
        "gates": [],
        "evaluate": {"corruptions": []},
    }


def folder_of(student: str, kind: str, store: Path) -> Path:
    """Where a run leaves its report and models."""
    return store / "runs" / f"{student}-{kind}".replace(" ", "_").replace(",", "")


def run(student: str, kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """One kind of one student, by the command line, and what came of it."""
    out = folder_of(student, kind, options.store)
    out.mkdir(parents=True, exist_ok=True)
    recipe = out / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(recipe_of(student, KINDS[kind])), encoding="utf-8")
    command = [sys.executable, "-m", "calkd_edge", "compress", "--recipe", str(recipe)]
    command += ["--store", str(options.store), "--out", str(out), "--reuse-measurements"]
    with (out / "output.txt").open("a", encoding="utf-8") as log:
        code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    if code not in ENDED:
        raise RuntimeError(f"{out} ended with {code}: see output.txt there")
    return figures(options.store, out, KINDS[kind]["name"])


def figures(store: Path, out: Path, precision: str) -> dict[str, Any]:
    """Of a precision, and of float32 beside it."""
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    fingerprints = {line["stage"]: line["fingerprint"] for line in report["plan"]}
    seconds = {line["stage"]: line["seconds"] for line in report["plan"]}
    students = [row for row in report["measurements"] if row["model"] == "student"]
    rows = {(row["precision"], row["calibrated"]): row for row in students}

    def answers(name: str) -> Predictions:
        print_of = fingerprints[f"predict-student-{name}@local"]
        return Predictions.load(store / "objects" / print_of[:2] / print_of / "test.npz")

    plain, own = answers("fp32"), answers(precision)
    was, is_right = (top1(one.logits) == one.labels for one in (plain, own))
    drop = tango(int((was & ~is_right).sum()), int((is_right & ~was).sum()), len(was))
    agree = float(np.mean(top1(plain.logits) == top1(own.logits)))
    row, before = rows[precision, True], rows[precision, False]
    return {
        "top1": row["quality"]["top1"],
        "top1_drop": {"value": drop.value, "low": drop.low, "high": drop.high},
        "agreement": agree,
        "kl": row["to_fp32"]["kl"],
        "nll_before": before["quality"]["nll"],
        "nll": row["quality"]["nll"],
        "ece_floor": row["quality"]["ece_floor"],
        "ece_before": before["quality"]["ece"],
        "ece_after": row["quality"]["ece"],
        "temperature": row["calibration"]["temperature"],
        "size_bytes": row["size_bytes"],
        "p50_ms": row["latency_ms"]["p50"],
        "notes": row["notes"],
        "seconds": {
            key: value for key, value in seconds.items() if key.startswith(("qat", "quantize-student"))
        },
        "fp32": {
            "top1": rows["fp32", True]["quality"]["top1"],
            "nll_before": rows["fp32", False]["quality"]["nll"],
            "nll": rows["fp32", True]["quality"]["nll"],
            "ece_floor": rows["fp32", True]["quality"]["ece_floor"],
            "ece_before": rows["fp32", False]["quality"]["ece"],
            "ece_after": rows["fp32", True]["quality"]["ece"],
            "size_bytes": rows["fp32", True]["size_bytes"],
            "p50_ms": rows["fp32", True]["latency_ms"]["p50"],
        },
    }


def times(student: str, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """By kind: the median milliseconds of one image, and its ratio to float32's with a 95 % interval."""
    files = {kind: folder_of(student, kind, options.store) / "models" for kind in KINDS}
    files = {kind: folder for kind, folder in files.items() if folder.is_dir()}
    images = np.random.default_rng(0).integers(0, 256, (64, 1, 3, 32, 32), dtype=np.uint8)
    with ExitStack() as opened:
        runtimes = {}
        for kind, folder in {"fp32": next(iter(files.values())), **files}.items():
            name = KINDS.get(kind, {"name": kind})["name"]
            derived, canonical = folder / f"student.{name}.cpu.onnx", folder / f"student.{name}.onnx"
            path = derived if derived.is_file() else canonical
            runtimes[kind] = opened.enter_context(open_runtime("onnxruntime", str(path), {"threads": 1}))
        generator = np.random.default_rng(1)
        blocks: dict[str, list[float]] = {kind: [] for kind in runtimes}
        for number in range(ROUNDS + 1):
            for kind in generator.permutation(list(runtimes)):
                taken = block(runtimes[kind], images)
                if number:  # the first is a warm-up
                    blocks[kind].append(taken)
    plain = np.array(blocks["fp32"])
    picks = generator.integers(0, ROUNDS, (2000, ROUNDS))
    found = {}
    for kind, values in blocks.items():
        own = np.array(values)
        low, high = np.quantile(np.median(own[picks], 1) / np.median(plain[picks], 1), [0.025, 0.975])
        ratio = {"value": float(np.median(own) / np.median(plain)), "low": float(low), "high": float(high)}
        found[kind] = {"p50_ms": float(np.median(own)), "ratio": ratio}
    return found


def block(runtime: Runtime, images: np.ndarray, seconds: float = BLOCK_S) -> float:
    """The median milliseconds of one image, over some time."""
    taken, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        for image in images:
            begun = time.perf_counter_ns()
            runtime.infer(image)
            taken.append(time.perf_counter_ns() - begun)
    return float(np.median(taken)) / 1e6


def told(student: str, kind: str, row: dict[str, Any]) -> str:
    """A row as a line of the table in the documentation."""
    drop = row["top1_drop"]
    cells = (
        student,
        kind,
        f"{100 * row['top1']['value']:.2f}",
        f"{100 * drop['value']:+.2f} [{100 * drop['low']:.2f}, {100 * drop['high']:.2f}]",
        f"{100 * row['agreement']:.2f}",
        f"{1000 * row['kl']['value']:.2f}",
        f"{row['nll']['value']:.3f}",
        f"{100 * row['ece_before']['value']:.1f} → {100 * row['ece_after']['value']:.1f}",
        f"{row['size_bytes'] / 1000:.0f}",
        f"{row['p50_ms']['value']:.3f}",
    )
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Every student and kind that is not there yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--students", nargs="+", default=list(STUDENTS), choices=list(STUDENTS))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--times", action="store_true", help="only time what is there")
    options = parser.parse_args()
    known = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    for student in options.students:
        if options.times:
            known[student]["times"] = times(student, options)
            RESULT.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
            print(student, json.dumps(known[student]["times"], indent=1), flush=True)
            continue
        for kind in options.kinds:
            if kind not in known.setdefault(student, {}):
                known[student][kind] = run(student, kind, options)
                RESULT.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
            print(told(student, kind, known[student][kind]), flush=True)


if __name__ == "__main__":
    main()
